"""The people of the demo databases: shape, skin, style and attributes of one, by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Float
from mien.core.digest import seed_of
from mien.datasets.demo.anatomy import (
    HAIR_MODES,
    MUSCLE_MODES,
    SHAPE_MODES,
    SKIN_MODES,
    HiddenAnatomy,
)
from mien.datasets.demo.manners import Style, draw_style
from mien.datasets.demo.shifts import Shift
from mien.datasets.demo.wrinkles import draw_patterns

_COMMON_SHARE = 0.6  # of the head model's own identity spread; the rest is hidden


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person.

    Attributes:
        neutral: (V, 3) float32 shape with every muscle slack.
        colours: (V, 3) float32 albedo; NaN = not drawn.
        gain: (V,) float32 factor on how far muscles move a place.
        turn: (V, 3) float32 change of direction as a share of that.
        patterns: (P, V) float32 wrinkles.
        tendency: how readily the skin folds.
        age: in [0, 1].
        skin: tone in [0, 1].
        style: of expression.
        attributes: slices, as strings.
    """

    neutral: Float
    colours: Float
    gain: Float
    turn: Float
    patterns: Float
    tendency: float
    age: float
    skin: float
    style: Style
    attributes: Mapping[str, str]


def person_seed(shift: Shift, seed: int, index: int) -> int:
    """Return the seed of a person: of no other person, database or engine."""
    return seed_of("demo", shift.name, seed, "person", index)


def draw_person(anatomy: HiddenAnatomy, shift: Shift, seed: int) -> Person:
    """Draw a person from its seed."""
    rng = np.random.default_rng(seed)
    appearance = _appearance(shift, rng)
    age, skin = appearance["age"], appearance["skin"]
    return Person(
        neutral=_shape(anatomy, shift, rng),
        colours=_colours(anatomy, appearance, rng),
        gain=1.0 + np.tensordot(_normal(rng, MUSCLE_MODES), anatomy.gains, 1),
        turn=np.tensordot(_normal(rng, MUSCLE_MODES), anatomy.turns, 1),
        patterns=draw_patterns(anatomy, rng),
        tendency=float(np.exp(0.3 * rng.standard_normal())),
        age=age,
        skin=skin,
        style=draw_style(shift, anatomy.head.units, rng),
        attributes={
            "age_group": "young" if age < 0.33 else "middle" if age < 0.66 else "old",
            "skin_tone": "light" if skin < 0.33 else "medium" if skin < 0.66 else "dark",
            "glasses": "yes" if appearance["glasses"] >= 0.5 else "no",
            "beard": "yes" if appearance["beard"] > 0.0 else "no",
        },
    )


def move(person: Person, offsets: Float) -> Float:
    """Return the (V, 3) float32 shape when the head's muscles would move it by the offsets."""
    length = np.linalg.norm(offsets, axis=1, keepdims=True)
    moved: Float = person.neutral + offsets * person.gain[:, None] + length * person.turn
    return moved


def _shape(anatomy: HiddenAnatomy, shift: Shift, rng: np.random.Generator) -> Float:
    common = np.clip(_normal(rng, anatomy.head.identity_size), -2.2, 2.2)
    hidden = np.clip(_normal(rng, SHAPE_MODES), -2.5, 2.5) * np.float32(shift.shape)
    hair = np.minimum(np.abs(_normal(rng, HAIR_MODES)), 2.0)
    shape: Float = (
        anatomy.head.shape(_COMMON_SHARE * common)
        + np.tensordot(hidden, anatomy.shapes, 1)
        + np.tensordot(hair, anatomy.hair, 1)
    )
    return shape


def _colours(
    anatomy: HiddenAnatomy, appearance: Mapping[str, float], rng: np.random.Generator
) -> Float:
    colours = anatomy.head.colours(appearance, rng)
    skin = anatomy.head.regions["skin"]
    mottling = np.tensordot(_normal(rng, SKIN_MODES), anatomy.skin, 1) * skin
    flush = np.tensordot(_normal(rng, SKIN_MODES // 2), anatomy.skin[: SKIN_MODES // 2], 1) * skin
    colours = colours * (1.0 + 0.045 * mottling)[:, None]
    colours *= 1.0 + 0.035 * flush[:, None] * np.array([0.4, -1.0, -0.8], np.float32)
    for _ in range(int(rng.poisson(1.2))):
        colours *= (1.0 - _mole(anatomy, rng))[:, None]
    return np.clip(colours, 0.0, 1.0).astype(np.float32)


def _mole(anatomy: HiddenAnatomy, rng: np.random.Generator) -> Float:
    """Return (V,) float32: how much darker a mole makes each place."""
    face = anatomy.head.regions["face"]
    centre = anatomy.mean[rng.choice(len(face), p=(face / face.sum(dtype=np.float64)))]
    radius = rng.uniform(0.18, 0.4) * anatomy.centimetre
    away = np.linalg.norm(anatomy.mean - centre, axis=1) / radius
    mole: Float = (face * rng.uniform(0.25, 0.6) * np.exp(-(away**2))).astype(np.float32)
    return mole


def _appearance(shift: Shift, rng: np.random.Generator) -> dict[str, float]:
    """Draw the head model's own words of appearance from this database's distributions."""
    age, skin = float(rng.uniform(*shift.age)), float(rng.uniform(*shift.skin))
    bearded = rng.uniform() < shift.beard
    short = (0.0, 1.0, 2.0) if bearded else (0.0, 1.0, 2.0, 3.0, 4.0)
    fair = 1.0 - float(np.clip((skin - 0.3) / 0.3, 0.0, 0.9))
    return {
        "skin": skin,
        "undertone": float(np.clip(0.5 * rng.standard_normal(), -1, 1)),
        "redness": float(rng.uniform(0.1, 0.9)),
        "age": age,
        "freckles": float(rng.uniform()) * float(rng.uniform() < 0.12) * fair,
        "lips": float(rng.uniform(0.05, 0.9)),
        "iris": float(np.clip(rng.uniform() + 1.0 - fair, 0, 1)),
        "brow": float(rng.uniform(0.1, 1.0)),
        "brow_arch": float(np.clip(0.55 * rng.standard_normal(), -1, 1)),
        "hair": float(rng.uniform()) * fair,
        "grey": float(np.clip(rng.normal(2.0 * age - 1.1, 0.2), 0, 1)),
        "hair_style": float(rng.choice(short)),
        "beard": float(rng.uniform(0.2, 1.0)) if bearded else 0.0,
        "glasses": float(rng.uniform() < shift.glasses),
        "clothes": float(rng.uniform()),
    }


def _normal(rng: np.random.Generator, count: int) -> Float:
    return rng.standard_normal(count, dtype=np.float32)
