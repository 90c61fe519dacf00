"""Exact distances between features, a block at a time, in bounded memory."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.errors import Invalid

_BLOCK = 512


def centred(*sets: Float) -> tuple[Double, ...]:
    """Move the sets so that the first one's mean is zero: small numbers lose less, float64."""
    centre = sets[0].mean(axis=0, dtype=np.float64)
    return tuple(each.astype(np.float64) - centre for each in sets)


def squared_distances(a: Double, b: Double) -> Double:
    """Squared Euclidean distances (len(a), len(b)), never below zero."""
    squared = -2.0 * (a @ b.T)
    squared += np.square(a).sum(axis=1)[:, None]
    squared += np.square(b).sum(axis=1)[None, :]
    clipped: Double = np.maximum(squared, 0.0, out=squared)
    return clipped


def squared_radii(points: Double, k: int) -> Double:
    """Squared distance of every point to its k-th nearest other one: (N,); needs k < N."""
    found = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        squared = squared_distances(points[start : start + _BLOCK], points)
        rows = np.arange(len(squared))
        squared[rows, start + rows] = np.inf
        found[start : start + _BLOCK] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return found


def nearest(queries: Float, points: Float, *, same: bool = False) -> tuple[Int, Double]:
    """Find each query's nearest point.

    Args:
        queries: (Q, D).
        points: (N, D), N ≥ 1 (≥ 2 with ``same``).
        same: the points are the queries themselves: none is its own neighbour.

    Returns:
        Index into the points (Q,) int64 and Euclidean distance (Q,) float64, in the unit of the
        space; exact, so that equal features are exactly 0 apart.

    Raises:
        Invalid: ``EMPTY_BASE``.
    """
    if len(points) < (2 if same else 1):
        raise Invalid("EMPTY_BASE", f"{len(points)} faces are too few to search")
    base, asked = centred(points, queries)
    index = np.empty(len(asked), dtype=np.int64)
    for start in range(0, len(asked), _BLOCK):
        squared = squared_distances(asked[start : start + _BLOCK], base)
        if same:
            rows = np.arange(len(squared))
            squared[rows, start + rows] = np.inf
        index[start : start + _BLOCK] = squared.argmin(axis=1)
    return index, np.sqrt(np.square(asked - base[index]).sum(axis=1))
