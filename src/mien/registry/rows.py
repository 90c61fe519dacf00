"""Samples as a version stores them: plain values, within their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.face import Point
from mien.core.sample import Sample

LABELS = {expression: number for number, expression in enumerate(EXPRESSIONS)}


def stored(sample: Sample, digest: str) -> Sample:
    """Return the sample as it will be read back, with its image's digest.

    Numbers become plain ``int`` and ``float``, sequences tuples, attributes sorted: the digest
    of what is written must be that of what is read.

    Raises:
        Invalid: ``BAD_SAMPLE`` naming sample and field.
    """
    try:
        return Sample(
            _text(sample.id, "id", needed=True),
            _text(sample.source, "source", needed=True),
            _origin(sample.origin),
            None if sample.subject is None else _text(sample.subject, "subject"),
            None if sample.expression is None else Expression(sample.expression),
            _within(sample.valence, -1.0, "valence"),
            _within(sample.arousal, -1.0, "arousal"),
            _within(sample.intensity, 0.0, "intensity"),
            _text(sample.file, "file"),
            None if sample.frame is None else _int64(sample.frame, "frame"),
            _text(sample.sequence, "sequence"),
            _text(sample.usage, "usage"),
            _text(sample.identity, "identity"),
            tuple(_text(p, "parents") for p in sample.parents),
            _attributes(sample.attributes),
            _landmarks(sample.landmarks),
            _text(sample.failure, "failure"),
            digest,
            _side(sample.width, "width"),
            _side(sample.height, "height"),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise Invalid(
            "BAD_SAMPLE",
            f"the sample {sample.id!r} ({sample.file!r}) cannot be stored: {error}",
            hint="correct the reader or generator that made it",
            details={"id": repr(sample.id)},
        ) from None


def _text(value: object, field: str, *, needed: bool = False) -> str:
    if type(value) is str and value.isascii() and (value or not needed):
        return value  # nearly all of them: a dozen fields a face
    if not isinstance(value, str):
        raise TypeError(f"{field} is {type(value).__name__}, not text")
    if needed and not value:
        raise ValueError(f"{field} is empty")
    if not value.isascii():
        value.encode()  # a lone surrogate is no text; UnicodeError is a ValueError
    return value if type(value) is str else str(value)


def _origin(value: str) -> Any:
    if value not in ("real", "synthetic"):
        raise ValueError(f"origin is {value!r}, neither real nor synthetic")
    return str(value)


def _within(value: float | None, lowest: float, field: str) -> float | None:
    if value is None:
        return None
    if not lowest <= value <= 1.0:
        raise ValueError(f"{field} {value} is outside [{lowest:g}, 1]")
    return float(value)


def _int64(value: int, field: str) -> int:
    number = index(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{field} {value} does not fit into 64 bits")
    return number


def _side(value: int, field: str) -> int:
    if value < 0:
        raise ValueError(f"{field} {value} is negative")
    return _int64(value, field)


def _attributes(values: Mapping[str, str]) -> dict[str, str]:
    if not values:
        return {}
    return {_text(k, "attributes"): _text(v, "attributes") for k, v in sorted(values.items())}


def _landmarks(points: Sequence[Point]) -> tuple[Point, ...]:
    plain = tuple([(float(x), float(y)) for x, y in points])
    if plain and not math.isfinite(sum([x + y for x, y in plain])):
        raise ValueError("landmarks are not finite")
    return plain
