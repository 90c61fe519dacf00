"""What muscles do to the built-in head: kinds of displacement fields, in centimetres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double
from mien.morphable.builtin_anatomy import Anatomy, smooth
from mien.morphable.builtin_surface import EYE, MOUTH_HALF, MOUTH_Y, lid_edges, lip_heights

Move = tuple[float, float, float]
Field = Callable[[Anatomy, float], Double]  # side: +1 = the subject's left (image right), -1 right

JAW_AXIS = (-1.0, 0.5)  # y and z of the hinge in front of the ears
GAZE_RAD = 0.38  # turn of the eyes at full strength


@dataclass(frozen=True, slots=True)
class Pull:
    """A spot of skin that moves.

    Attributes:
        at: x (away from the midline on the unit's side) and y of its middle.
        spread: standard deviations of its Gaussian.
        move: in cm; x counts away from the midline.
        lips: ``both``, or only what belongs to the ``upper`` or ``lower`` lip.
    """

    at: tuple[float, float]
    spread: tuple[float, float]
    move: Move
    lips: str = "both"


@dataclass(frozen=True, slots=True)
class Furrow:
    """Parallel wrinkles.

    Attributes:
        at: middle, as in ``Pull``.
        spread: standard deviations of the area.
        along: direction of the folds in degrees, 0 = horizontal, positive rises outwards.
        apart: distance of the folds in cm.
        depth: in cm.
    """

    at: tuple[float, float]
    spread: tuple[float, float]
    along: float
    apart: float
    depth: float


def _skin_weight(body: Anatomy) -> Double:
    """Return where muscles pull: the front skin, without the lids' free edges."""
    z = body.points[:, 2]
    free = np.clip(1.0 - 0.9 * np.maximum(body.upper_lid, body.lower_lid), 0.0, 1.0)
    return body.of("skin") * smooth(z, 0.0, 3.5) * free


def _spot(
    body: Anatomy, side: float, at: tuple[float, float], spread: tuple[float, float]
) -> Double:
    x, y = side * body.points[:, 0], body.points[:, 1]
    weight: Double = np.exp(
        -0.5 * (((x - at[0]) / spread[0]) ** 2 + ((y - at[1]) / spread[1]) ** 2)
    )
    return weight


def _lip_share(body: Anatomy, lips: str) -> Double:
    if lips == "upper":
        return 1.0 - body.jaw
    return body.jaw if lips == "lower" else np.ones(len(body.points))


def pulls(items: Sequence[Pull], furrows: Sequence[Furrow] = ()) -> Field:
    """Return the field of some pulls and wrinkles on one side."""

    def field(body: Anatomy, side: float) -> Double:
        skin = _skin_weight(body)
        moved = np.zeros(body.points.shape)
        for pull in items:
            weight = skin * _spot(body, side, pull.at, pull.spread) * _lip_share(body, pull.lips)
            moved += weight[:, None] * (np.array(pull.move) * [side, 1.0, 1.0])
        for furrow in furrows:
            moved[:, 2] += skin * _wrinkle(body, side, furrow)
        return moved

    return field


def _wrinkle(body: Anatomy, side: float, furrow: Furrow) -> Double:
    x, y = side * body.points[:, 0] - furrow.at[0], body.points[:, 1] - furrow.at[1]
    angle = np.deg2rad(furrow.along)
    across = -np.sin(angle) * x + np.cos(angle) * y
    wave = -0.5 - 0.5 * np.cos(2 * np.pi * across / furrow.apart)
    depth: Double = furrow.depth * wave * _spot(body, side, furrow.at, furrow.spread)
    return depth


def lids(upper: float, lower: float) -> Field:
    """Move lid edges: 1 = one cm up for the upper lid, for the lower lid likewise."""

    def field(body: Anatomy, side: float) -> Double:
        here = side * body.points[:, 0] > 0
        moved = np.zeros(body.points.shape)
        moved[:, 1] = here * (upper * body.upper_lid + lower * body.lower_lid)
        return moved

    return field


def closing(share: float) -> Field:
    """Bring the upper lid down, the lower lid a little up; at 1 even wide eyes are shut."""

    def field(body: Anatomy, side: float) -> Double:
        x = side * body.points[:, 0]
        top, bottom = lid_edges(x)
        # The shares of the lids taper with the opening themselves: take only their vertical fade.
        opening = np.clip((top - bottom) / 1.1, 1e-6, 1.0)
        fade_up = np.clip(body.upper_lid / opening, 0.0, 1.0)
        fade_low = np.clip(body.lower_lid / opening, 0.0, 1.0)
        moved = np.zeros(body.points.shape)
        moved[:, 1] = (x > 0) * share * (top - bottom) * (0.12 * fade_low - 1.0 * fade_up)
        return moved

    return field


def jaw(angle: float, narrow: float) -> Field:
    """Turn the jaw about its hinge (linearised), drawing the mouth's corners in."""

    def field(body: Anatomy, side: float) -> Double:
        del side
        x, y, z = body.points.T
        moved = np.zeros(body.points.shape)
        moved[:, 1] = -angle * body.jaw * (z - JAW_AXIS[1])
        moved[:, 2] = 0.5 * angle * body.jaw * (y - JAW_AXIS[0])
        corner = np.exp(-0.5 * (((np.abs(x) - 2.6) / 1.3) ** 2 + ((y - MOUTH_Y) / 1.6) ** 2))
        moved[:, 0] -= narrow * corner * np.tanh(x) * _skin_weight(body)
        return moved

    return field


def gaze(about_x: float, about_y: float) -> Field:
    """Turn both eyes (radians; kept on their spheres afterwards), lids following up and down."""

    def field(body: Anatomy, side: float) -> Double:
        del side
        moved = np.zeros(body.points.shape)
        for name, sign in (("eye_L", 1.0), ("eye_R", -1.0)):
            local = body.points[body.parts[name]] - EYE * [sign, 1.0, 1.0]
            moved[body.parts[name]] = np.stack(
                [about_y * local[:, 2], about_x * local[:, 2],
                 -about_y * local[:, 0] - about_x * local[:, 1]], axis=1,
            )  # fmt: skip
        moved[:, 1] += about_x * (1.25 * body.upper_lid + 0.35 * body.lower_lid)
        return moved

    return field


def thin_lips(upper: float, lower: float, inwards: float) -> Field:
    """Roll the red of the lips in: shares of each height, and a push back in cm."""

    def field(body: Anatomy, side: float) -> Double:
        del side
        x, y, z = body.points.T
        heights = lip_heights(x)
        away = np.abs(y - MOUTH_Y)
        moved = np.zeros(body.points.shape)
        for share, height, sign, part in (
            (upper, heights[0], 1.0, 1.0 - body.jaw),
            (lower, heights[1], -1.0, body.jaw),
        ):
            reach = np.exp(-((np.maximum(away - height, 0.0) / 0.9) ** 2))
            weight = body.of("skin") * smooth(z, 3.0, 6.0) * part * reach
            moved[:, 1] -= sign * share * weight * np.minimum(away, height)
            moved[:, 2] -= inwards * weight * np.clip(1.0 - (x / MOUTH_HALF) ** 2, 0.0, 1.0) * reach
        return moved

    return field


def both(*fields: Field) -> Field:
    """Return the sum of fields."""

    def field(body: Anatomy, side: float) -> Double:
        total: Double = np.sum([f(body, side) for f in fields], axis=0)
        return total

    return field
