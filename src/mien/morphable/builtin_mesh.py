"""The mesh of the built-in head's skin: graded points of an unfolded half, mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from mien.core.arrays import Bool, Double, Int
from mien.morphable.builtin_surface import (
    EYE,
    INNER_CORNER,
    LEVELS,
    MOUTH_HALF,
    MOUTH_Y,
    OUTER_CORNER,
    lid_edges,
    mouth_gap,
    tube,
)
from mien.morphable.rasterise import Index

_AROUND = 7.0  # cm of the unfolded domain per radian of azimuth

# Spacing in cm wanted inside boxes of the front (x from, x to, y from, y to), finest first.
_ZONES = (
    (0.17, (0.0, 1.5, -5.0, -4.2)),
    (0.25, (0.0, 2.2, -5.4, 2.8)),
    (0.23, (0.5, 5.6, 1.3, 3.4)),
    (0.32, (0.0, 4.2, -9.8, -4.8)),
    (0.34, (1.0, 5.8, -1.8, 3.0)),
    (0.52, (0.0, 6.2, -11.6, 7.0)),
    (0.95, (0.0, 8.0, -13.0, 9.0)),
)
_COARSE_CM = 1.8


@dataclass(frozen=True, slots=True)
class Skin:
    """The unfolded skin.

    Attributes:
        azimuth: (N,) radians.
        level: (N,) level of the tube.
        triangles: (F, 3) int32, anticlockwise from outside.
        lid_loop: indices round the left lid opening, from the inner corner over the upper lid.
        lip_upper: indices of the upper lip's edge from the right to the left mouth corner.
        lip_lower: the same of the lower lip; the corners are shared.
    """

    azimuth: Double
    level: Double
    triangles: Index
    lid_loop: Int
    lip_upper: Int
    lip_lower: Int


def _lengths() -> Double:
    """Return arc lengths of the front profile at evenly spaced levels, in cm."""
    fine = tube(np.zeros(LEVELS * 20 + 1), np.linspace(0, LEVELS, LEVELS * 20 + 1))
    steps = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    lengths: Double = np.concatenate([[0.0], np.cumsum(steps)])
    return lengths


def locate(front: Double) -> Double:
    """Return (N, 2) azimuth and level of the tube's front at (N, 2) given x, y above the chin."""
    profile = tube(np.zeros(121), np.linspace(0, 12, 121))[:, 1]
    azimuth = np.arcsin(np.clip(front[:, 0] / 7.6, -0.95, 0.95))
    level = np.interp(-front[:, 1], -profile, np.linspace(0, 12, 121))
    small = 1e-5
    for _ in range(12):  # Newton; the map is smooth and nearly diagonal there
        here = tube(azimuth, level)[:, :2]
        du = (tube(azimuth + small, level)[:, :2] - here) / small
        dv = (tube(azimuth, level + small)[:, :2] - here) / small
        missing = front - here
        area = du[:, 0] * dv[:, 1] - du[:, 1] * dv[:, 0]
        azimuth = azimuth + (missing[:, 0] * dv[:, 1] - missing[:, 1] * dv[:, 0]) / area
        level = level + (du[:, 0] * missing[:, 1] - du[:, 1] * missing[:, 0]) / area
    return np.stack([azimuth, level], axis=1)


def _loops() -> tuple[Double, Double, Double]:
    """Return (x, y) of the lid loop, the mouth loop (half, x ≥ 0) and the rings round both."""
    turn = np.linspace(0.0, np.pi, 21)
    x = INNER_CORNER + (OUTER_CORNER - INNER_CORNER) * (0.5 - 0.5 * np.cos(turn))
    upper, lower = lid_edges(x)
    loop = np.concatenate(
        [np.stack([x, upper], 1), np.stack([x[-2:0:-1], lower[-2:0:-1]], 1)], axis=0
    )
    centre = np.array([(INNER_CORNER + OUTER_CORNER) / 2, EYE[1]])
    rings = []
    for away in (0.14, 0.3, 0.5, 0.72, 0.96):
        outward = (loop - centre) / np.array([1.5, 0.75])
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        rings.append(loop + away * outward * np.array([0.8, 1.0]))
    across = MOUTH_HALF * np.sin(np.linspace(0.0, np.pi / 2, 19))
    gap = mouth_gap(across)
    mouth = np.concatenate(
        [
            np.stack([across, MOUTH_Y + gap], 1),
            np.stack([across[-2::-1], MOUTH_Y - gap[-2::-1]], 1),
        ]
    )
    for away in (0.13, 0.28, 0.45, 0.64, 0.86, 1.12):
        outward = (mouth - [0.0, MOUTH_Y]) / np.array([MOUTH_HALF**2, 0.35])
        outward[:, 0] = np.maximum(outward[:, 0], 0.0)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        ring = mouth + away * outward
        ring[[0, -1], 0] = 0.0
        rings.append(ring)
    return loop, mouth, np.concatenate(rings)


def _grid(spacing: float, width: float, height: float) -> Double:
    """Return a hexagonal grid over the unfolded half, columns on both vertical borders."""
    columns = max(2, round(width / spacing)) + 1
    rows = max(2, round(height / (spacing * 0.87))) + 1
    us, vs = np.linspace(0.0, width, columns), np.linspace(0.0, height, rows)
    u, v = np.meshgrid(us, vs)
    shift = np.zeros(u.shape)
    shift[1::2, 1:-1] = 0.5 * (us[1] - us[0])
    shift[1::2, -2] = 0.25 * (us[1] - us[0])
    return np.stack([(u + shift).ravel(), v.ravel()], axis=1)


def _graded(lengths: Double, kept: Double) -> Double:
    """Return unfolded points, dense where the face has detail, clear of the kept points."""
    width, height = _AROUND * np.pi, lengths[-1]
    accepted = kept
    for spacing, box in (*_ZONES, (_COARSE_CM, None)):
        grid = _grid(spacing, width, height)
        level = np.interp(grid[:, 1], lengths, np.linspace(0, LEVELS, len(lengths)))
        front = tube(grid[:, 0] / _AROUND, level)
        if box is not None:
            inside = (front[:, 0] >= box[0] - 1e-9) & (front[:, 0] <= box[1])
            inside &= (front[:, 1] >= box[2]) & (front[:, 1] <= box[3]) & (front[:, 2] > 0)
            inside &= ~_in_eye(front[:, :2]) & ~_in_mouth(front[:, :2])
            grid = grid[inside]
        near, _ = cKDTree(accepted).query(grid)
        clear = near > 0.72 * spacing
        accepted = np.concatenate([accepted, grid[clear]])
    return accepted


def _in_eye(points: Double) -> Bool:
    upper, lower = lid_edges(points[:, 0])
    within = (points[:, 0] > INNER_CORNER) & (points[:, 0] < OUTER_CORNER)
    inside: Bool = within & (points[:, 1] < upper) & (points[:, 1] > lower)
    return inside


def _in_mouth(points: Double) -> Bool:
    inside: Bool = (np.abs(points[:, 0]) < MOUTH_HALF) & (
        np.abs(points[:, 1] - MOUTH_Y) < mouth_gap(points[:, 0])
    )
    return inside


def make_skin() -> Skin:
    """Lay out and triangulate the skin."""
    lengths = _lengths()
    loop, mouth, rings = _loops()
    rings = rings[~_in_eye(rings) & ~_in_mouth(rings)]
    kept = locate(np.concatenate([loop, mouth, rings]))
    levels = np.linspace(0, LEVELS, len(lengths))
    flat = np.stack([_AROUND * kept[:, 0], np.interp(kept[:, 1], levels, lengths)], axis=1)
    flat[np.abs(flat[:, 0]) < 1e-6, 0] = 0.0
    edge = len(loop) + len(mouth)
    thinned = [*range(edge)]
    for index in range(edge, len(flat)):  # rings of eye, mouth and midline may crowd each other
        gaps = np.linalg.norm(flat[thinned] - flat[index], axis=1)
        if gaps.min() > 0.1:
            thinned.append(index)
    flat = _graded(lengths, flat[thinned])
    azimuth = flat[:, 0] / _AROUND
    level = np.interp(flat[:, 1], lengths, levels)
    triangles = Delaunay(flat).simplices.astype(np.int64)
    centres = tube(azimuth, level)[triangles].mean(axis=1)
    # Corners all on one hole's edge: the triangle spans the hole.
    holes = (triangles < len(loop)).all(axis=1)
    holes |= ((triangles >= len(loop)) & (triangles < edge)).all(axis=1)
    holes &= centres[:, 2] > 0
    triangles = _anticlockwise(flat, triangles[~holes])
    return _mirrored(azimuth, level, flat, triangles, len(loop), len(mouth))


def _anticlockwise(flat: Double, triangles: Int) -> Int:
    a, b, c = flat[triangles[:, 0]], flat[triangles[:, 1]], flat[triangles[:, 2]]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    # The unfolded v runs downwards, so anticlockwise from outside is clockwise here.
    return np.where((area > 0)[:, None], triangles[:, [0, 2, 1]], triangles)


def _mirrored(
    azimuth: Double, level: Double, flat: Double, triangles: Int, lids: int, mouth: int
) -> Skin:
    count = len(azimuth)
    shared = (flat[:, 0] == 0.0) | (flat[:, 0] >= _AROUND * np.pi - 1e-6)
    mirror = np.where(shared, np.arange(count), count + np.cumsum(~shared) - 1)
    twins = np.flatnonzero(~shared)
    half = mouth // 2
    right = np.arange(lids, lids + half + 1)  # middle of the upper lip … left corner
    below = np.arange(lids + mouth - 1, lids + half - 1, -1)
    return Skin(
        azimuth=np.concatenate([azimuth, -azimuth[twins]]),
        level=np.concatenate([level, level[twins]]),
        triangles=np.concatenate([triangles, mirror[triangles][:, [0, 2, 1]]]).astype(np.int32),
        lid_loop=np.arange(lids),
        lip_upper=np.concatenate([mirror[right[:0:-1]], right]),
        lip_lower=np.concatenate([mirror[below[:0:-1]], below]),
    )
