"""Samples as Arrow columns and back, without loss: one table for versions and exports alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from mien.core.digest import canonical_json
from mien.core.expression import Expression
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


def to_columns(samples: Sequence[Sample]) -> dict[str, pa.Array]:
    """Lay samples (plain values in their fields) out as one Arrow array a field."""
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
