"""Facial landmarks: the Multi-PIE 68 order and how other hand-placed sets map to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.core.face import Point

JAW = slice(0, 17)
LEFT_BROW = slice(17, 22)  # image left, outer to inner
RIGHT_BROW = slice(22, 27)  # image right, inner to outer
NOSE_BRIDGE = slice(27, 31)
NOSE_BASE = slice(31, 36)
LEFT_EYE = slice(36, 42)  # outer corner, upper lid, inner corner, lower lid
RIGHT_EYE = slice(42, 48)  # inner corner, upper lid, outer corner, lower lid
OUTER_LIPS = slice(48, 60)
INNER_LIPS = slice(60, 68)

# London set: curves through its 189 points, in the direction of the 68.
_LONDON_JAW = (109, 110, 111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114, 113, 112)
_LONDON_CHIN = 7  # position of the chin in that curve
_LONDON_BROWS = ((71, 72, 73, 74, 75, 76), (77, 78, 79, 80, 81, 82))
_LONDON_EYES = ((18, (19, 20, 21), 22, (30, 29, 28)), (23, (24, 25, 26), 27, (33, 32, 31)))
_LONDON_BRIDGE = ((50, 51, 52, 53, 54), (56, 57, 58, 59, 60))
_LONDON_NOSE = (64, 170, 55, 172, 69)
_LONDON_LIPS = (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104)
_LONDON_UPPER = (95, 96, 97)
_LONDON_LOWER = (102, 101, 100)


def along(curve: Double, shares: Sequence[float]) -> Double:
    """Return the points at the given shares (0..1) of a polyline's length: (N, 2) float64."""
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.asarray(shares, np.float64) * length[-1]
    return np.stack([np.interp(wanted, length, curve[:, axis]) for axis in (0, 1)], axis=1)


def inter_ocular(points: Double) -> float:
    """Return the distance of the eye centres of 68 points, in their unit."""
    left, right = points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0)
    return float(np.linalg.norm(right - left))


def london_68(points: Double) -> Double:
    """Map the London set's 189 points to the Multi-PIE 68.

    Curves (jaw, brows, eyelids, nose bridge) are resampled by length; the rest are taken as they
    are. The jaw runs from ear to ear, its ninth point is the chin.

    Args:
        points: (189, 2) float64 in pixels.

    Returns:
        (68, 2) float64 in the same pixels.

    Raises:
        Invalid: ``LANDMARKS_SHAPE`` for another number of points.
    """
    if points.shape != (189, 2):
        raise Invalid("LANDMARKS_SHAPE", f"189 points are needed, not an array of {points.shape}")
    jaw = points[list(_LONDON_JAW)]
    halves = np.linspace(0.0, 1.0, 9)
    left = along(jaw[: _LONDON_CHIN + 1], halves.tolist())
    right = along(jaw[_LONDON_CHIN:], halves.tolist())
    brows = [along(points[list(b)], (0.0, 0.25, 0.5, 0.75, 1.0)) for b in _LONDON_BROWS]
    sides = [points[list(side)] for side in _LONDON_BRIDGE]
    bridge = along((sides[0] + sides[1]) / 2, (0.0, 0.33, 0.66, 1.0))
    eyes = [_eye(points, *eye) for eye in _LONDON_EYES]
    lips = points[list(_LONDON_LIPS)]
    upper, lower = points[list(_LONDON_UPPER)], points[list(_LONDON_LOWER)]
    corners = 0.9 * lips[[0, 6]] + 0.1 * np.stack([upper[[0, 2]], lower[[2, 0]]]).mean(axis=0)
    inner = np.concatenate([corners[:1], upper, corners[1:], lower])
    nose = points[list(_LONDON_NOSE)]
    return np.concatenate([left, right[1:], *brows, bridge, nose, *eyes, lips, inner])


def _eye(
    points: Double, first: int, upper: Sequence[int], second: int, lower: Sequence[int]
) -> Double:
    """Return six points of an eye: corner, two of the upper lid, corner, two of the lower lid."""
    thirds = (1 / 3, 2 / 3)
    above = along(points[[first, *upper, second]], thirds)
    below = along(points[[second, *lower, first]], thirds)
    return np.concatenate([points[[first]], above, points[[second]], below])


def multi_pie_68(landmarks: Sequence[Point]) -> Double:
    """Return the 68 points of a face, from 68 or from the London set's 189.

    Raises:
        Invalid: ``LANDMARKS_MISSING`` without points; ``LANDMARKS_SHAPE`` for another number or
            for points that are not finite or fall together.
    """
    if not landmarks:
        raise Invalid(
            "LANDMARKS_MISSING",
            "the photo has no landmarks to fit a head to",
            hint="give 68 points (Multi-PIE order) or the London set's 189 with each photo",
        )
    points = np.asarray(landmarks, np.float64)
    if points.shape == (189, 2):
        points = london_68(points)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise Invalid(
            "LANDMARKS_SHAPE",
            f"68 or 189 finite points are needed, not an array of {points.shape}",
        )
    if inter_ocular(points) < 4.0:
        raise Invalid("LANDMARKS_SHAPE", "the eyes are less than 4 px apart: nothing to fit")
    return points
