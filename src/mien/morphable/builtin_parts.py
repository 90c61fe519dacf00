"""The built-in head's parts besides the skin: eyes, mouth, ears, hair, glasses (centimetres)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from mien.core.arrays import Double
from mien.morphable.builtin_surface import EYE, EYE_RADIUS, LEVELS, MOUTH_Y, skin, tube
from mien.morphable.rasterise import Index

IRIS_RADIUS = 0.64


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of mesh.

    Attributes:
        name: of the piece.
        points: (N, 3) centimetres.
        triangles: (F, 3) int32 into ``points``.
        u: (N,) a coordinate along the piece, its meaning is the piece's own.
        v: (N,) another one.
    """

    name: str
    points: Double
    triangles: Index
    u: Double
    v: Double


def sheet(rows: int, columns: int, *, closed: bool = False, flip: bool = False) -> Index:
    """Return triangles of a grid of points in row order; ``closed`` joins last column to first."""
    row, column = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = a + columns, b + columns
    triangles = np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    ).astype(np.int32)
    return triangles[:, ::-1] if flip else triangles


def mirrored(part: Part, name: str) -> Part:
    """Return the part on the other side of the face."""
    points = part.points * np.array([-1.0, 1.0, 1.0])
    return Part(name, points, part.triangles[:, ::-1], part.u, part.v)


def eyeball() -> Part:
    """Return the left eyeball: rings round the pupil; u = ring radius in cm, v = turn."""
    radii = np.array([0.0, 0.2, 0.27, 0.45, 0.57, IRIS_RADIUS, 0.7, 0.85, 1.05, 1.25, 1.45, 1.61])
    turns = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    radius, turn = np.meshgrid(radii, turns, indexing="ij")
    x, y = radius * np.cos(turn), radius * np.sin(turn)
    z = np.sqrt(EYE_RADIUS**2 - radius**2)
    points = EYE + np.stack([x, y, z], axis=-1).reshape(-1, 3)
    # The gaze of two eyes meets in front of the face.
    return Part(
        "eye_L",
        points,
        sheet(len(radii), len(turns), closed=True),
        radius.ravel(),
        turn.ravel(),
    )


def teeth(upper: bool) -> Part:
    """Return one arch of teeth; u = x on the arch, v = 0 at the gum .. 1 at the edge."""
    across = np.linspace(-2.6, 2.6, 33)
    down = np.array([-0.35, 0.0, 0.12, 0.55, 0.93, 1.0])
    v, x = np.meshgrid(down, across, indexing="ij")
    front = 8.72 if upper else 8.5
    z = front - 0.3 * x**2 - np.where(v < 0, 0.02, 0.0) - np.where(v >= 1.0, 0.25, 0.0)
    z = z + 0.04 * np.cos(2 * np.pi * x / 0.78)
    y = MOUTH_Y + (0.75 - 1.05 * v if upper else -1.05 + 0.83 * v) + 0.04 * x**2
    flip = not upper
    return Part(
        "teeth_upper" if upper else "teeth_lower",
        np.stack([x, y, z], axis=-1).reshape(-1, 3),
        sheet(len(down), len(across), flip=flip),
        x.ravel(),
        v.ravel(),
    )


def tongue() -> Part:
    """Return the tongue's visible front; u = across -1..1, v = 0 at the tip .. 1 at the back."""
    v, u = np.meshgrid(np.linspace(0.0, 1.0, 7), np.linspace(-1.0, 1.0, 11), indexing="ij")
    x = 1.55 * u * (0.45 + 0.55 * np.sqrt(np.minimum(v * 2.0, 1.0)))
    z = 7.75 - 0.5 * u**2 - 3.2 * v
    y = MOUTH_Y - 1.25 + 0.75 * np.sin(np.pi * np.minimum(v, 0.6)) - 0.35 * u**2
    return Part(
        "tongue",
        np.stack([x, y, z], axis=-1).reshape(-1, 3),
        sheet(7, 11, flip=True),
        u.ravel(),
        v.ravel(),
    )


def ear() -> Part:
    """Return the left ear; u = 0 at the middle .. 1 at the rim, v = turn (0 = top)."""
    radii = np.array([0.0, 0.25, 0.5, 0.68, 0.8, 0.9, 1.0, 0.98])
    turns = np.linspace(0.0, 2 * np.pi, 22, endpoint=False)
    u, v = np.meshgrid(radii, turns, indexing="ij")
    out = np.broadcast_to(np.array([0.3, 0.28, 0.34, 0.62, 0.7, 0.72, 0.55, 0.2])[:, None], u.shape)
    up = np.cos(v) * u * np.where(np.cos(v) > 0, 2.9, 2.8)
    back = np.sin(v) * u * (1.55 + 0.45 * np.cos(v)) * np.where(np.sin(v) > 0, 1.0, 0.7)
    tilt = np.deg2rad(12)
    up, back = up * np.cos(tilt) - back * np.sin(tilt), back * np.cos(tilt) + up * np.sin(tilt)
    away = np.deg2rad(24)
    behind = np.clip(back + 1.1, 0.0, None)
    x = 6.75 + out * np.cos(away) + behind * np.sin(away)
    z = -0.1 - back * np.cos(away) + 0.4 * out
    points = np.stack([x, -1.3 + up, z], axis=-1).reshape(-1, 3)
    return Part("ear_L", points, sheet(8, 22, closed=True, flip=True), u.ravel(), v.ravel())


_HAIRLINE = PchipInterpolator(
    np.deg2rad([0, 22, 38, 52, 64, 76, 84, 96, 112, 135, 180]),
    [6.5, 6.45, 5.9, 4.4, 2.2, -0.6, -0.2, 1.4, -2.2, -6.6, -7.6],
)


def hairline(azimuth: Double) -> Double:
    """Return the height y of the hairline at an azimuth."""
    line: Double = _HAIRLINE(np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth))))
    return line


def _level_at(azimuth: Double, height: Double) -> Double:
    """Return the level of the tube at an azimuth where its y is the given height."""
    levels = np.linspace(0.0, LEVELS, 401)
    found = np.empty(len(azimuth))
    for index, angle in enumerate(azimuth):
        heights = tube(np.full(levels.shape, angle), levels)[:, 1]
        found[index] = np.interp(-height[index], -heights, levels)
    return found


def _outward(azimuth: Double, level: Double) -> Double:
    """Return unit normals of the tube."""
    small = 1e-3
    along = tube(azimuth + small, level) - tube(azimuth - small, level)
    down = tube(azimuth, level + small) - tube(azimuth, np.maximum(level - small, 0.0))
    normal = np.cross(down, along)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    up = np.array([0.0, 1.0, 0.0])
    return np.where(length > 1e-9, normal / np.maximum(length, 1e-9), up)


def hair_cap() -> Part:
    """Return the hair on the scalp; u = azimuth, v = 0 at the crown .. 1 at the hairline."""
    turns = np.linspace(-np.pi, np.pi, 72, endpoint=False)
    share = np.array([0.0, 0.12, 0.24, 0.36, 0.48, 0.6, 0.7, 0.8, 0.88, 0.94, 0.98, 1.0, 1.0])
    last = _level_at(turns, hairline(turns) + 0.1 * np.cos(17 * turns + 1.0))
    v, u = np.meshgrid(share, turns, indexing="ij")
    first = 0.35
    level = first * (1 - v) + v * last
    locks = 1.0 + 0.12 * np.cos(11 * u + 4 * v) + 0.1 * np.cos(5 * u - 3 * v + 2.0)
    thick = 0.9 * locks * np.clip(1.0 - v**6, 0.0, 1.0) ** 0.5 + 0.12
    thick[-1] = -0.35  # the rim dives into the skin
    points = skin(u.ravel(), level.ravel()) + thick.reshape(-1, 1) * _outward(
        u.ravel(), level.ravel()
    )
    points[: len(turns)] = points[: len(turns)].mean(axis=0)
    points[: len(turns), 1] += 0.1
    return Part("hair_cap", points, sheet(13, 72, closed=True), u.ravel(), v.ravel())


def hair_fringe() -> Part:
    """Return hair over the forehead; u = azimuth, v = 0 at the root .. 1 at the tips."""
    turns = np.deg2rad(np.linspace(-58, 58, 31))
    v, u = np.meshgrid(np.linspace(0.0, 1.0, 7), turns, indexing="ij")
    ragged = 0.18 * np.cos(7 * u + 0.8) + 0.12 * np.cos(17 * u) + 1.2 * u**2
    height = 8.6 - v * (4.3 - ragged)
    level = _level_at(u.ravel(), height.ravel())
    thick = 1.15 - 0.6 * v.ravel() ** 2
    points = skin(u.ravel(), level) + thick[:, None] * _outward(u.ravel(), level)
    return Part("hair_fringe", points, sheet(7, 31), u.ravel(), v.ravel())


def hair_long() -> Part:
    """Return hair falling beside and behind the face; u = azimuth, v = 0 above .. 1 at the tips."""
    turns = np.deg2rad(np.linspace(52, 308, 41))
    v, u = np.meshgrid(np.linspace(0.0, 1.0, 12), turns, indexing="ij")
    side = np.abs(np.sin(u))
    tucked = 1.0 - np.exp(-((v / 0.16) ** 2))  # the upper edge hides under the cap
    x = np.sin(u) * (6.9 + 1.1 * tucked + 0.8 * np.sin(np.pi * v**0.8) + 0.25 * np.cos(11 * u) * v)
    z = -0.9 + np.where(np.cos(u) > 0, 4.6 + 0.8 * tucked, 9.2 + 0.8 * tucked - 2.6 * v) * np.cos(u)
    y = 6.4 - v * 22.0 + 1.2 * side
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return Part("hair_long", points, sheet(12, 41), u.ravel(), v.ravel())


def _tube_along(path: Double, radius: float, sides: int, closed: bool) -> tuple[Double, Index]:
    """Return a tube of ``sides`` corners along a path of (N, 3) points."""
    step = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        step[0], step[-1] = path[1] - path[0], path[-1] - path[-2]
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    reference = np.where(np.abs(step[:, 2:3]) < 0.8, [[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(step, reference)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(step, first)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (
        np.cos(turn)[None, :, None] * first[:, None] + np.sin(turn)[None, :, None] * second[:, None]
    )
    points = (path[:, None] + radius * ring).reshape(-1, 3)
    triangles = sheet(len(path), sides, closed=True)
    if closed:
        turn_over = np.arange(sides)
        last = (len(path) - 1) * sides
        following = (turn_over + 1) % sides
        seam = np.concatenate(
            [
                np.stack([last + turn_over, turn_over, last + following], 1),
                np.stack([last + following, turn_over, following], 1),
            ]
        ).astype(np.int32)
        triangles = np.concatenate([triangles, seam])
    return points, triangles


def glasses() -> Part:
    """Return a frame: two rims, a bridge, two temples; u = 0, v = 0."""
    turn = np.linspace(0.0, 2 * np.pi, 30, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    x = 3.15 + 2.3 * np.sign(c) * np.abs(c) ** 0.75
    y = -0.25 + 1.75 * np.sign(s) * np.abs(s) ** 0.75
    rim = np.stack([x, y, 9.1 - 0.055 * x**2], axis=1)
    bridge = np.stack(
        [
            np.linspace(-0.9, 0.9, 7),
            0.35 + 0.18 * np.cos(np.linspace(-1.5, 1.5, 7)),
            np.full(7, 9.35),
        ],
        axis=1,
    )
    temple = np.stack(
        [np.linspace(5.4, 7.3, 8), np.full(8, 0.4), np.linspace(7.5, -1.0, 8)], axis=1
    )
    flipped = np.array([-1.0, 1.0, 1.0])
    pieces = [
        _tube_along(rim, 0.15, 5, closed=True),
        _tube_along(rim * flipped, 0.15, 5, closed=True),
        _tube_along(bridge, 0.13, 5, closed=False),
        _tube_along(temple, 0.13, 5, closed=False),
        _tube_along(temple * flipped, 0.13, 5, closed=False),
    ]
    points = np.concatenate([p for p, _ in pieces])
    starts = np.cumsum([0, *(len(p) for p, _ in pieces[:-1])])
    triangles = np.concatenate([t + s for (_, t), s in zip(pieces, starts, strict=True)])
    zero = np.zeros(len(points))
    return Part("glasses", points, triangles.astype(np.int32), zero, zero)
