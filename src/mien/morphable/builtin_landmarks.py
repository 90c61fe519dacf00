"""The 68 landmarks of the built-in head."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Double, Int
from mien.morphable.builtin_anatomy import Anatomy
from mien.morphable.builtin_surface import MOUTH_Y, lip_heights

# Jaw line: azimuth in degrees and level of the tube, from the ear to the chin.
_JAW = (
    (-80.0, 6.3), (-79.0, 7.4), (-77.0, 8.6), (-74.0, 9.8), (-67.0, 10.9),
    (-53.0, 11.6), (-36.0, 12.0), (-18.0, 12.1), (0.0, 12.1),
)  # fmt: skip
_BROW = ((0.95, 2.3), (2.0, 2.65), (3.1, 2.8), (4.2, 2.65), (5.3, 2.15))  # inner to outer
_NOSE = ((0.0, 0.3), (0.0, -1.0), (0.0, -2.3), (0.0, -3.6))
_BASE = ((-1.3, -4.55), (-0.7, -4.72), (0.0, -4.85), (0.7, -4.72), (1.3, -4.55))


def find_landmarks(body: Anatomy) -> Int:
    """Return (68,) int64 vertex indices in Multi-PIE order."""
    skin = body.parts["skin"]
    points = body.points[skin]
    front = np.flatnonzero(points[:, 2] > 3.0)

    def nearest(x: float, y: float) -> int:
        gap = np.abs(points[front, 0] - x) + np.abs(points[front, 1] - y)
        return int(front[np.argmin(gap)])

    found = [_on_jaw(body, np.deg2rad(a), level) for a, level in _jaw_line()]
    found += [nearest(-x, y) for x, y in reversed(_BROW)] + [nearest(x, y) for x, y in _BROW]
    found += [nearest(x, y) for x, y in (*_NOSE, *_BASE)]
    found += _eyes(body, points)
    found += _lips(body, points)
    return np.array(found, np.int64)


def _jaw_line() -> list[tuple[float, float]]:
    return [*_JAW, *((-a, level) for a, level in reversed(_JAW[:-1]))]


def _on_jaw(body: Anatomy, azimuth: float, level: float) -> int:
    unfolded = body.skin
    gap = np.abs(unfolded.azimuth - azimuth) * 5.0 + np.abs(unfolded.level - level)
    return int(np.argmin(gap))


def _eyes(body: Anatomy, points: Double) -> list[int]:
    loop = body.skin.lid_loop  # inner corner, upper lid, outer corner, lower lid
    count = len(loop)
    places = (0, count * 2 // 12, count * 4 // 12, count // 2, count * 8 // 12, count * 10 // 12)
    left = [int(loop[k]) for k in places]
    twins = []
    for index in left:
        mirror = points[index] * np.array([-1.0, 1.0, 1.0])
        twins.append(int(np.argmin(np.abs(points - mirror).sum(axis=1))))
    inner, up1, up2, outer, low1, low2 = twins
    return [outer, up2, up1, inner, low2, low1, *left]


def _lips(body: Anatomy, points: Double) -> list[int]:
    upper, lower = body.skin.lip_upper, body.skin.lip_lower
    reds = np.array([-1.6, -0.55, 0.0, 0.55, 1.6])
    above, below = lip_heights(reds)
    top = [_beside(points, body.jaw, x, MOUTH_Y + h, 0.0) for x, h in zip(reds, above, strict=True)]
    low = [_beside(points, body.jaw, x, MOUTH_Y - h, 1.0) for x, h in zip(reds, below, strict=True)]
    outer = [int(upper[0]), *top, int(upper[-1]), *reversed(low)]

    def along(edge: Int, x: float) -> int:
        return int(edge[np.argmin(np.abs(points[edge, 0] - x))])

    inner = [along(upper, x) for x in (-2.1, -0.8, 0.0, 0.8, 2.1)]
    inner += [along(lower, x) for x in (0.8, 0.0, -0.8)]
    return outer + inner


def _beside(points: Double, jaw: Double, x: float, y: float, side: float) -> int:
    gap = np.abs(points[:, 0] - x) + np.abs(points[:, 1] - y) + 9.0 * (points[:, 2] < 3.0)
    gap = gap + 9.0 * (np.abs(jaw[: len(points)] - side) > 0.5)
    return int(np.argmin(gap))
