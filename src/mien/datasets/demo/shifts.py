"""The three demo databases as named parameter sets: how they differ is all here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Shift:
    """How one database's people look, act and are photographed.

    Attributes:
        name: of the database.
        summary: one line for people.
        pose_deg: standard deviations of yaw, pitch, roll.
        framing: standard deviations of log size, and of the shift as a fraction of the side.
        key: mean azimuth, its standard deviation, mean elevation, its standard deviation (degrees).
        key_strength: range of the main light.
        ambient: range of the light from everywhere.
        tint: standard deviation of the light's colour.
        gamma: standard deviation of the log exponent of the picture's tone curve.
        textured: share of pictures with a textured background.
        backdrop: range of a plain background's brightness.
        blur_px: largest sigma, in pixels of a 64 px picture.
        noise: largest sigma of the sensor noise, in grey levels.
        occlusion: share of pictures with something before the face.
        expressiveness: mean and standard deviation of people's strength of expression.
        moment: range of the single picture's share of that strength.
        habits: weights of an expression's manners (first, second, third).
        loyalty: concentration of a person's habits; small = always the same manner.
        unit_spread: standard deviation of a person's log gain on each unit.
        rest: scale of the units a person shows at rest.
        asymmetry: standard deviation of the log ratio of left to right.
        shape: scale of the hidden shape fields.
        skin: range of skin tones.
        age: range of ages, as shares.
        glasses: share of people with glasses.
        beard: share of people with beards.
    """

    name: str
    summary: str
    pose_deg: tuple[float, float, float]
    framing: tuple[float, float]
    key: tuple[float, float, float, float]
    key_strength: tuple[float, float]
    ambient: tuple[float, float]
    tint: float
    gamma: float
    textured: float
    backdrop: tuple[float, float]
    blur_px: float
    noise: float
    occlusion: float
    expressiveness: tuple[float, float]
    moment: tuple[float, float]
    habits: tuple[float, float, float]
    loyalty: float
    unit_spread: float
    rest: float
    asymmetry: float
    shape: float
    skin: tuple[float, float]
    age: tuple[float, float]
    glasses: float
    beard: float


_LAB = Shift(
    name="demo_lab",
    summary="posed, frontal, even light; few people suffice to fill a lab",
    pose_deg=(3.0, 2.0, 1.5),
    framing=(0.02, 0.006),
    key=(-15.0, 12.0, 32.0, 8.0),
    key_strength=(0.6, 0.8),
    ambient=(0.28, 0.38),
    tint=0.02,
    gamma=0.06,
    textured=0.0,
    backdrop=(0.55, 0.75),
    blur_px=0.35,
    noise=3.0,
    occlusion=0.0,
    expressiveness=(0.85, 0.14),
    moment=(0.8, 1.0),
    habits=(0.7, 0.18, 0.12),
    loyalty=1.2,
    unit_spread=0.3,
    rest=0.6,
    asymmetry=0.1,
    shape=1.0,
    skin=(0.0, 0.85),
    age=(0.05, 0.7),
    glasses=0.08,
    beard=0.16,
)

_WEB = Shift(
    name="demo_web",
    summary="found pictures: many people, any pose, light, sharpness; things before faces",
    pose_deg=(9.0, 5.0, 4.0),
    framing=(0.05, 0.012),
    key=(0.0, 32.0, 28.0, 14.0),
    key_strength=(0.4, 1.0),
    ambient=(0.18, 0.4),
    tint=0.08,
    gamma=0.2,
    textured=0.8,
    backdrop=(0.1, 0.9),
    blur_px=0.7,
    noise=7.0,
    occlusion=0.2,
    expressiveness=(0.8, 0.17),
    moment=(0.65, 1.0),
    habits=(0.44, 0.3, 0.26),
    loyalty=1.5,
    unit_spread=0.35,
    rest=0.8,
    asymmetry=0.14,
    shape=1.1,
    skin=(0.0, 1.0),
    age=(0.0, 1.0),
    glasses=0.18,
    beard=0.22,
)

_BLIND = Shift(
    name="demo_blind",
    summary="another laboratory: other people, side light, weaker and other manners of expression",
    pose_deg=(5.0, 4.0, 2.5),
    framing=(0.03, 0.01),
    key=(32.0, 9.0, 22.0, 8.0),
    key_strength=(0.65, 0.95),
    ambient=(0.18, 0.28),
    tint=0.03,
    gamma=0.1,
    textured=0.3,
    backdrop=(0.25, 0.5),
    blur_px=0.5,
    noise=5.0,
    occlusion=0.0,
    expressiveness=(0.72, 0.15),
    moment=(0.7, 1.0),
    habits=(0.45, 0.3, 0.25),
    loyalty=1.5,
    unit_spread=0.35,
    rest=0.75,
    asymmetry=0.14,
    shape=1.05,
    skin=(0.05, 0.95),
    age=(0.1, 1.0),
    glasses=0.05,
    beard=0.2,
)

SHIFTS: Mapping[str, Shift] = MappingProxyType({s.name: s for s in (_LAB, _WEB, _BLIND)})
