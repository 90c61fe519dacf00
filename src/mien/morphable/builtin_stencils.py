"""Where colours go on the built-in head: soft masks that depend on its anatomy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.morphable.builtin_anatomy import Anatomy, smooth
from mien.morphable.builtin_parts import hairline
from mien.morphable.builtin_surface import (
    EYE,
    INNER_CORNER,
    MOUTH_HALF,
    MOUTH_Y,
    OUTER_CORNER,
    blob,
    lid_edges,
    lip_heights,
)


@dataclass(frozen=True, slots=True, eq=False)
class Stencils:
    """Masks in [0, 1] over the N vertices of the skin, (N,) float32 unless said otherwise.

    Attributes:
        flush: where blood shows: cheeks, tip of the nose.
        tired: under the eyes.
        socket: the shaded lid fold.
        nostril: the openings, and the crease round the wings.
        lash: lid edges.
        crease: fold of the upper lid.
        lips: the red of the lips.
        mouth_line: where the lips meet.
        folds: lines that age draws.
        freckled: where freckles come.
        clothed: below the collar.
        scalp: where hair grows on the head.
        beard: where it grows on the face.
        brow: (B,) vertices near the brows.
        canthus: (R,) over the lids' inner edges: 1 at the inner corner.
        upper_edge: (R,) 1 on the upper lid's edge.
    """

    flush: Float
    tired: Float
    socket: Float
    nostril: Float
    lash: Float
    crease: Float
    lips: Float
    mouth_line: Float
    folds: Float
    freckled: Float
    clothed: Float
    scalp: Float
    beard: Float
    brow: Int
    canthus: Float
    upper_edge: Float


def lip_weight(body: Anatomy) -> Double:
    """Return (V,) in [0, 1]: how much a place belongs to the red of the lips."""
    x, y, z = body.points.T
    upper, lower = lip_heights(x)
    height = np.where(body.jaw < 0.5, upper, lower)
    there = (np.abs(x) < MOUTH_HALF + 0.05) & (z > 4.0)
    red = 1.0 - smooth(np.abs(y - MOUTH_Y) - height, -0.14, 0.16)
    weight: Double = red * there * body.of("skin")
    return weight


def brow_weight(x: Double, y: Double, thickness: float, arch: float) -> Double:
    """Return (N,) in [0, 1]: how much of the brow's hair grows at a place of the front."""
    away = np.abs(x)
    share = np.clip((away - 0.85) / 4.7, 0.0, 1.0)
    line = 2.08 + 0.5 * np.sin(np.pi * share**1.1 * 0.95) * (1.0 + 0.5 * arch)
    half = (0.2 + 0.26 * thickness) * (1.0 - 0.55 * share**2)
    across = 1.0 - smooth(np.abs(y - line) / half, 0.55, 1.25)
    ends = smooth(away, 0.6, 1.1) * (1.0 - smooth(away, 5.0, 5.7))
    weight: Double = across * ends
    return weight


def cut_stencils(body: Anatomy) -> Stencils:
    """Work out all masks."""
    skin = body.parts["skin"]
    x, y, z = body.points[skin].T
    away = np.abs(x)
    face = smooth(z, 0.0, 3.0)
    top, bottom = lid_edges(away)
    by_eye = face * (away > INNER_CORNER - 0.1) * (away < OUTER_CORNER + 0.12)
    lash = np.maximum(
        np.exp(-(((y - top) / 0.15) ** 2)), 0.45 * np.exp(-(((y - bottom) / 0.1) ** 2))
    )
    lash *= 0.35 + 0.65 * smooth(away, INNER_CORNER, INNER_CORNER + 0.9)
    openings = 0.95 * blob(x, y, (0.66, -4.62), (0.24, 0.14))
    mouth_line = np.exp(-(((y - MOUTH_Y) / 0.1) ** 2)) * (away < MOUTH_HALF + 0.1)
    lips = lip_weight(body)[skin]
    masks = {
        "flush": blob(x, y, (4.3, -3.0), (1.5, 1.3)) + 0.8 * blob(x, y, (0, -3.7), (1.2, 0.9)),
        "tired": blob(x, y, (2.9, -1.15), (1.2, 0.35)) * face,
        "socket": 0.2 * blob(x, y, (2.9, 1.05), (1.5, 0.45)) * face,
        "nostril": (openings + 0.3 * blob(x, y, (1.82, -4.1), (0.15, 0.45))) * face,
        "lash": 0.92 * lash * by_eye,
        "crease": 0.4 * np.exp(-(((y - top - 0.42) / 0.12) ** 2)) * by_eye,
        "lips": lips,
        "mouth_line": 0.75 * mouth_line * face,
        "folds": _folds(x, y) * smooth(z, 2.0, 4.0),
        "freckled": blob(x, y, (2.6, -2.4), (2.2, 1.1)) * face,
        "clothed": smooth(-y, 16.2, 16.8),
        "scalp": smooth(y - hairline(np.arctan2(x, z)), -0.3, 0.6),
        "beard": _beard(x, y) * (1.0 - lips) * smooth(z, -1.0, 1.5),
    }
    edge = np.r_[body.parts["rim_L"], body.parts["rim_R"]]
    edge_x, edge_y = np.abs(body.points[edge, 0]), body.points[edge, 1]
    return Stencils(
        **{name: np.clip(mask, 0.0, 1.0).astype(np.float32) for name, mask in masks.items()},
        brow=np.flatnonzero((np.abs(y - 2.3) < 1.5) & (z > 3.0)),
        canthus=(1.0 - smooth(edge_x, INNER_CORNER, INNER_CORNER + 0.55)).astype(np.float32),
        upper_edge=(edge_y > EYE[1] + 0.05 * (edge_x - 3.0)).astype(np.float32),
    )


def _folds(x: Double, y: Double) -> Double:
    beside = np.abs(x) - (1.9 + 0.42 * np.maximum(-4.3 - y, 0.0))
    lines = np.exp(-((beside / 0.2) ** 2)) * smooth(-y, 4.0, 4.9) * (1.0 - smooth(-y, 6.5, 7.3))
    for height in (4.2, 5.0, 5.8):
        wavy = y - height - 0.15 * np.cos(0.9 * x)
        lines = lines + np.exp(-((wavy / 0.15) ** 2)) * np.exp(-((x / 3.6) ** 4))
    return lines


def _beard(x: Double, y: Double) -> Double:
    away = np.abs(x)
    line = np.where(away < 2.6, -4.9, -6.6 + 0.9 * (away - 3.0))
    area = smooth(line - y, -0.25, 0.5) * (1.0 - smooth(-y, 12.2, 13.2))
    bare = np.exp(-(((y + 8.5) / 0.35) ** 2)) * ((y < MOUTH_Y) & (away < 1.7)) * 0.35
    grown: Double = area * (1.0 - bare)
    return grown
