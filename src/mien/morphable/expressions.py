"""Expressions as weights of deformation units: prototypes, and how single faces vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mien.core.errors import Invalid
from mien.core.expression import Expression

if TYPE_CHECKING:
    from mien.morphable.head import HeadModel

_A, _C, _D, _F, _H, _N, _S, _U = Expression

# Action units at intensity 1; a unit with sides stands for both unless one is named.
PROTOTYPES: dict[Expression, dict[str, float]] = {
    _A: {"AU4": 1.0, "AU5": 0.25, "AU7": 0.6, "AU23": 0.4, "AU24": 0.7, "AU17": 0.3, "AU15": 0.25},
    _C: {"AU12_L": 0.6, "AU14_L": 1.0, "AU14_R": 0.1, "AU7": 0.2, "AU2_L": 0.25},
    _D: {"AU9": 1.0, "AU10": 0.75, "AU4": 0.45, "AU7": 0.6, "AU17": 0.45, "AU15": 0.35, "AU6": 0.4},
    _F: {
        "AU1": 1.0, "AU2": 0.35, "AU4": 0.5, "AU5": 1.0, "AU20": 1.0, "AU25": 0.7, "AU26": 0.45,
    },
    _H: {"AU6": 0.9, "AU12": 1.0, "AU25": 0.75, "AU26": 0.12, "AU7": 0.15},
    _N: {},
    _S: {
        "AU1": 1.0, "AU4": 0.45, "AU15": 1.0, "AU17": 0.6, "AU43": 0.22, "look_down": 0.35,
    },
    _U: {"AU1": 1.0, "AU2": 1.0, "AU5": 0.85, "AU25": 0.5, "AU27": 0.75},
}  # fmt: skip


# Units that turn the eyes, of either backend.
_GAZE: Mapping[str, tuple[str, ...]] = {
    "left": ("look_left", "eyeLookOut_L", "eyeLookIn_R"),
    "right": ("look_right", "eyeLookIn_L", "eyeLookOut_R"),
    "up": ("look_up", "eyeLookUp_L", "eyeLookUp_R"),
    "down": ("look_down", "eyeLookDown_L", "eyeLookDown_R"),
}

# The gaze is drawn apart; lips that part even faintly show teeth, and are an expression.
_NEVER_LEAKS = ("look", "eyeLook", "AU25", "AU26", "AU27", "jawOpen")

_CARRYING = 0.7  # a unit of at least this weight carries its expression


def as_expression(name: str) -> Expression:
    """Turn a name into an expression.

    Raises:
        Invalid: ``UNKNOWN_EXPRESSION``.
    """
    try:
        return Expression(name)
    except ValueError:
        raise Invalid(
            "UNKNOWN_EXPRESSION",
            f"{name!r} is not an expression",
            hint=f"one of: {', '.join(Expression)}",
        ) from None


def spread_sides(units: Mapping[str, float], known: tuple[str, ...]) -> dict[str, float]:
    """Replace a unit given without a side by its ``_L`` and ``_R``.

    Raises:
        Invalid: ``UNKNOWN_UNIT``.
    """
    spread: dict[str, float] = {}
    for name, weight in units.items():
        sides = [name] if name in known else [f"{name}_L", f"{name}_R"]
        for side in sides:
            if side not in known:
                raise Invalid("UNKNOWN_UNIT", f"{name!r} is no deformation unit of this head")
            spread[side] = spread.get(side, 0.0) + weight
    return spread


def mirror_units(units: Mapping[str, float]) -> dict[str, float]:
    """Exchange left and right."""
    swapped = {"_L": "_R", "_R": "_L"}
    gaze = {"look_left": "look_right", "look_right": "look_left"}
    return {
        gaze.get(name, name[:-2] + swapped[name[-2:]] if name[-2:] in swapped else name): weight
        for name, weight in units.items()
    }


def sample_units(
    head: HeadModel,
    expression: Expression,
    intensity: float,
    rng: np.random.Generator,
    variation: float,
) -> dict[str, float]:
    """Draw the unit weights of one face.

    The prototype's units are scaled together by the intensity; each then varies on its own, weak
    ones may be missing, the two sides differ a little, the gaze wanders, and other units leak in
    faintly. Units that carry the expression are never dropped nor weak, so it stays what it is.

    Args:
        head: gives the prototype and the names of its units.
        expression: what to show.
        intensity: in [0, 1].
        rng: where the draw comes from.
        variation: 0 = the prototype itself; 1 = as people differ.

    Raises:
        Invalid: ``UNKNOWN_EXPRESSION``, ``INTENSITY_OUT_OF_RANGE``, ``VARIATION_OUT_OF_RANGE``.
    """
    if not 0.0 <= intensity <= 1.0:
        raise Invalid("INTENSITY_OUT_OF_RANGE", f"intensity {intensity} is outside [0, 1]")
    if not 0.0 <= variation <= 2.0:
        raise Invalid("VARIATION_OUT_OF_RANGE", f"variation {variation} is outside [0, 2]")
    prototype = dict(head.prototype(as_expression(expression)))
    if expression is Expression.CONTEMPT and variation > 0.0 and rng.uniform() < 0.5:
        prototype = mirror_units(prototype)
    weights = _vary(prototype, rng, variation)
    scaled = {name: intensity * weight for name, weight in weights.items()}
    for name, weight in _leaks(head, rng, variation).items():
        scaled[name] = scaled.get(name, 0.0) + weight
    return {name: float(np.clip(w, 0.0, 1.0)) for name, w in scaled.items() if w > 1e-4}


def _stem(name: str) -> str:
    return name[:-2] if name[-2:] in ("_L", "_R") else name


def _vary(
    prototype: Mapping[str, float], rng: np.random.Generator, variation: float
) -> dict[str, float]:
    stems = sorted({_stem(name) for name in prototype})
    strongest: dict[str, float] = {}
    for name, weight in prototype.items():
        strongest[_stem(name)] = max(weight, strongest.get(_stem(name), 0.0))
    kept = {stem for stem in stems if strongest[stem] >= _CARRYING}
    tilt = 0.12 * variation * rng.standard_normal()  # one side of a face is often the stronger
    varied: dict[str, float] = {}
    for stem in stems:
        factor = float(np.exp(0.25 * variation * rng.standard_normal() - 0.03 * variation))
        factor = max(factor, 0.6) if stem in kept else factor
        dropped = rng.uniform() < 0.18 * variation * (1.0 - 0.6 * strongest[stem])
        lean = tilt + 0.06 * variation * rng.standard_normal()
        if dropped and stem not in kept:
            continue
        for name in (stem, f"{stem}_L", f"{stem}_R"):
            if name in prototype:
                side = 1.0 + lean * (name.endswith("_L") - name.endswith("_R"))
                varied[name] = prototype[name] * factor * side
    return varied


def _leaks(head: HeadModel, rng: np.random.Generator, variation: float) -> dict[str, float]:
    """Return faint further units and the wandering gaze, whatever the expression."""
    names = [name for name in head.units if not name.startswith(_NEVER_LEAKS)]
    picked = rng.choice(len(names), size=min(4, len(names)), replace=False)
    leaks = {names[int(k)]: float(0.045 * variation * abs(rng.standard_normal())) for k in picked}
    across, up = 0.2 * variation * rng.standard_normal(2)
    gaze = {"left": across, "right": -across, "up": 0.5 * up, "down": -0.5 * up}
    for direction, weight in gaze.items():
        for name in _GAZE[direction]:
            if weight > 0 and name in head.units:
                leaks[name] = float(weight)
    return leaks
