"""Paint the ICT head: it comes as bare geometry, so every colour is ours, from its landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mien.core.arrays import Bool, Double, Float
from mien.morphable import landmarks as order
from mien.morphable.appearance import IRIS_STOPS, complete, hair_colour, ramp, skin_colour

if TYPE_CHECKING:
    from mien.morphable.ict import IctHead

_SCLERA = np.array((0.90, 0.88, 0.86))
_TEETH = np.array((0.93, 0.91, 0.85))
_GUMS = np.array((0.60, 0.36, 0.34))
_THROAT = np.array((0.22, 0.07, 0.07))
_IRIS_RADIUS = 0.56  # of an eyeball whose radius is about 1.2 of the model's units
_PUPIL_RADIUS = 0.22


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Soft masks over the vertices, each (V,) float64 in [0, 1]."""

    lips: Double
    brows: Double
    lid_edges: Double
    cheeks: Double
    scalp: Double
    beard: Double
    pole_distance: Double  # of eyeball vertices to the optical axis; inf elsewhere


def paint(head: IctHead, appearance: Mapping[str, float], rng: np.random.Generator) -> Float:
    """Return (V, 3) float32 albedo in [0, 1] (sRGB).

    Args:
        head: the head.
        appearance: words of ``APPEARANCE``; ``glasses`` and ``clothes`` are not part of this
            head, hair is a painted cap and does not fall.
        rng: draws the blotches of the skin.

    Raises:
        Invalid: ``UNKNOWN_APPEARANCE``; ``APPEARANCE_OUT_OF_RANGE``.
    """
    regions = _regions(head)
    look = complete(appearance)
    skin, hair = skin_colour(look), hair_colour(look)
    colours = np.broadcast_to(skin, (len(head.mean), 3)).copy()
    colours *= 1.0 + 0.05 * _blotches(head.mean, rng)[:, None]
    colours = _mix(colours, skin * (1.0, 0.82, 0.80), regions.cheeks * 0.9 * look["redness"])
    lip = skin * (0.95, 0.62, 0.62) + (0.04, 0.0, 0.01)
    colours = _mix(colours, lip, regions.lips * (0.6 + 0.4 * look["lips"]))
    colours = _mix(colours, skin * 0.45, regions.lid_edges * 0.75)
    stubble = 0.5 * (hair + skin * 0.6)
    colours = _mix(colours, stubble, regions.beard * (1.0 - regions.lips) * 0.6 * look["beard"])
    colours = _mix(colours, hair, regions.brows * (0.5 + 0.45 * look["brow"]))
    colours = _mix(colours, hair, regions.scalp * 0.95 * float(look["hair_style"] >= 0.5))
    _paint_inside(head, colours)
    _paint_eyes(colours, regions.pole_distance, ramp(IRIS_STOPS, look["iris"]))
    return np.clip(colours, 0.0, 1.0).astype(np.float32)


def _paint_inside(head: IctHead, colours: Double) -> None:
    from mien.morphable.ict import EYE_SOCKET_END, GUMS_END, HEAD_END, SOCKET_END, TEETH_END

    depth = np.clip((head.mean[:, 2] - 3.0) / 7.0, 0.0, 1.0)[:, None]  # 0 in the throat
    dark = 0.25 + 0.75 * depth
    colours[HEAD_END:SOCKET_END] = _THROAT
    colours[SOCKET_END:EYE_SOCKET_END] *= (0.75, 0.55, 0.5)
    colours[EYE_SOCKET_END:GUMS_END] = _GUMS * dark[EYE_SOCKET_END:GUMS_END]
    colours[GUMS_END:TEETH_END] = _TEETH * np.sqrt(dark[GUMS_END:TEETH_END])


def _paint_eyes(colours: Double, distance: Double, iris: Double) -> None:
    eye = np.isfinite(distance)
    r = distance[eye]
    painted = np.broadcast_to(_SCLERA, (len(r), 3))
    painted = _mix(painted, iris, 1.0 - _step(_IRIS_RADIUS - 0.03, _IRIS_RADIUS + 0.05, r))
    ring = np.exp(-(((r - _IRIS_RADIUS) / 0.07) ** 2))
    painted = _mix(painted, iris * 0.4, 0.8 * ring)
    colours[eye] = _mix(
        painted, np.full(3, 0.03), 1.0 - _step(_PUPIL_RADIUS, _PUPIL_RADIUS + 0.06, r)
    )


def _mix(under: Double, over: Double, share: Double) -> Double:
    mixed: Double = under + share[:, None] * (over - under)
    return mixed


def _step(low: float, high: float, value: Double) -> Double:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    smooth: Double = t * t * (3.0 - 2.0 * t)
    return smooth


def _blotches(points: Float, rng: np.random.Generator) -> Double:
    """Return smooth noise over the surface, about N(0, 1)."""
    waves = rng.normal(0.0, 0.55, (3, 12))
    phases = rng.uniform(0.0, 2 * np.pi, 12)
    total: Double = np.cos(points @ waves + phases).sum(axis=1) * np.sqrt(2.0 / 12.0)
    return total


@lru_cache(maxsize=2)
def _regions(head: IctHead) -> Regions:
    from mien.morphable.ict import FACE_END, HEAD_END, TEETH_END

    points = head.mean.astype(np.float64)
    marks = points[head.landmarks68]
    flat = points[:, :2]
    skin = np.arange(len(points)) < HEAD_END
    front = (np.arange(len(points)) < FACE_END) & (points[:, 2] > 4.0)
    mouth = _closed(marks[order.OUTER_LIPS, :2])
    lips = np.where(front, _step(-0.08, 0.12, _inside(flat, mouth)), 0.0)
    brows = np.zeros(len(points))
    for part in (order.LEFT_BROW, order.RIGHT_BROW):
        brows = np.maximum(brows, _brow(flat, marks[part, :2]))
    edges = np.zeros(len(points))
    for part in (order.LEFT_EYE, order.RIGHT_EYE):
        edges = np.maximum(
            edges, 1.0 - _step(0.02, 0.16, np.abs(_inside(flat, _closed(marks[part, :2]))))
        )
    cheek = marks[[1, 15, 31, 35]]
    centres = 0.45 * cheek[:2] + 0.55 * cheek[2:]
    away = np.linalg.norm(points[:, None] - centres, axis=2).min(axis=1)
    return Regions(
        lips=lips,
        brows=np.where(front, brows, 0.0),
        lid_edges=np.where(front, edges, 0.0),
        cheeks=np.where(skin, np.exp(-((away / 2.6) ** 2)), 0.0),
        scalp=np.where(skin, _scalp(points), 0.0),
        beard=np.where(skin, _beard(points, marks), 0.0),
        pole_distance=_pole_distance(points, slice(TEETH_END, len(points))),
    )


def _scalp(points: Double) -> Double:
    """Cover the skull above a hairline that falls from the forehead behind the ears."""
    line = np.interp(
        points[:, 2], [-10.0, -2.0, 1.5, 5.0, 7.5, 12.0], [-6.0, 0.0, 6.5, 8.8, 9.6, 9.6]
    )
    return _step(-0.3, 0.5, points[:, 1] - line)


def _beard(points: Double, marks: Double) -> Double:
    """Cover jaw, chin and upper lip."""
    nose, corner = marks[33, 1], marks[48, 1]
    below = 1.0 - _step(corner - 1.0, nose - 0.2, points[:, 1])
    near = 1.0 - _step(3.0, 5.0, np.abs(points[:, 0]))
    side = 1.0 - _step(corner - 2.0, corner + 1.5, points[:, 1])
    neck = _step(-9.5, -7.5, points[:, 1]) * _step(0.0, 3.0, points[:, 2])
    cover: Double = np.maximum(below * near, side) * neck
    return cover


def _brow(flat: Double, edge: Double) -> Double:
    """Fill the band under a brow's upper edge; it thins outwards."""
    wide = order.along(edge, np.linspace(0.0, 1.0, 25).tolist())
    inner_first = np.abs(wide[0, 0]) < np.abs(wide[-1, 0])
    share = np.linspace(0.0, 1.0, 25) if inner_first else np.linspace(1.0, 0.0, 25)
    thick = np.interp(share, [0.0, 0.3, 1.0], [0.42, 0.46, 0.16])
    middle = wide - np.stack([np.zeros(25), thick], axis=1)
    gap = np.linalg.norm(flat[:, None] - middle, axis=2)
    nearest = gap.argmin(axis=1)
    return 1.0 - _step(0.75, 1.25, gap[np.arange(len(flat)), nearest] / thick[nearest])


def _closed(corners: Double, samples: int = 8) -> Double:
    """Return a smooth closed curve through points (Catmull–Rom), (N · samples, 2)."""
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    beyond = np.roll(corners, -2, axis=0)
    t = (np.arange(samples) / samples)[:, None, None]
    curve = 0.5 * (
        2 * corners
        + (after - before) * t
        + (2 * before - 5 * corners + 4 * after - beyond) * t**2
        + (3 * corners - before - 3 * after + beyond) * t**3
    )
    smooth: Double = curve.transpose(1, 0, 2).reshape(-1, 2)
    return smooth


def _inside(flat: Double, curve: Double) -> Double:
    """Return the signed distance of points to a closed curve, positive inside."""
    following = np.roll(curve, -1, axis=0)
    straddles: Bool = (curve[:, 1] > flat[:, None, 1]) != (following[:, 1] > flat[:, None, 1])
    rise = np.where(following[:, 1] == curve[:, 1], 1.0, following[:, 1] - curve[:, 1])
    crossing = curve[:, 0] + (flat[:, None, 1] - curve[:, 1]) / rise * (following - curve)[:, 0]
    inside = (straddles & (flat[:, None, 0] < crossing)).sum(axis=1) % 2 == 1
    gap = np.linalg.norm(flat[:, None] - curve, axis=2).min(axis=1)
    signed: Double = np.where(inside, gap, -gap)
    return signed


def _pole_distance(points: Double, eyeballs: slice) -> Double:
    """Return the distance of eyeball vertices to the line of sight; inf elsewhere."""
    distance = np.full(len(points), np.inf)
    index = np.arange(len(points))[eyeballs]
    for side in (-1.0, 1.0):
        own = index[np.sign(points[index, 0]) == side]
        pole = points[own[points[own, 2].argmax()]]
        distance[own] = np.linalg.norm((points[own] - pole)[:, :2], axis=1)
    return distance
