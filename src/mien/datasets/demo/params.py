"""What can be asked of the demo databases, and their licence."""

from __future__ import annotations

from pydantic import Field, field_validator

from mien.core.expression import EKMAN_SIX, Expression
from mien.core.manifest import Licence
from mien.params.section import Section

DEMO_LICENCE = Licence(
    name="CC0-1.0", commercial=True, consent="no person is shown", citation="rendered by mien"
)


class DemoParams(Section):
    """Parameters of the demo databases.

    Attributes:
        subjects: how many people.
        first_subject: index of the first; other indices are other people.
        images_per_cell: pictures a person and expression.
        expressions: which are shown.
        seed: of the whole database: another seed, other people.
        size_px: side of the pictures.
        label_noise: share of pictures labelled as another of the expressions.
    """

    subjects: int = Field(40, ge=1, le=10_000_000)
    first_subject: int = Field(0, ge=0)
    images_per_cell: int = Field(1, ge=1, le=10_000)
    expressions: tuple[Expression, ...] = EKMAN_SIX
    seed: int = Field(0, ge=0, lt=2**31)
    size_px: int = Field(64, ge=16, le=512)
    label_noise: float = Field(0.0, ge=0.0, le=1.0)

    @field_validator("expressions")
    @classmethod
    def _distinct(cls, value: tuple[Expression, ...]) -> tuple[Expression, ...]:
        if not value:
            raise ValueError("at least one expression is needed")
        if len(set(value)) != len(value):
            raise ValueError("an expression is given twice")
        return tuple(e for e in Expression if e in value)
