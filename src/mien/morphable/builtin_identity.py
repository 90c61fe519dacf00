"""What varies between people: displacement fields of the built-in head, one a parameter.

Each field is a function of the mean position only (lids and lips excepted), so whatever lies close
together stays together: eyes in their lids, teeth behind lips, hair on the scalp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mien.core.arrays import Double
from mien.morphable.builtin_anatomy import Anatomy, smooth
from mien.morphable.builtin_surface import (
    EYE,
    INNER_CORNER,
    MOUTH_HALF,
    MOUTH_Y,
    OUTER_CORNER,
    blob,
    lip_heights,
)

Field = Callable[[Anatomy], Double]
_EYE_X = (INNER_CORNER + OUTER_CORNER) / 2


def _bump(
    at: tuple[float, float], spread: tuple[float, float], move: tuple[float, float, float]
) -> Field:
    """Return a field that moves a spot on both sides; x counts away from the midline."""

    def field(body: Anatomy) -> Double:
        x, y, z = body.points.T
        # Eyes stay round: what is shaped about them leaves them and their lids alone.
        clear = smooth(np.hypot(np.abs(x) - _EYE_X, 1.1 * y), 1.2, 2.3)
        weight = blob(x, y, at, spread) * smooth(z, -2.0, 3.0) * (0.1 + 0.9 * clear)
        return weight[:, None] * _outwards(x, move)

    return field


def _outwards(x: Double, move: tuple[float, float, float]) -> Double:
    """Return (V, 3) moves whose x points away from the midline, smoothly through it."""
    away = np.tanh(x / 0.5)
    return np.stack([move[0] * away, np.full(x.shape, move[1]), np.full(x.shape, move[2])], axis=1)


def _stretch(amounts: tuple[float, float, float], low: float, high: float) -> Field:
    """Return a field that scales the head about its origin where y is between low and high."""

    def field(body: Anatomy) -> Double:
        x, y, z = body.points.T
        weight = smooth(y, low - 2.5, low + 0.5) * (1.0 - smooth(y, high - 0.5, high + 2.5))
        scaled: Double = np.stack([amounts[0] * x, amounts[1] * y, amounts[2] * z], axis=1)
        scaled *= weight[:, None]
        return scaled

    return field


def _ramp(start: float, end: float, move: tuple[float, float, float]) -> Field:
    """Return a field that moves all beyond a height, growing from ``start`` to ``end``."""

    def field(body: Anatomy) -> Double:
        y = body.points[:, 1]
        share = smooth((y - start) / (end - start), 0.0, 1.0)
        share = share * (1.0 - smooth(-y, 12.6, 15.0)) if end < start else share
        moved: Double = share[:, None] * np.array(move)
        return moved

    return field


def _eye_window(body: Anatomy) -> tuple[Double, Double, Double, Double]:
    """Return side, offsets from the eye's centre, and the weight that is 1 on the whole eye."""
    x, y, z = body.points.T
    side = np.where(x >= 0, 1.0, -1.0)
    dx, dy = np.abs(x) - _EYE_X, y - EYE[1]
    weight = 1.0 - smooth(np.hypot(dx, 1.1 * dy), 1.7, 3.0)
    return side, dx, dy, weight * smooth(z, 2.0, 4.0)


def _eyes_move(move: tuple[float, float, float]) -> Field:
    def field(body: Anatomy) -> Double:
        side, _, _, weight = _eye_window(body)
        moved: Double = weight[:, None] * np.stack(
            [side * move[0], np.full(side.shape, move[1]), np.full(side.shape, move[2])], axis=1
        )
        return moved

    return field


def _eyes_scale(amount: float) -> Field:
    def field(body: Anatomy) -> Double:
        side, dx, dy, weight = _eye_window(body)
        dz = body.points[:, 2] - EYE[2]
        scaled: Double = amount * weight[:, None] * np.stack([side * dx, dy, dz], axis=1)
        return scaled

    return field


def _eyes_slant(angle: float) -> Field:
    def field(body: Anatomy) -> Double:
        side, dx, dy, weight = _eye_window(body)
        turned: Double = (
            angle * weight[:, None] * np.stack([-side * dy, dx, np.zeros(dx.shape)], axis=1)
        )
        return turned

    return field


def _eyes_open(amount: float) -> Field:
    def field(body: Anatomy) -> Double:
        lift = amount * (body.upper_lid - 0.6 * body.lower_lid)[body.follow]
        moved = np.zeros(body.points.shape)
        moved[:, 1] = lift
        return moved

    return field


def _lip(upper: bool, amount: float) -> Field:
    """Return a field that makes one lip fuller: higher and further out."""

    def field(body: Anatomy) -> Double:
        points = body.points[body.follow]
        x, y, z = points.T
        height = np.maximum(lip_heights(x)[0 if upper else 1], 1e-3)
        jaw = body.jaw[body.follow]
        away = np.abs(y - MOUTH_Y)
        red = np.minimum(away / height, 1.0) * np.exp(-((np.maximum(away - height, 0) / 0.5) ** 2))
        red *= smooth(MOUTH_HALF - np.abs(x), 0.0, 1.2) * smooth(z, 2.0, 5.0)
        red *= (1.0 - jaw) if upper else jaw
        red *= body.of("skin", "mouth")
        moved = np.zeros(points.shape)
        moved[:, 1] = (1.0 if upper else -1.0) * amount * red
        moved[:, 2] = 0.6 * amount * red
        return moved

    return field


def _ears(out: float, size: float) -> Field:
    def field(body: Anatomy) -> Double:
        x, y, z = body.points.T
        on = body.of("ear_L", "ear_R")
        free = on * np.clip(body.u, 0.0, 1.0) * smooth(-z, -0.5, 2.5)
        return np.stack([out * free * np.sign(x), size * on * (y + 1.3), size * on * z], axis=1)

    return field


def _hair(out: float, up: float) -> Field:
    """Return a field that thickens the hair, in cm, less towards its edge."""

    def field(body: Anatomy) -> Double:
        on = body.of("hair_cap", "hair_fringe", "hair_long")
        on[body.parts["hair_cap"]] *= 1.0 - body.v[body.parts["hair_cap"]] ** 4
        on[body.parts["hair_fringe"]] *= 0.5
        away = body.points * [1.0, 0.8, 1.0]
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        grown: Double = out * away + up * np.array([0.0, 1.0, 0.0]) * np.maximum(away[:, 1:2], 0.0)
        grown *= on[:, None]
        return grown

    return field


def _neck(amount: float) -> Field:
    def field(body: Anatomy) -> Double:
        x, y, z = body.points.T
        weight = smooth(-y, 9.0, 13.5) * body.of("skin")
        widened: Double = np.stack([amount * x, 0 * y, 0.5 * amount * z], axis=1)
        widened *= weight[:, None]
        return widened

    return field


# One standard deviation of each, in cm or as a share.
IDENTITY: dict[str, Field] = {
    "face_width": _stretch((0.032, 0.0, 0.0), -30, 30),
    "face_height": _stretch((0.0, 0.03, 0.0), -30, 30),
    "head_depth": _stretch((0.0, 0.0, 0.025), -30, 30),
    "jaw_width": _stretch((0.042, 0.0, 0.0), -11, -6),
    "upper_width": _stretch((0.03, 0.0, 0.0), 3, 30),
    "chin_length": _ramp(-7.9, -11.0, (0.0, -0.36, 0.0)),
    "chin_projection": _bump((0.0, -10.3), (1.7, 1.1), (0.0, 0.0, 0.38)),
    "chin_width": _bump((1.6, -10.6), (1.1, 1.0), (0.32, 0.0, 0.05)),
    "jaw_corner": _bump((5.0, -8.0), (1.2, 1.6), (0.35, -0.1, 0.0)),
    "cheekbone": _bump((5.2, -1.8), (1.5, 1.1), (0.25, 0.05, 0.22)),
    "cheek_fullness": _bump((4.4, -5.2), (1.5, 1.9), (0.28, -0.05, 0.3)),
    "forehead_height": _ramp(3.5, 8.0, (0.0, 0.5, 0.0)),
    "forehead_slope": _bump((0.0, 6.6), (4.5, 2.2), (0.0, 0.0, -0.4)),
    "temple": _bump((6.2, 3.2), (1.4, 2.0), (0.22, 0.0, 0.1)),
    "brow_ridge": _bump((2.5, 2.15), (1.9, 0.65), (0.0, 0.0, 0.2)),
    "brow_height": _bump((2.9, 2.5), (2.2, 0.75), (0.0, 0.2, 0.0)),
    "brow_slant": _bump((4.6, 2.45), (1.3, 0.8), (0.0, 0.2, 0.0)),
    "brow_spacing": _bump((1.1, 2.2), (0.9, 0.7), (0.13, 0.0, 0.0)),
    "eye_spacing": _eyes_move((0.14, 0.0, 0.0)),
    "eye_height": _eyes_move((0.0, 0.12, 0.0)),
    "eye_depth": _eyes_move((0.0, 0.0, 0.14)),
    "eye_size": _eyes_scale(0.045),
    "eye_slant": _eyes_slant(0.045),
    "eye_opening": _eyes_open(0.06),
    "nose_length": _bump((0.0, -4.2), (1.7, 1.2), (0.0, -0.28, 0.0)),
    "nose_width": _bump((1.4, -4.0), (0.7, 0.8), (0.2, 0.0, 0.0)),
    "nose_projection": _bump((0.0, -3.7), (1.0, 1.1), (0.0, 0.0, 0.28)),
    "nose_bridge": _bump((0.0, -0.8), (0.75, 1.2), (0.0, 0.0, 0.2)),
    "nose_bridge_width": _bump((0.7, -1.3), (0.5, 1.3), (0.14, 0.0, 0.08)),
    "nose_hump": _bump((0.0, -1.9), (0.6, 0.7), (0.0, 0.0, 0.16)),
    "nose_tip": _bump((0.0, -3.8), (0.6, 0.5), (0.0, 0.22, 0.05)),
    "nose_bulb": _bump((0.6, -3.6), (0.45, 0.6), (0.14, 0.0, 0.06)),
    "mouth_width": _bump((2.3, MOUTH_Y), (1.2, 1.0), (0.24, 0.0, -0.06)),
    "mouth_height": _bump((0.0, MOUTH_Y), (3.2, 1.3), (0.0, 0.2, 0.0)),
    "mouth_projection": _bump((0.0, MOUTH_Y), (1.9, 1.5), (0.0, 0.0, 0.22)),
    "mouth_tilt": _bump((2.5, MOUTH_Y), (0.8, 0.8), (0.0, 0.1, 0.0)),
    "upper_lip": _lip(upper=True, amount=0.15),
    "lower_lip": _lip(upper=False, amount=0.15),
    "ear_angle": _ears(0.35, 0.0),
    "ear_size": _ears(0.0, 0.07),
    "hair_volume": _hair(0.2, 0.0),
    "hair_height": _hair(0.0, 0.17),
    "neck_width": _neck(0.06),
}


def identity_fields(body: Anatomy) -> Double:
    """Return the (I, V, 3) displacements in cm of one unit of each parameter."""
    return np.stack([field(body) for field in IDENTITY.values()])
