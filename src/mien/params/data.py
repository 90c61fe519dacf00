"""Sections about faces on disk: databases, splits, preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mien.core.preprocess import PreprocessSpec
from mien.core.split import Part
from mien.params.section import Fraction, Name, Section, Seed


class DatabaseParams(Section):
    """One database to read.

    Attributes:
        reader: name in the reader table (``folder``, ``fer2013``, ``demo_lab`` …).
        root: folder or file to read, relative to the project; None for rendered databases.
        asset: read this open asset instead of ``root``.
        origin: ``synthetic`` for a pool; ``real`` refuses synthetic faces; None = what they say.
        params: the reader's own parameters.
    """

    reader: str
    root: Path | None = None
    asset: str | None = None
    origin: Literal["real", "synthetic"] | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class SplitParams(Section):
    """How subjects are dealt to parts.

    Attributes:
        database: name of the ingested database that is trained on.
        by: ``subject``, or ``sample`` where there are no subjects.
        counts: part → number of subjects; must account for all, or say ``unused``.
        fractions: part → fraction; exclusive with ``counts``.
        folds: > 1 cross-validates over train + validation.
        stratify: manifest attributes whose shares are kept equal across parts.
        seed: of the deal.
        use: train on only so many of the training subjects (nested: 12 contain 6); None = all.
    """

    database: Name
    by: Literal["subject", "sample"] = "subject"
    counts: dict[Part, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    fractions: dict[Part, Fraction] = Field(default_factory=dict)
    folds: int = Field(1, ge=1, le=50)
    stratify: list[str] = Field(default_factory=list)
    seed: Seed = 0
    use: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> SplitParams:
        if bool(self.counts) == bool(self.fractions):
            raise ValueError("give either counts or fractions")
        return self


class PreprocessParams(Section):
    """The one preprocessing, and what passes through it.

    Attributes:
        sets: set name → ``ingest/<database>`` or ``synthesise/<pool>``.
    """

    detector: Literal["yunet", "haar", "none"] = "none"
    size_px: int = Field(64, ge=8, le=1024)
    channels: Literal["gray", "rgb"] = "gray"
    eye_line: float = Field(0.36, gt=0, lt=1)
    eye_distance: float = Field(0.40, gt=0, lt=1)
    min_score: Fraction = 0.5
    sets: dict[Name, Annotated[str, Field(pattern=r"^(ingest|synthesise)/[a-z][a-z0-9_]*$")]]

    @property
    def spec(self) -> PreprocessSpec:
        """The spec these parameters describe."""
        return PreprocessSpec(**self.model_dump(exclude={"sets"}))
