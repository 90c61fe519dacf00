"""Paint the deformed face: skin and eyes from the photo, the inside of the mouth rendered."""

from __future__ import annotations

import cv2
import numpy as np

from mien.core.arrays import Bool, Float
from mien.generators.affect_folds import fold_strengths, shade_folds
from mien.generators.affect_photo import Photo
from mien.generators.affect_pose import Pose
from mien.generators.affect_surface import Surface
from mien.generators.affect_warp import Warp, landmarks_of, warp
from mien.morphable import landmarks as order
from mien.morphable.tissue import Tissue

_GLOW = np.array((0.08, 0.035, 0.03), np.float32)  # light that flesh scatters into the mouth


def paint(surface: Surface, photo: Photo, pose: Pose, albedo: Float) -> Float:
    """Return the photo with the deformed face: (H, W, 3) float32 RGB, 0..255.

    Args:
        surface: the head.
        photo: the prepared photo.
        pose: the deformed head.
        albedo: (V, 3) float32 colours of mouth and teeth, in [0, 1].
    """
    traced = warp(surface, photo, pose)
    frown, forehead = fold_strengths(
        landmarks_of(surface, photo.texture), landmarks_of(surface, pose.points)
    )
    shade = traced.ratio * shade_folds(photo.folds, frown, forehead, traced.x, traced.y)
    face = _look(photo.image, traced.x, traced.y)
    face *= shade[:, :, None]
    _paint_lids(face, surface, photo, pose, traced, shade)
    _paint_eyes(face, photo, traced)
    _paint_mouth(face, surface, photo, pose, traced, albedo)
    result = photo.image.copy()
    height, width = traced.tissue.shape
    window = result[traced.top : traced.top + height, traced.left : traced.left + width]
    window += traced.share[:, :, None] * (face - window)
    return np.clip(result, 0.0, 255.0, out=result)


def _look(image: Float, x: Float, y: Float) -> Float:
    """Read the photo at places between its pixels."""
    found: Float = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return found


def _box(mask: Bool, margin: int) -> tuple[slice, slice] | None:
    """Return the rows and columns around a mask, or None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def _paint_lids(
    face: Float, surface: Surface, photo: Photo, pose: Pose, traced: Warp, shade: Float
) -> None:
    """Unfold plain lid where a closing lid is stretched; its lashes stay a narrow line.

    An open eye hides most of its lid; stretching what is seen would smear lashes over it.
    """
    marks = landmarks_of(surface, pose.points) - (traced.left, traced.top)
    height, width = traced.tissue.shape
    for part in (order.LEFT_EYE, order.RIGHT_EYE):
        low = np.floor(marks[part].min(axis=0) - 0.22 * photo.apart).astype(int)
        high = np.ceil(marks[part].max(axis=0) + 0.22 * photo.apart).astype(int)
        rows = slice(max(low[1], 1), min(high[1], height - 1))
        columns = slice(max(low[0], 1), min(high[0], width - 1))
        box = (rows, columns)
        skin: Bool = traced.tissue[box] == Tissue.SKIN
        if not skin.any():
            continue
        step = (
            traced.y[rows.start + 1 : rows.stop + 1, columns]
            - traced.y[rows.start - 1 : rows.stop - 1, columns]
        )
        stretch = np.clip((0.75 - 0.5 * step) / 0.35, 0.0, 1.0) * skin
        weight = cv2.GaussianBlur(stretch.astype(np.float32), (0, 0), 0.02 * photo.apart)
        if weight.max() < 0.05:
            continue
        plain = _look(photo.lids, traced.x[box], traced.y[box]) * shade[box][:, :, None]
        away = cv2.distanceTransform(
            (traced.tissue[box] != Tissue.EYE).astype(np.uint8), cv2.DIST_L2, 5
        )
        thick = np.float32(0.014 * photo.apart)
        lashes = np.exp(-((np.minimum(away, 8.0 * thick) / thick) ** 2))
        plain *= 1.0 - 0.6 * lashes[:, :, None]
        face[box] += (weight * skin)[:, :, None] * (plain - face[box])


def _paint_eyes(face: Float, photo: Photo, traced: Warp) -> None:
    """Show the eyeballs where the lids leave them open, as the photo has them below its lids."""
    seen: Bool = traced.tissue == Tissue.EYE
    box = _box(seen, 0)
    if box is None:
        return
    eyes = _look(photo.eyes, traced.eye_x[box], traced.eye_y[box])
    face[box] = np.where(seen[box][:, :, None], eyes, face[box])


def _paint_mouth(
    face: Float, surface: Surface, photo: Photo, pose: Pose, traced: Warp, albedo: Float
) -> None:
    """Render the inside of the mouth in the photo's light; narrow openings stay dark."""
    seen: Bool = (traced.tissue == Tissue.MOUTH) | (traced.tissue == Tissue.TEETH)
    box = _box(seen, max(4, round(0.08 * photo.apart)))
    if box is None:
        return
    corners = surface.triangles[np.maximum(traced.raster.triangle[box], 0)]
    vertices, compact = np.unique(corners, return_inverse=True)
    lips = float(pose.points[surface.head.landmarks68[order.INNER_LIPS], 2].mean())
    facing = 0.55 + 0.45 * np.clip(pose.normals[vertices, 2], 0.0, 1.0)
    behind = np.clip((lips - pose.points[vertices, 2]) / photo.apart, 0.0, 1.0)
    lit = np.nan_to_num(albedo[vertices]) * (facing * np.exp(-1.1 * behind))[:, None] + _GLOW
    colour = (lit * photo.white).astype(np.float32)[compact.reshape(corners.shape)]
    rendered = np.einsum("hwkc,hwk->hwc", colour, traced.raster.barycentric[box])
    hole = seen[box].astype(np.uint8)
    rendered = _soften(rendered.astype(np.float32), hole, 0.011 * photo.apart)
    rendered *= _openness(hole, photo.apart)[:, :, None]
    face[box] = np.where(seen[box][:, :, None], rendered, face[box])


def _soften(rendered: Float, hole: np.ndarray, sigma: float) -> Float:
    """Blur within the opening: a camera does not resolve the gaps between a mesh's teeth."""
    weight = hole.astype(np.float32)
    spread = cv2.GaussianBlur(rendered * weight[:, :, None], (0, 0), sigma)
    softened: Float = spread / (cv2.GaussianBlur(weight, (0, 0), sigma)[:, :, None] + 1e-4)
    return softened


def _openness(hole: np.ndarray, apart: float) -> Float:
    """Return (h, w) how much light falls in: less at the lips, least under the upper one."""
    drop = max(1, round(0.05 * apart))
    above = np.zeros_like(hole)
    above[drop:] = hole[:-drop]
    depth = cv2.distanceTransform(hole, cv2.DIST_L2, 5) / np.float32(0.03 * apart)
    lit = cv2.GaussianBlur((hole & above).astype(np.float32), (0, 0), 0.02 * apart)
    light: Float = 0.58 + 0.22 * np.clip(depth, 0.0, 1.0) + 0.20 * lit
    return light
