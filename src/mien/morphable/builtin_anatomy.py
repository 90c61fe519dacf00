"""The built-in head put together: all parts as one mesh, with what each vertex belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Int
from mien.morphable.builtin_mesh import Skin, make_skin
from mien.morphable.builtin_parts import (
    Part,
    ear,
    eyeball,
    glasses,
    hair_cap,
    hair_fringe,
    hair_long,
    mirrored,
    sheet,
    teeth,
    tongue,
)
from mien.morphable.builtin_surface import (
    EYE,
    EYE_RADIUS,
    LID_RADIUS,
    MOUTH_HALF,
    MOUTH_Y,
    lid_edges,
    skin,
    tube,
)
from mien.morphable.rasterise import Index

RIM_RADII = (EYE_RADIUS + 0.04, EYE_RADIUS - 0.15)  # the lid's edge, then behind the eyeball
# Inside of the mouth, row by row behind a lip: step in z, step in y, share of the width.
_MOUTH_ROWS = ((-0.25, 0.05, 0.985), (-0.8, 0.4, 0.96), (-2.2, 0.9, 0.85), (-4.2, 0.9, 0.7))


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The mean head in centimetres.

    Attributes:
        points: (V, 3).
        triangles: (F, 3) int32.
        parts: name of a part → its vertices.
        u: (V,) each part's own first coordinate (skin: azimuth).
        v: (V,) each part's own second coordinate (skin: level).
        jaw: (V,) share of the jaw's motion, 0..1.
        upper_lid: (V,) share of the upper lid's motion, both eyes.
        lower_lid: (V,) share of the lower lid's motion.
        follow: (V,) the vertex whose motion this one copies (itself for most).
        follow_share: (V,) how much of it.
        rim: (V,) radius in cm that a lid's inner edge keeps from the eyeball's centre, 0 elsewhere.
        skin: the unfolded skin.
    """

    points: Double
    triangles: Index
    parts: Mapping[str, slice]
    u: Double
    v: Double
    jaw: Double
    upper_lid: Double
    lower_lid: Double
    follow: Int
    follow_share: Double
    rim: Double
    skin: Skin

    def of(self, *names: str) -> Double:
        """Return (V,) 1 on the named parts, 0 elsewhere."""
        mask = np.zeros(len(self.points))
        for name in names:
            mask[self.parts[name]] = 1.0
        return mask


def smooth(value: Double, low: float, high: float) -> Double:
    """Return the smooth step from 0 at ``low`` to 1 at ``high``."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    step: Double = share * share * (3.0 - 2.0 * share)
    return step


def _skin_jaw(unfolded: Skin, points: Double) -> Double:
    x = np.abs(points[:, 0])
    height = tube(unfolded.azimuth, unfolded.level)[:, 1]  # where the lips are still apart
    middle = MOUTH_Y + 0.25 * np.maximum(x - MOUTH_HALF, 0.0)
    width = 0.3 + 3.2 * np.clip((x - 1.9) / 4.0, 0.0, 1.0)
    below = smooth(0.5 + (middle - height) / width, 0.0, 1.0)
    share: Double = (
        below * smooth(points[:, 2], -1.5, 2.5) * (1.0 - smooth(unfolded.level, 12.2, 14.6))
    )
    return share


def _lid_shares(points: Double) -> tuple[Double, Double]:
    x, y = np.abs(points[:, 0]), points[:, 1]
    top, bottom = lid_edges(x)
    middle = (top + bottom) / 2
    opening = np.clip((top - bottom) / 1.1, 0.0, 1.0)
    front = points[:, 2] > 3.0
    above = np.maximum(y - top, 0.0)
    below = np.maximum(bottom - y, 0.0)
    upper = np.where(y >= middle, np.exp(-((above / 0.75) ** 2)), 0.0)
    lower = np.where(y < middle, np.exp(-((below / 0.7) ** 2)), 0.0)
    return opening * upper * front, opening * lower * front


def _lid_rims(unfolded: Skin, points: Double, start: int) -> tuple[list[Part], list[Int]]:
    """Return the inner edges of the lids, left and right, and the vertices they follow."""
    loop = unfolded.lid_loop
    edge = points[loop]
    rays = edge - EYE
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rings = np.concatenate([edge, *(EYE + radius * rays for radius in RIM_RADII)])
    count = len(loop)
    part = Part(
        "rim_L",
        rings,
        sheet(3, count, closed=True),
        np.tile(np.arange(count, dtype=np.float64), 3),
        np.repeat([0.0, 1.0, 2.0], count),
    )
    twin = np.array([_twin(points, index) for index in loop])
    del start
    return [part, mirrored(part, "rim_R")], [np.tile(loop, 3), np.tile(twin, 3)]


def _twin(points: Double, index: int) -> int:
    wanted = points[index] * np.array([-1.0, 1.0, 1.0])
    return int(np.argmin(np.abs(points - wanted).sum(axis=1)))


def _mouth_inside(unfolded: Skin, points: Double) -> tuple[Part, Int, Double, Double]:
    """Return the sac behind the lips, what it follows, how much, and its share of the jaw."""
    rows, follow, share, jaw = [], [], [], []
    half = len(unfolded.lip_upper)
    rests = (1.0, 1.0, 0.9, 0.35, 0.0)
    for lip, side in ((unfolded.lip_upper, 1.0), (unfolded.lip_lower, -1.0)):
        edge = points[lip]
        layers = [edge]
        open_ = (
            1.0 - np.clip(np.abs(edge[:, 0]) / MOUTH_HALF, 0.0, 1.0) ** 3
        )  # closed at the corners
        for back, up, width in _MOUTH_ROWS:
            layer = edge * np.array([width, 1.0, 1.0]) + np.array([0.0, 0.0, back])
            layer[:, 1] += side * up * open_
            layers.append(layer)
        order = range(5) if side < 0 else range(4, -1, -1)
        for k in order:
            rows.append(layers[k])
            follow.append(lip)
            share.append(np.full(half, rests[k]))
            jaw.append(0.5 - 0.5 * side * open_)
    # Rows now run: back of the roof … upper lip, lower lip … back of the floor; the sheet between
    # the two lips' edges is the mouth line itself and must stay open.
    grid = np.concatenate(rows)
    columns = half
    roof, floor = sheet(5, columns), sheet(5, columns) + 5 * columns
    wall = _join(np.arange(columns), np.arange(columns) + 9 * columns)
    part = Part(
        "mouth",
        grid,
        np.concatenate([roof, floor, wall]).astype(np.int32),
        np.tile(np.linspace(-1.0, 1.0, columns), 10),
        np.repeat([4.0, 3, 2, 1, 0, 0, 1, 2, 3, 4], columns),
    )
    return part, np.concatenate(follow), np.concatenate(share), np.concatenate(jaw)


def _join(above: Int, below: Int) -> Index:
    a, b, c, d = above[:-1], above[1:], below[:-1], below[1:]
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)


def assemble() -> Anatomy:
    """Build the mean head."""
    unfolded = make_skin()
    points = skin(unfolded.azimuth, unfolded.level)
    rims, rim_follow = _lid_rims(unfolded, points, len(points))
    mouth, mouth_follow, mouth_share, mouth_jaw = _mouth_inside(unfolded, points)
    left_eye, left_ear = eyeball(), ear()
    others = [
        *rims,
        mouth,
        left_eye,
        mirrored(left_eye, "eye_R"),
        teeth(upper=True),
        teeth(upper=False),
        tongue(),
        left_ear,
        mirrored(left_ear, "ear_R"),
        hair_cap(),
        hair_fringe(),
        hair_long(),
        glasses(),
    ]
    base = Part("skin", points, unfolded.triangles, unfolded.azimuth, unfolded.level)
    pieces = [base, *others]
    starts = np.cumsum([0, *(len(p.points) for p in pieces)])
    parts = {
        p.name: slice(a, a + len(p.points)) for p, a in zip(pieces, starts.tolist(), strict=False)
    }
    total = int(starts[-1])
    jaw = np.zeros(total)
    jaw[parts["skin"]] = _skin_jaw(unfolded, points)
    for name in ("teeth_lower", "tongue"):
        jaw[parts[name]] = 1.0
    jaw[parts["mouth"]] = mouth_jaw
    upper, lower = np.zeros(total), np.zeros(total)
    upper[parts["skin"]], lower[parts["skin"]] = _lid_shares(points)
    follow, share = np.arange(total), np.ones(total)
    for name, source in zip(("rim_L", "rim_R"), rim_follow, strict=True):
        follow[parts[name]] = source
    follow[parts["mouth"]] = mouth_follow
    share[parts["mouth"]] = mouth_share
    rim = np.zeros(total)
    for name in ("rim_L", "rim_R"):
        layer = np.concatenate([p.v for p in pieces])[parts[name]]
        rim[parts[name]] = np.array([LID_RADIUS, *RIM_RADII])[layer.astype(int)]
    return Anatomy(
        points=np.concatenate([p.points for p in pieces]),
        triangles=np.concatenate(
            [p.triangles + a for p, a in zip(pieces, starts.tolist(), strict=False)]
        ).astype(np.int32),
        parts=parts,
        u=np.concatenate([p.u for p in pieces]),
        v=np.concatenate([p.v for p in pieces]),
        jaw=jaw,
        upper_lid=upper,
        lower_lid=lower,
        follow=follow,
        follow_share=share,
        rim=rim,
        skin=unfolded,
    )
