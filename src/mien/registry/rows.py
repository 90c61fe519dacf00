"""Samples as Arrow columns and back, without loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from mien.core.digest import canonical_json
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.face import Point
from mien.core.sample import Sample

_POINTS = pa.list_(pa.list_(pa.float64()))
# One column a field of Sample, in the order of its fields.
COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "origin": pa.string(),
    "subject": pa.string(),
    "expression": pa.string(),
    "valence": pa.float64(),
    "arousal": pa.float64(),
    "intensity": pa.float64(),
    "file": pa.string(),
    "frame": pa.int64(),
    "sequence": pa.string(),
    "usage": pa.string(),
    "identity": pa.string(),
    "parents": pa.list_(pa.string()),
    "attributes": pa.string(),  # a JSON object: `datasets` knows no Arrow maps
    "landmarks": _POINTS,
    "failure": pa.string(),
    "digest": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
}
_SPECIAL = ("parents", "attributes", "landmarks")
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


def to_columns(samples: Sequence[Sample]) -> dict[str, pa.Array]:
    """Lay samples (as ``stored`` returns them) out as one Arrow array a field."""
    columns = {
        name: pa.array([getattr(s, name) for s in samples], kind)
        for name, kind in COLUMNS.items()
        if name not in _SPECIAL
    }
    columns["parents"] = pa.array([s.parents for s in samples], COLUMNS["parents"])
    columns["attributes"] = pa.array(
        [canonical_json(s.attributes).decode() if s.attributes else "{}" for s in samples],
        COLUMNS["attributes"],
    )
    columns["landmarks"] = _points_column(samples)
    return {name: columns[name] for name in COLUMNS}


def from_table(table: pa.Table) -> Iterator[Sample]:
    """Rebuild the samples of a table that has all of ``COLUMNS``."""
    plain: dict[str, Sequence[Any]] = {
        name: table[name].to_pylist() for name in COLUMNS if name not in ("landmarks",)
    }
    plain["expression"] = [None if e is None else Expression(e) for e in plain["expression"]]
    plain["parents"] = [tuple(p) for p in plain["parents"]]
    plain["attributes"] = [orjson.loads(a) for a in plain["attributes"]]
    plain["landmarks"] = _points(table["landmarks"])
    return (Sample(*row) for row in zip(*(plain[name] for name in COLUMNS), strict=True))


def _points_column(samples: Sequence[Sample]) -> pa.Array:
    """Build the nested list from flat arrays: Python lists of 68 pairs a row would be slow."""
    counts = [len(s.landmarks) for s in samples]
    total = sum(counts)
    flat = np.fromiter(
        (value for s in samples for point in s.landmarks for value in point),
        dtype=np.float64,
        count=2 * total,
    )
    pairs = pa.ListArray.from_arrays(
        pa.array(np.arange(0, 2 * total + 1, 2, dtype=np.int32)), pa.array(flat)
    )
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pairs)


def _points(column: pa.ChunkedArray) -> list[tuple[Point, ...]]:
    found: list[tuple[Point, ...]] = []
    for chunk in column.chunks:
        counts = chunk.value_lengths().to_pylist()
        flat = chunk.flatten().flatten().to_numpy(zero_copy_only=False).tolist()
        points = list(zip(flat[::2], flat[1::2], strict=True))
        start = 0
        for count in counts:
            found.append(tuple(points[start : start + count]))
            start += count
    return found
