"""The mean head of the built-in model as formulas, in centimetres.

Origin between the eyes and on the head's vertical axis; x to image right, y up, z to the camera.
The numbers are ordinary adult proportions (eye centres 6.3 cm apart, face 23 cm high).
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from mien.core.arrays import Double

EYE = np.array([3.12, 0.0, 5.95])  # centre of the left eyeball
EYE_RADIUS = 1.62
LID_RADIUS = 1.81  # lids lie this far from the eyeball's centre
INNER_CORNER, OUTER_CORNER = 1.72, 4.62  # x of the lid opening's ends
MOUTH_Y, MOUTH_HALF = -6.9, 2.55

# One row a level, from the crown to the shoulders: height and depth of the front profile, height,
# half-width and depth of the side profile, height and depth of the back profile.
_LEVELS = np.array(
    [
        (11.7, -0.5, 11.7, 0.0, -0.5, 11.7, -0.5),
        (11.1, 3.4, 11.0, 3.6, -0.6, 11.0, -4.6),
        (9.7, 6.2, 9.4, 5.6, -0.6, 9.4, -7.3),
        (7.6, 8.0, 7.4, 6.7, -0.5, 7.0, -9.1),
        (5.0, 9.05, 5.0, 7.3, -0.4, 4.5, -9.9),
        (2.4, 9.35, 2.4, 7.45, -0.3, 2.0, -9.9),
        (0.2, 8.85, 0.2, 7.3, -0.2, -0.5, -9.3),
        (-2.0, 8.65, -1.6, 7.1, -0.1, -2.5, -8.3),
        (-4.2, 8.6, -3.4, 6.95, 0.0, -4.5, -7.2),
        (-6.5, 8.7, -5.2, 6.7, 0.0, -6.0, -6.3),
        (-8.6, 8.65, -6.8, 6.25, 0.0, -7.5, -5.8),
        (-10.3, 8.7, -8.2, 5.65, 0.0, -8.5, -5.6),
        (-11.4, 8.0, -9.2, 4.95, -0.2, -9.5, -5.6),
        (-11.85, 6.2, -10.1, 4.75, -0.8, -10.2, -5.7),
        (-12.4, 4.6, -11.2, 4.9, -1.1, -11.2, -5.9),
        (-13.6, 3.7, -13.2, 5.1, -1.2, -13.2, -6.1),
        (-17.0, 3.5, -16.2, 5.9, -1.5, -16.2, -6.6),
        (-20.5, 4.2, -18.4, 10.5, -1.6, -18.4, -7.6),
    ]
)
LEVELS = len(_LEVELS) - 1
_PROFILES = PchipInterpolator(np.arange(LEVELS + 1), _LEVELS, axis=0)


def tube(azimuth: Double, level: Double) -> Double:
    """Return (…, 3) points of the smooth skull and neck without features.

    Args:
        azimuth: radians about the vertical axis, 0 = front, positive to image right.
        level: 0 (crown) .. ``LEVELS`` (shoulders).
    """
    front_y, front_z, side_y, side_x, side_z, back_y, back_z = np.moveaxis(_PROFILES(level), -1, 0)
    across, along = np.sin(azimuth), np.cos(azimuth)
    ahead = along >= 0
    end_y, end_z = np.where(ahead, front_y, back_y), np.where(ahead, front_z, back_z)
    share = np.abs(along)
    return np.stack(
        [
            side_x * across,
            side_y + (end_y - side_y) * share**1.5,
            side_z + (end_z - side_z) * share,
        ],
        axis=-1,
    )


def blob(x: Double, y: Double, at: tuple[float, float], spread: tuple[float, float]) -> Double:
    """Return a Gaussian bump of height 1, mirrored to both sides of the face."""
    side = ((np.abs(x) - at[0]) / spread[0]) ** 2
    other = ((np.abs(x) + at[0]) / spread[0]) ** 2  # keeps the sum smooth on the midline
    height = ((y - at[1]) / spread[1]) ** 2
    bump: Double = np.exp(-0.5 * (side + height)) + np.exp(-0.5 * (other + height))
    share: Double = bump / (1.0 + np.exp(-2.0 * (at[0] / spread[0]) ** 2))
    return share


_NOSE_Y = np.array([-5.7, -5.1, -4.85, -4.6, -4.3, -4.0, -3.55, -3.0, -2.2, -1.3, -0.4, 0.4, 1.4])
_NOSE_HEIGHT = PchipInterpolator(
    _NOSE_Y, [0.0, 0.12, 0.45, 1.15, 2.2, 2.7, 2.8, 2.45, 1.85, 1.3, 0.8, 0.4, 0.0]
)
_NOSE_WIDTH = PchipInterpolator(
    _NOSE_Y, [0.8, 0.75, 0.72, 0.72, 0.74, 0.76, 0.76, 0.72, 0.66, 0.62, 0.6, 0.7, 0.9]
)

# Further relief along z: centre, spread, height in cm.
_RELIEF = (
    ((3.2, 0.4), (1.5, 1.05), -1.05),  # eye socket
    ((1.55, 0.35), (0.6, 0.9), -0.45),  # beside the bridge
    ((2.7, 2.15), (1.8, 0.6), 0.42),  # brow ridge
    ((0.0, 2.0), (0.8, 0.7), 0.1),  # glabella
    ((4.6, -2.0), (1.4, 1.1), 0.4),  # cheekbone
    ((4.9, -5.6), (1.2, 1.6), -0.3),  # cheek hollow
    ((1.3, -4.05), (0.38, 0.4), 0.95),  # wing of the nose
    ((1.95, -4.15), (0.3, 0.55), -0.15),  # crease beside the wing
    ((0.0, -6.4), (2.2, 1.6), 0.6),  # teeth behind the lips
    ((0.0, -5.6), (0.22, 0.45), -0.08),  # philtrum
    ((0.0, -8.7), (1.6, 0.4), -0.3),  # fold above the chin
    ((0.0, -10.0), (1.25, 0.8), 0.55),  # chin
    ((6.4, 3.4), (1.1, 1.8), -0.25),  # temple
)


def relief(x: Double, y: Double) -> Double:
    """Return the height in cm that features of the front add along z."""
    ridge = np.clip(y, _NOSE_Y[0], _NOSE_Y[-1])
    height = _NOSE_HEIGHT(ridge) * np.exp(-0.5 * (x / _NOSE_WIDTH(ridge)) ** 2)
    for at, spread, amount in _RELIEF:
        height = height + amount * blob(x, y, at, spread)
    total: Double = height + lip_relief(x, y)
    return total


def lip_heights(x: Double) -> tuple[Double, Double]:
    """Return the heights of the red of the upper and the lower lip at x, in cm, 0 outside."""
    share = np.clip(1.0 - (x / MOUTH_HALF) ** 2, 0.0, 1.0)
    bow = 0.13 * np.exp(-((np.abs(x) - 0.45) ** 2) / 0.12) - 0.1 * np.exp(-((x / 0.22) ** 2))
    return share**0.8 * (0.68 + bow), 0.86 * share**0.62


def lip_relief(x: Double, y: Double) -> Double:
    """Return the bulge of the lips along z in cm."""
    upper, lower = lip_heights(x)
    above = y >= MOUTH_Y
    across = np.abs(y - MOUTH_Y) / np.maximum(np.where(above, upper, lower), 0.25)
    profile = np.exp(-(((across - 0.55) / 0.5) ** 2)) - 0.3 * np.exp(-((across / 0.25) ** 2))
    fade = np.clip(1.0 - (x / (MOUTH_HALF + 0.15)) ** 2, 0.0, 1.0) ** 0.6
    corner = -0.22 * np.exp(-(((np.abs(x) - MOUTH_HALF) / 0.4) ** 2) - ((y - MOUTH_Y) / 0.4) ** 2)
    bulge: Double = np.where(above, 0.34, 0.46) * profile * fade + corner
    return bulge


def lid_edges(x: Double) -> tuple[Double, Double]:
    """Return the heights y of the upper and lower lid edge of the left eye at x."""
    share = np.clip((x - INNER_CORNER) / (OUTER_CORNER - INNER_CORNER), 0.0, 1.0)
    line = -0.1 + 0.24 * share
    upper = line + 0.6 * np.sin(np.pi * share**0.92) ** 0.75
    lower = line - 0.58 * np.sin(np.pi * share**1.12) ** 0.85
    return upper, lower


def mouth_gap(x: Double) -> Double:
    """Return half the height of the mouth's slit in the unfolded domain, in cm."""
    gap: Double = 0.28 * np.clip(1.0 - (x / MOUTH_HALF) ** 2, 0.0, 1.0) ** 0.6
    return gap


def lid_sphere(x: Double, y: Double) -> Double:
    """Return z of the lids' sphere over the left eye, far behind where it does not reach."""
    square = LID_RADIUS**2 - (x - EYE[0]) ** 2 - (y - EYE[1]) ** 2
    height: Double = EYE[2] + np.where(square > 0, np.sqrt(np.maximum(square, 0.0)), 3.0 * square)
    return height


def skin(azimuth: Double, level: Double) -> Double:
    """Return (N, 3) points of the mean skin: skull, relief, lids over the eyes, lips closed."""
    points = tube(azimuth, level)
    x, y = points[:, 0], points[:, 1]
    front = np.clip(np.cos(azimuth) * 4.0, 0.0, 1.0)
    # The mouth's slit is open in the domain only; lips meet in the mean face.
    beyond = np.abs(y - MOUTH_Y) - mouth_gap(x)
    closed = y - np.sign(y - MOUTH_Y) * mouth_gap(x) * np.exp(-np.maximum(beyond, 0.0) / 0.6)
    y = np.where(front > 0, closed, y)
    z = points[:, 2] + front * relief(x, y)
    over = lid_sphere(np.abs(x), y)
    softness = 0.12
    raised = np.maximum(z, over) + softness * np.log1p(np.exp(-np.abs(z - over) / softness))
    z = np.where(front > 0, raised, z)
    return np.stack([x, y, z], axis=-1)
