"""Wrinkles as painted shadows: own patterns a person, deepened by the units that fold the skin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mien.core.arrays import Double, Float
from mien.datasets.demo.anatomy import HiddenAnatomy

# Pattern → units that fold it, and how deep it is at rest in an old face.
_FOLDS: dict[str, tuple[tuple[str, ...], float]] = {
    "glabella": (("AU4_L", "AU4_R"), 0.25),
    "forehead": (("AU1_L", "AU1_R", "AU2_L", "AU2_R"), 0.3),
    "crow": (("AU6_L", "AU6_R"), 0.25),
    "nasolabial": (("AU12_L", "AU12_R", "AU10_L", "AU10_R", "AU9_L", "AU9_R"), 0.4),
    "marionette": (("AU15_L", "AU15_R"), 0.25),
    "chin": (("AU17",), 0.1),
    "nose": (("AU9_L", "AU9_R"), 0.05),
}
PATTERNS: tuple[str, ...] = tuple(_FOLDS)


def draw_patterns(anatomy: HiddenAnatomy, rng: np.random.Generator) -> Float:
    """Draw a person's (P, V) float32 wrinkle patterns in [0, 1]; places and lengths are own."""
    x, y, z = (anatomy.mean / anatomy.centimetre).astype(np.float64).T
    face = anatomy.head.regions["face"].astype(np.float64)
    away = np.abs(x)
    near = 0.16 + 0.07 * rng.uniform()
    lean = 0.25 * rng.standard_normal(3)
    drawn: dict[str, Double] = {
        "glabella": _line(away - 0.35 - 0.3 * rng.uniform() - 0.08 * (y - 2.0), near)
        * _bell(y, 2.0, 0.7),
        "forehead": np.asarray(
            np.max(
                [
                    _line(y - h - lean[0] * 0.3 * np.cos(0.8 * x + lean[1]), near)
                    for h in 3.9 + np.arange(3) * rng.uniform(0.75, 1.0)
                ],
                axis=0,
            )
        )
        * _bell(x, 0.0, 2.6),
        "crow": np.asarray(
            np.max([_line(y - 0.1 - s * (away - 4.7), near) for s in (-0.6, 0.05, 0.6)], axis=0)
        )
        * _bell(away, 5.6, 0.5)
        * _bell(y, 0.1, 0.8),
        "nasolabial": _line(away - (2.0 + lean[2] * 0.4) - 0.42 * np.maximum(-4.4 - y, 0), 0.24)
        * _bell(y, -5.7, 1.1),
        "marionette": _line(away - 2.9 - 0.25 * (-7.6 - y), 0.22) * _bell(y, -8.4, 0.6),
        "chin": _bell(away, 0.0, 1.1) * _line(y + 8.9 + 0.1 * lean[0], 0.25),
        "nose": _line(y + 0.6 - 0.6 * away, near) * _bell(away, 0.5, 0.6),
    }
    front = face * (z > 3.0)
    return np.stack([drawn[name] * front for name in PATTERNS]).astype(np.float32)


def depths(units: Mapping[str, float], age: float, tendency: float) -> Float:
    """Return (P,) float32: how dark each pattern is drawn, in [0, 0.6].

    Args:
        units: unit weights of the picture.
        age: of the person, in [0, 1].
        tendency: how readily this skin folds, around 1.
    """
    found = []
    for folders, at_rest in _FOLDS.values():
        folded = sum(units.get(name, 0.0) for name in folders) / len(folders)
        found.append((at_rest * age + 0.45 * folded * (0.4 + 0.9 * age)) * tendency)
    deep: Float = np.clip(np.array(found), 0.0, 0.6).astype(np.float32)
    return deep


def _line(away: Double, half: float) -> Double:
    line: Double = np.exp(-((away / half) ** 2))
    return line


def _bell(value: Double, middle: float, spread: float) -> Double:
    bell: Double = np.exp(-0.5 * ((value - middle) / spread) ** 2)
    return bell
