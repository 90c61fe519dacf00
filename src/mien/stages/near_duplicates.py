"""Look for faces that are trained on and judged on under another name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.core.arrays import UInt8
from mien.imaging.similar import pixel_nearest
from mien.splits.mix import part_rows
from mien.stages.arrays import SetArrays, load_images
from mien.stages.context import Context
from mien.stages.split import read_splits
from mien.stages.sweep import load_sets

NEAR_LEVELS = 3.0  # root mean square of 256 gray levels: recompressed or slightly edited copies


def near_duplicates(context: Context) -> list[tuple[str, str]]:
    """List (judged, trained) pairs of sample ids whose preprocessed faces are nearly equal.

    Trained are the training part and the pools; judged are validation, own test, blind and
    development sets. Exact copies were refused before the sweep ran.
    """
    sets = load_sets(context)
    params = context.params
    found: set[tuple[str, str]] = set()
    for split in read_splits(context):
        database = sets[params.split.database]
        trained = [_rows(database, split.parts["train"], split.by)]
        trained += [(sets[p], np.arange(len(sets[p].manifest))) for p in params.sweep.pools]
        judged = [_rows(database, split.parts[p], split.by) for p in ("validation", "test")]
        others = (*params.evaluate.blind, *params.evaluate.development)
        judged += [(sets[n], np.arange(len(sets[n].manifest))) for n in others]
        base, base_ids = _stack(trained)
        queries, query_ids = _stack(judged)
        nearest, distance = pixel_nearest(queries, base)
        close = np.flatnonzero(distance <= NEAR_LEVELS)
        found |= {(query_ids[i], base_ids[int(nearest[i])]) for i in close}
    return sorted(found)


Rows = tuple[SetArrays, np.ndarray[tuple[int], np.dtype[np.int64]]]


def _rows(database: SetArrays, units: Sequence[str], by: str) -> Rows:
    rows = part_rows(database.name, database.manifest, units, by)
    return database, np.array([database.row[r.sample] for r in rows], dtype=np.int64)


def _stack(parts: Sequence[Rows]) -> tuple[UInt8, list[str]]:
    images = np.concatenate([load_images(s.folder)[rows] for s, rows in parts])
    ids = [s.manifest.samples[int(i)].id for s, rows in parts for i in rows]
    return images, ids
