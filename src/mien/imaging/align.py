"""Turn, scale and crop a picture so that the eyes lie where they belong, without aliasing."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mien.core.arrays import Double, UInt8
from mien.core.face import Face, Point
from mien.core.preprocess import PreprocessSpec

_MAX_SUPERSAMPLE = 4  # beyond it the picture is halved first
# Where a cascade's face box has its eyes when they are not found, as fractions of the box.
_BOX_EYES = ((0.31, 0.385), (0.685, 0.385))


def eye_points(face: Face) -> tuple[Point, Point]:
    """Return the eyes, or where a face's box usually has them."""
    if face.eyes is not None:
        return face.eyes
    box = face.box
    left, right = ((box.left + x * box.width, box.top + y * box.height) for x, y in _BOX_EYES)
    return left, right


def align(image: UInt8, eyes: tuple[Point, Point], spec: PreprocessSpec) -> UInt8:
    """Rotate, scale and crop so that the eyes lie at ``eye_line``, ``eye_distance`` apart.

    Shrinking averages areas: the picture is halved until four or fewer of its pixels a side fall
    on one of the output's, warped at that multiple of the size and averaged down. Outside the
    picture its border is replicated.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        eyes: centres in pixels (pixel centres are integers), the person's right first.
        spec: gives size and places.

    Returns:
        (S, S) or (S, S, 3) uint8.
    """
    side = spec.size_px
    points = np.array(eyes, dtype=np.float64)
    if np.hypot(*(points[1] - points[0])) < 1e-3:  # no pair of eyes: any picture will do
        points[1] = points[0] + (1.0, 0.0)
    scale = spec.eye_distance * side / float(np.hypot(*(points[1] - points[0])))
    while scale < 1.0 / _MAX_SUPERSAMPLE and min(image.shape[:2]) > 1:
        height, width = image.shape[:2]
        half = (math.ceil(width / 2), math.ceil(height / 2))
        factors = np.array([half[0] / width, half[1] / height])
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        points = (points + 0.5) * factors - 0.5
        scale = spec.eye_distance * side / float(np.hypot(*(points[1] - points[0])))
    times = max(1, math.ceil(1.0 / scale - 1e-9))
    matrix = _similarity(points, spec, times)
    large = cv2.warpAffine(
        image,
        matrix,
        (side * times, side * times),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if times == 1:
        return np.ascontiguousarray(large)
    small: UInt8 = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    return small


def _similarity(points: Double, spec: PreprocessSpec, times: int) -> Double:
    """Map the eyes to their places in a picture of ``times`` the output's size: (2, 3)."""
    side = spec.size_px * times
    targets = [
        complex((0.5 + sign * spec.eye_distance / 2) * side - 0.5, spec.eye_line * side - 0.5)
        for sign in (-1, 1)
    ]
    left, right = (complex(float(x), float(y)) for x, y in points)
    turn = (targets[1] - targets[0]) / (right - left)
    shift = targets[0] - turn * left
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
