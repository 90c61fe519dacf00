"""Expressions and affect: the label space of the whole project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mien.core.errors import Invalid


class Expression(StrEnum):
    """A categorical facial expression. Nouns, lower case, in this order everywhere."""

    ANGER = "anger"
    CONTEMPT = "contempt"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPINESS = "happiness"
    NEUTRAL = "neutral"
    SADNESS = "sadness"
    SURPRISE = "surprise"


EXPRESSIONS: tuple[Expression, ...] = tuple(Expression)
EKMAN_SIX: tuple[Expression, ...] = tuple(
    e for e in Expression if e not in (Expression.CONTEMPT, Expression.NEUTRAL)
)


@dataclass(frozen=True, slots=True)
class Affect:
    """A point of the affect plane; both coordinates in [-1, 1]."""

    valence: float
    arousal: float

    def __post_init__(self) -> None:
        for name, value in (("valence", self.valence), ("arousal", self.arousal)):
            if not -1.0 <= value <= 1.0:
                raise Invalid(
                    "AFFECT_OUT_OF_RANGE",
                    f"{name} {value} is outside [-1, 1]",
                    hint="scale valence and arousal to [-1, 1] in the database",
                )


def parse_expressions(names: Iterable[str]) -> tuple[Expression, ...]:
    """Turn names into a label space, in canonical order, without duplicates.

    Raises:
        Invalid: ``UNKNOWN_EXPRESSION`` when a name is not one of the eight; ``EMPTY_LABEL_SPACE``
            when fewer than two are given.
    """
    wanted: set[Expression] = set()
    for name in names:
        try:
            wanted.add(Expression(name))
        except ValueError:
            known = ", ".join(EXPRESSIONS)
            raise Invalid(
                "UNKNOWN_EXPRESSION", f"{name!r} is not an expression", hint=f"one of: {known}"
            ) from None
    if len(wanted) < 2:
        raise Invalid(
            "EMPTY_LABEL_SPACE",
            f"a label space needs at least two expressions, not {len(wanted)}",
            hint=f"choose from: {', '.join(EXPRESSIONS)}",
        )
    return tuple(e for e in EXPRESSIONS if e in wanted)
