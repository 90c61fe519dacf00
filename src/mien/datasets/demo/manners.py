"""How people of the demo databases show an expression: several manners each, and personal style.

These weights are ours alone: close to what the literature lists as variants, unlike any engine's
prototypes.

Source: Ekman, Friesen, Hager, Facial Action Coding System, Investigator's Guide (2002), ch. 12,
    for which units go together; the weights and the resting faces are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.core.expression import Expression
from mien.datasets.demo.shifts import Shift

_E = Expression
Units = dict[str, float]

# Three manners of each expression; a unit without a side stands for both.
MANNERS: dict[Expression, tuple[Units, Units, Units]] = {
    _E.ANGER: (
        {"AU4": 1.0, "AU7": 0.55, "AU24": 0.75, "AU17": 0.45},
        {"AU4": 0.9, "AU5": 0.4, "AU7": 0.3, "AU10": 0.45, "AU25": 0.7, "AU20": 0.3, "AU9": 0.2},
        {"AU4": 0.85, "AU5": 0.75, "AU23": 0.7, "AU15": 0.3},
    ),
    _E.CONTEMPT: (
        {"AU12_L": 0.5, "AU14_L": 1.0, "AU7": 0.2},
        {"AU12_R": 0.6, "AU14_R": 0.9, "AU2_R": 0.5, "AU43": 0.15},
        {"AU14_L": 0.9, "AU14_R": 0.4, "AU17": 0.3, "AU10_L": 0.35},
    ),
    _E.DISGUST: (
        {"AU9": 1.0, "AU7": 0.6, "AU4": 0.3, "AU10": 0.3, "AU17": 0.3},
        {"AU10": 1.0, "AU25": 0.45, "AU7": 0.4, "AU15": 0.45, "AU9": 0.2},
        {"AU9": 0.65, "AU6": 0.6, "AU17": 0.8, "AU15": 0.5, "AU43": 0.25, "AU4": 0.4},
    ),
    _E.FEAR: (
        {"AU1": 0.9, "AU2": 0.45, "AU4": 0.55, "AU5": 0.9, "AU20": 0.85, "AU25": 0.6, "AU26": 0.3},
        {"AU1": 0.85, "AU2": 0.7, "AU4": 0.35, "AU5": 1.0, "AU26": 0.75, "AU25": 0.5, "AU20": 0.3},
        {"AU1": 0.8, "AU4": 0.75, "AU5": 0.6, "AU7": 0.3, "AU20": 0.8},
    ),
    _E.HAPPINESS: (
        {"AU6": 0.8, "AU12": 0.95, "AU25": 0.7},
        {"AU6": 0.5, "AU12": 0.85, "AU24": 0.15},
        {"AU6": 1.0, "AU12": 0.85, "AU25": 0.6, "AU26": 0.7, "AU7": 0.4},
    ),
    _E.NEUTRAL: ({}, {"AU26": 0.1, "AU25": 0.1}, {"AU24": 0.2}),
    _E.SADNESS: (
        {"AU1": 0.9, "AU4": 0.5, "AU15": 0.9, "AU17": 0.5},
        {"AU1": 0.6, "AU15": 0.7, "AU43": 0.4, "look_down": 0.5},
        {"AU1": 0.8, "AU4": 0.8, "AU6": 0.5, "AU15": 0.6, "AU20": 0.35, "AU25": 0.3, "AU17": 0.6},
    ),
    _E.SURPRISE: (
        {"AU1": 0.95, "AU2": 0.95, "AU5": 0.75, "AU25": 0.5, "AU27": 0.65},
        {"AU1": 0.8, "AU2": 0.9, "AU5": 0.45, "AU25": 0.5, "AU26": 0.6},
        {"AU1": 1.0, "AU2": 1.0, "AU5": 0.65, "AU26": 0.15},
    ),
}

# What faces at rest resemble: low brows, raised brows, drooping or rising mouth corners …
_RESTS: tuple[Units, ...] = (
    {"AU4": 0.5, "AU7": 0.15},
    {"AU15": 0.5, "AU17": 0.2},
    {"AU12": 0.4},
    {"AU1": 0.45, "AU2": 0.3},
    {"AU1": 0.5, "AU4": 0.2},
    {"AU5": 0.4},
    {"AU43": 0.22, "AU7": 0.2},
    {"AU10": 0.3, "AU9": 0.15},
    {"AU24": 0.45},
    {"AU25": 0.3, "AU26": 0.12},
    {"AU20": 0.35},
)
_NOISE = 0.15  # standard deviation of the single picture's log gain on each unit


@dataclass(frozen=True, slots=True)
class Style:
    """How one person shows expressions.

    Attributes:
        strength: share of a full expression, in [0, 1].
        habits: expression → probabilities of its manners.
        gains: unit (without side) → factor.
        left: unit → share by which the left side is the stronger (log).
        rest: unit with side → weight always there.
    """

    strength: float
    habits: Mapping[Expression, tuple[float, ...]]
    gains: Mapping[str, float]
    left: Mapping[str, float]
    rest: Mapping[str, float]


def draw_style(shift: Shift, units: tuple[str, ...], rng: np.random.Generator) -> Style:
    """Draw a person's style.

    Args:
        shift: the database.
        units: names of the head's units.
        rng: the person's.
    """
    stems = sorted({_stem(u) for u in units})
    mean, spread = shift.expressiveness
    weights = np.asarray(shift.habits) * 3.0 * shift.loyalty
    one_sided = shift.asymmetry * rng.standard_normal()
    rest: Units = {}
    for face in _RESTS:
        amount = max(0.0, float(rng.standard_normal())) * 0.55 * shift.rest
        for name, weight in _sides(face, units).items():
            rest[name] = rest.get(name, 0.0) + amount * weight
    return Style(
        strength=float(np.clip(mean + spread * rng.standard_normal(), 0.2, 1.0)),
        habits={e: tuple(float(p) for p in rng.dirichlet(weights)) for e in Expression},
        gains={s: float(np.exp(shift.unit_spread * rng.standard_normal())) for s in stems},
        left={s: one_sided + 0.7 * shift.asymmetry * float(rng.standard_normal()) for s in stems},
        rest={name: min(weight, 0.6) for name, weight in rest.items()},
    )


def show(
    style: Style,
    expression: Expression,
    moment: float,
    units: tuple[str, ...],
    rng: np.random.Generator,
) -> Units:
    """Draw the unit weights of one picture.

    Args:
        style: the person's.
        expression: what is shown.
        moment: share of the person's strength reached, in [0, 1].
        units: names of the head's units.
        rng: the picture's.
    """
    which = int(rng.choice(3, p=np.asarray(style.habits[expression])))
    prototype = _sides(MANNERS[expression][which], units)
    flip = bool(rng.uniform() < 0.5)  # one-sided manners happen on either side
    weights = dict(style.rest)
    factors = {_stem(n): float(np.exp(_NOISE * rng.standard_normal())) for n in sorted(prototype)}
    for name, weight in prototype.items():
        side = _mirrored(name) if flip else name
        stem = _stem(side)
        lean = style.left[stem] * (side.endswith("_L") - side.endswith("_R"))
        gain = style.gains[stem] * factors[stem] * float(np.exp(0.5 * lean))
        weights[side] = weights.get(side, 0.0) + style.strength * moment * weight * gain
    for name, amount in zip(
        ("look_left", "look_right", "look_up", "look_down"), _glance(rng), strict=True
    ):
        weights[name] = weights.get(name, 0.0) + amount
    return {name: float(min(w, 1.0)) for name, w in weights.items() if w > 1e-3}


def _glance(rng: np.random.Generator) -> tuple[float, float, float, float]:
    across, up = 0.15 * rng.standard_normal(2)
    return max(across, 0.0), max(-across, 0.0), max(0.5 * up, 0.0), max(-0.5 * up, 0.0)


def _stem(name: str) -> str:
    return name[:-2] if name[-2:] in ("_L", "_R") else name


def _mirrored(name: str) -> str:
    return {"_L": f"{name[:-2]}_R", "_R": f"{name[:-2]}_L"}.get(name[-2:], name)


def _sides(face: Mapping[str, float], units: tuple[str, ...]) -> Units:
    spread: Units = {}
    for name, weight in face.items():
        for side in [name] if name in units else [f"{name}_L", f"{name}_R"]:
            spread[side] = weight
    return spread
