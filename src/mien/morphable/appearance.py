"""How a head is coloured: the words both backends understand, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mien.core.arrays import Double
from mien.core.errors import Invalid

# Name → (low, high, value where it is not given). Numbers are shares unless said otherwise.
APPEARANCE: dict[str, tuple[float, float, float]] = {
    "skin": (0.0, 1.0, 0.25),  # lightest .. darkest
    "undertone": (-1.0, 1.0, 0.0),  # rosy .. olive
    "redness": (0.0, 1.0, 0.4),  # cheeks, nose, ears
    "age": (0.0, 1.0, 0.25),  # lines, shadows under the eyes, grey in the hair
    "freckles": (0.0, 1.0, 0.0),
    "lips": (0.0, 1.0, 0.4),  # pale .. red
    "iris": (0.0, 1.0, 0.6),  # blue, green, hazel, brown
    "brow": (0.0, 1.0, 0.6),  # thin .. thick
    "brow_arch": (-1.0, 1.0, 0.0),  # straight .. arched
    "hair": (0.0, 1.0, 0.3),  # black, brown, red, blond
    "grey": (0.0, 1.0, 0.0),
    "hair_style": (0.0, 4.0, 1.0),  # 0 shaved, 1 short, 2 fringe, 3 long, 4 long with fringe
    "beard": (0.0, 1.0, 0.0),  # none .. full
    "glasses": (0.0, 1.0, 0.0),  # worn from 0.5 on
    "clothes": (0.0, 1.0, 0.5),  # hue of the collar
}


def complete(appearance: Mapping[str, float]) -> dict[str, float]:
    """Fill in what is not given.

    Raises:
        Invalid: ``UNKNOWN_APPEARANCE`` for another word; ``APPEARANCE_OUT_OF_RANGE``.
    """
    for name, value in appearance.items():
        if name not in APPEARANCE:
            known = ", ".join(APPEARANCE)
            raise Invalid(
                "UNKNOWN_APPEARANCE", f"{name!r} says nothing of a face", hint=f"one of: {known}"
            )
        low, high, _ = APPEARANCE[name]
        if not low <= value <= high:
            raise Invalid(
                "APPEARANCE_OUT_OF_RANGE", f"{name} {value} is outside [{low:g}, {high:g}]"
            )
    return {name: float(appearance.get(name, usual)) for name, (_, _, usual) in APPEARANCE.items()}


def sample_appearance(rng: np.random.Generator) -> dict[str, float]:
    """Draw the appearance of one person; every word of ``APPEARANCE`` is given."""
    uniform = rng.uniform(size=12)
    skin = float(uniform[0] ** 1.2)
    age = float(uniform[1] ** 1.5)
    # Dark skin seldom comes with fair hair or light eyes.
    dark = np.clip((skin - 0.35) / 0.3, 0.0, 1.0)
    bearded = uniform[5] < 0.22
    return {
        "skin": skin,
        "undertone": float(np.clip(0.4 * rng.standard_normal(), -1, 1)),
        "redness": float(0.15 + 0.6 * uniform[2]),
        "age": age,
        "freckles": float(uniform[3]) if uniform[3] > 0.85 and skin < 0.4 else 0.0,
        "lips": float(0.15 + 0.75 * uniform[4] * (1.0 - 0.6 * bearded)),
        "iris": float(np.clip(uniform[6] + 0.8 * dark, 0, 1)),
        "brow": float(0.25 + 0.7 * uniform[7]),
        "brow_arch": float(np.clip(0.45 * rng.standard_normal(), -1, 1)),
        "hair": float(uniform[8] * (1.0 - 0.85 * dark)),
        "grey": float(np.clip(2.2 * age - 1.3, 0, 1)),
        "hair_style": float(rng.choice(5, p=[0.08, 0.34, 0.18, 0.22, 0.18])) if not bearded
        else float(rng.choice(3, p=[0.25, 0.55, 0.2])),
        "beard": float(0.3 + 0.7 * uniform[9]) if bearded else 0.0,
        "glasses": float(uniform[10] < 0.14),
        "clothes": float(uniform[11]),
    }  # fmt: skip


def ramp(stops: tuple[tuple[float, float, float], ...], at: float) -> Double:
    """Return the RGB colour at a share in [0, 1] along evenly spaced stops."""
    table = np.asarray(stops)
    places = np.linspace(0.0, 1.0, len(stops))
    return np.array([np.interp(at, places, table[:, k]) for k in range(3)])


SKIN_STOPS = (
    (0.96, 0.82, 0.75),
    (0.92, 0.74, 0.64),
    (0.84, 0.64, 0.51),
    (0.68, 0.48, 0.36),
    (0.52, 0.36, 0.27),
    (0.40, 0.27, 0.20),
)
HAIR_STOPS = (
    (0.09, 0.075, 0.07),
    (0.19, 0.12, 0.08),
    (0.33, 0.20, 0.12),
    (0.45, 0.24, 0.12),
    (0.62, 0.46, 0.26),
    (0.80, 0.66, 0.42),
)
IRIS_STOPS = (
    (0.42, 0.58, 0.72),
    (0.40, 0.55, 0.48),
    (0.46, 0.38, 0.20),
    (0.34, 0.21, 0.11),
    (0.22, 0.13, 0.07),
)


def skin_colour(appearance: Mapping[str, float]) -> Double:
    """Return the RGB colour of plain skin."""
    tilt = appearance["undertone"] * np.array([-0.01, 0.012, -0.02])
    return np.clip(ramp(SKIN_STOPS, appearance["skin"]) + tilt, 0.0, 1.0)


def hair_colour(appearance: Mapping[str, float]) -> Double:
    """Return the RGB colour of the hair."""
    fresh = ramp(HAIR_STOPS, appearance["hair"])
    grey = appearance["grey"]
    mixed: Double = (1.0 - grey) * fresh + grey * np.array([0.62, 0.61, 0.6])
    return mixed
