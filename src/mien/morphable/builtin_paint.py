"""Albedo of the built-in head, vertex by vertex."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np

from mien.core.arrays import AnyArray, Double, Float
from mien.morphable.appearance import IRIS_STOPS, complete, hair_colour, ramp, skin_colour
from mien.morphable.builtin_anatomy import Anatomy, smooth
from mien.morphable.builtin_parts import IRIS_RADIUS
from mien.morphable.builtin_stencils import Stencils, brow_weight

_HAIR = ("hair_cap", "hair_fringe", "hair_long")
_THROAT = np.array([0.07, 0.02, 0.02])
_IVORY = np.array([0.95, 0.93, 0.87])
_GUM = np.array([0.66, 0.36, 0.35])
_TONGUE = np.array([0.62, 0.26, 0.26])
_LASH = np.array([0.09, 0.06, 0.05])


def paint(
    body: Anatomy, stencils: Stencils, appearance: Mapping[str, float], rng: np.random.Generator
) -> Float:
    """Return (V, 3) float32 albedo in [0, 1]; NaN where a part is not worn."""
    look = complete(appearance)
    rgb = np.empty(body.points.shape, np.float32)
    plain = skin_colour(look)
    rgb[:] = plain
    lip = _lip_colour(plain, look)
    _paint_skin(body, stencils, look, rng, rgb[body.parts["skin"]])
    _paint_eyes(body, stencils, look, rng, rgb)
    _paint_mouth(body, lip, rgb)
    for name in ("ear_L", "ear_R"):
        _mix(rgb[body.parts[name]], np.float32(0.6 * look["redness"]), _flushed(plain))
    _paint_hair(body, look, rng, rgb)
    np.clip(rgb, 0.0, 1.0, out=rgb)
    _hide(body, look, rgb)
    return rgb


def _mix(rgb: Float, weight: AnyArray | np.float32, colour: AnyArray) -> None:
    """Blend a colour in, in place."""
    share = weight[:, None] if isinstance(weight, np.ndarray) else weight
    rgb += share * (np.asarray(colour, np.float32) - rgb)


def _flushed(plain: Double) -> Double:
    flushed: Double = plain * np.array([1.06, 0.82, 0.8])
    return flushed


def _lip_colour(plain: Double, look: Mapping[str, float]) -> Double:
    pale = plain * np.array([0.93, 0.7, 0.68])
    red = 0.5 * plain + 0.5 * np.array([0.66, 0.2, 0.22])
    lip: Double = pale + look["lips"] * (red - pale)
    return lip


def _paint_skin(
    body: Anatomy,
    stencils: Stencils,
    look: Mapping[str, float],
    rng: np.random.Generator,
    rgb: Float,
) -> None:
    plain, hair = skin_colour(look), hair_colour(look)
    lip = _lip_colour(plain, look)
    count = len(rgb)
    _mix(rgb, np.minimum(stencils.flush * (0.75 * look["redness"]), 0.8), _flushed(plain))
    shade = stencils.tired * (0.12 + 0.5 * look["age"]) + stencils.socket
    _mix(rgb, np.minimum(shade, 0.6), plain * np.array([0.72, 0.62, 0.62]))
    _mix(rgb, stencils.folds * (0.04 + 0.42 * look["age"]), plain * 0.6)
    if look["freckles"] > 0.0:
        dots = rng.uniform(size=count) < 0.3 * look["freckles"]
        _mix(rgb, dots * stencils.freckled * 0.5, plain * np.array([0.72, 0.55, 0.45]))
    rgb *= 1.0 + np.float32(0.012) * rng.standard_normal((count, 1), dtype=np.float32)
    _mix(rgb, stencils.nostril, plain * 0.2)
    _mix(rgb, stencils.crease, plain * 0.6)
    _mix(rgb, stencils.lash, _LASH)
    _mix(rgb, stencils.lips, lip)
    _mix(rgb, stencils.mouth_line, lip * 0.35)
    patchy = rng.uniform(0.8, 1.0, count).astype(np.float32)
    if look["hair_style"] < 0.5:  # shaved: a shadow on the scalp
        _mix(rgb, 0.62 * stencils.scalp, hair * 0.8)
    if look["beard"] > 0.0:
        _mix(rgb, stencils.beard * patchy * (0.3 + 0.65 * look["beard"]), hair * 0.9)
    _paint_brows(body, stencils, look, patchy, rgb)
    _mix(rgb, stencils.clothed, np.array(colorsys.hsv_to_rgb(look["clothes"], 0.45, 0.4)))


def _paint_brows(
    body: Anatomy, stencils: Stencils, look: Mapping[str, float], patchy: Float, rgb: Float
) -> None:
    near = stencils.brow
    x, y = body.points[near, 0], body.points[near, 1]
    weight = 0.97 * patchy[near] * brow_weight(x, y, look["brow"], look["brow_arch"])
    young = {**look, "grey": 0.5 * look["grey"]}  # brows turn grey later
    dark = hair_colour(young) * 0.75 * (1.0 - 0.35 * look["hair"])
    rgb[near] += weight[:, None].astype(np.float32) * (dark.astype(np.float32) - rgb[near])


def _paint_eyes(
    body: Anatomy,
    stencils: Stencils,
    look: Mapping[str, float],
    rng: np.random.Generator,
    rgb: Float,
) -> None:
    iris = ramp(IRIS_STOPS, look["iris"])
    phase = rng.uniform(0.0, 2 * np.pi)
    for name in ("eye_L", "eye_R"):
        part = body.parts[name]
        radius, turn = body.u[part], body.v[part]
        shaded = 0.1 * smooth(radius, 0.9, 1.6)[:, None] * np.array([0.6, 1.0, 1.0])
        rays = 0.9 + 0.12 * np.cos(9 * turn + phase) + 0.25 * (radius < 0.5)
        colour = np.where(
            (radius <= IRIS_RADIUS)[:, None], iris * rays[:, None], [0.93, 0.92, 0.9] - shaded
        )
        colour = np.where((np.abs(radius - IRIS_RADIUS) < 0.05)[:, None], iris * 0.45, colour)
        colour = np.where((radius < 0.25)[:, None], 0.02, colour)
        # A window's reflection: without it eyes look dull at any size.
        across = radius * np.cos(turn if name == "eye_L" else np.pi - turn)
        up = radius * np.sin(turn)
        glint = np.exp(-(((across + 0.2) / 0.13) ** 2) - ((up - 0.26) / 0.13) ** 2)
        rgb[part] = colour + glint[:, None] * (1.0 - colour)
    edge = np.r_[body.parts["rim_L"], body.parts["rim_R"]]
    pink = rgb[edge] * np.array([0.88, 0.66, 0.64], np.float32)
    dark = (stencils.upper_edge * (1.0 - stencils.canthus))[:, None]
    rgb[edge] = pink + dark * (np.array([0.12, 0.08, 0.07], np.float32) - pink)


def _paint_mouth(body: Anatomy, lip: Double, rgb: Float) -> None:
    part = body.parts["mouth"]
    depth = np.minimum(body.v[part] * 0.55, 1.0)[:, None]
    rgb[part] = 0.6 * lip + depth * (_THROAT - 0.6 * lip)
    for name in ("teeth_upper", "teeth_lower"):
        part = body.parts[name]
        side = np.clip(1.08 - 0.62 * np.abs(body.u[part] / 2.6) ** 2.5, 0.0, 1.0)
        rgb[part] = np.where((body.v[part] < 0.06)[:, None], _GUM, _IVORY) * side[:, None]
    rgb[body.parts["tongue"]] = _TONGUE


def _paint_hair(
    body: Anatomy, look: Mapping[str, float], rng: np.random.Generator, rgb: Float
) -> None:
    hair = hair_colour(look)
    strands = rng.uniform(0.78, 1.22, 97)
    for name in _HAIR:
        part = body.parts[name]
        place = (body.u[part] + np.pi + 0.1 * body.v[part]) * 15.0 % 96.0
        tone = np.interp(place, np.arange(97), strands) * (
            0.92 + 0.16 * rng.uniform(size=len(place))
        )
        rgb[part] = hair * tone[:, None]
    rgb[body.parts["glasses"]] = 0.3 * hair + 0.03


def _hide(body: Anatomy, look: Mapping[str, float], rgb: Float) -> None:
    style = round(look["hair_style"])
    worn = {
        "hair_cap": style >= 1,
        "hair_fringe": style in (2, 4),
        "hair_long": style >= 3,
        "glasses": look["glasses"] >= 0.5,
    }
    for name, on in worn.items():
        if not on:
            rgb[body.parts[name]] = np.nan
