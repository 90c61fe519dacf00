"""Where each pixel of the deformed picture comes from: z-buffered inverse warp, dying away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from mien.core.arrays import Double, Float
from mien.generators.affect_photo import Photo
from mien.generators.affect_pose import Pose
from mien.generators.affect_surface import Surface
from mien.morphable import landmarks as order
from mien.morphable.rasterise import Index, Raster, rasterise
from mien.morphable.tissue import Tissue

# How far beyond the face the picture is pulled along, in eye distances. More is smoother, but what
# moves further out tells the label to whoever looks at the surroundings only.
REACH = 0.13
OUTSIDE = 255  # tissue of a pixel outside the face


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """The pixels that may change, a window of the photo.

    Attributes:
        left: column of the window's first pixel in the photo.
        top: row of it.
        tissue: (h, w) uint8, values of ``Tissue``, or ``OUTSIDE``.
        x: (h, w) float32 column in the photo where the pixel's skin is found.
        y: (h, w) float32 row of it.
        eye_x: (h, w) float32 the same for the surface that is nearest, whatever it is.
        eye_y: (h, w) float32.
        ratio: (h, w) float32 shading ratio, 1 outside the face and at its border.
        share: (h, w) float32 of the new picture in the result; 0 where the photo stays.
        raster: what the pixels see.
    """

    left: int
    top: int
    tissue: NDArray[np.uint8]
    x: Float
    y: Float
    eye_x: Float
    eye_y: Float
    ratio: Float
    share: Float
    raster: Raster


def warp(surface: Surface, photo: Photo, pose: Pose) -> Warp:
    """Trace the pixels of a deformed head back into its photo.

    Within the face each pixel follows the nearest surface. Beyond its border the displacement goes
    on, fading to nothing, so nothing is cut out and pasted: there is no seam, and what lies further
    away is the photo itself.
    """
    left, top, right, bottom = _window(surface, photo, pose)
    height, width = bottom - top, right - left
    local = pose.points.copy()
    local[:, :2] -= (left, top)
    raster = rasterise(local, surface.triangles, height, width)
    source = np.zeros((height, width, 2), np.float32)
    ratio = np.ones((height, width), np.float32)
    tissue = np.full((height, width), OUTSIDE, np.uint8)
    _trace(
        raster.triangle,
        raster.barycentric,
        surface.triangles,
        surface.tissue,
        photo.texture,
        pose.ratio,
        source,
        ratio,
        tissue,
    )
    _keep_mouth(tissue, local[surface.head.landmarks68[order.OUTER_LIPS], :2])
    _smooth_border(tissue, 0.05 * photo.apart)
    x = np.arange(left, right, dtype=np.float32)[None, :]
    y = np.arange(top, bottom, dtype=np.float32)[:, None]
    moved = source - np.stack(np.broadcast_arrays(x, y), axis=2)
    field, share, inner = _carry(moved, tissue, REACH * photo.apart)
    soft = cv2.GaussianBlur(ratio, (0, 0), 0.01 * photo.apart)
    return Warp(
        left=left,
        top=top,
        tissue=tissue,
        x=x + field[:, :, 0],
        y=y + field[:, :, 1],
        eye_x=source[:, :, 0],
        eye_y=source[:, :, 1],
        ratio=1.0 + (soft - 1.0) * inner,
        share=share,
        raster=raster,
    )


def _window(surface: Surface, photo: Photo, pose: Pose) -> tuple[int, int, int, int]:
    """Return the box of pixels that may change: left, top, right, bottom."""
    height, width = photo.image.shape[:2]
    places = np.concatenate([pose.points[surface.skin, :2], photo.texture[surface.skin]])
    margin = REACH * photo.apart + 4.0
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    left, top = np.clip(np.floor(low).astype(int), 0, (width - 2, height - 2))
    right, bottom = np.clip(np.ceil(high).astype(int), (left + 2, top + 2), (width, height))
    return int(left), int(top), int(right), int(bottom)


def _keep_mouth(tissue: NDArray[np.uint8], lips: Float) -> None:
    """Leave the inside of the mouth between the lips only: under the chin the mesh is open."""
    between = np.zeros(tissue.shape, np.uint8)
    cv2.fillPoly(between, [np.rint(lips * 16).astype(np.int32)], 1, shift=4)
    within = (tissue == Tissue.MOUTH) | (tissue == Tissue.TEETH)
    tissue[within & (between == 0)] = OUTSIDE


def _smooth_border(tissue: NDArray[np.uint8], radius: float) -> None:
    """Cut thin spikes off the face: the mesh ends in single triangles, a face does not."""
    side = 2 * max(1, round(radius)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    covered = (tissue != OUTSIDE).astype(np.uint8)
    opened = cv2.morphologyEx(covered, cv2.MORPH_OPEN, disc)
    tissue[opened == 0] = OUTSIDE


def _carry(moved: Float, tissue: NDArray[np.uint8], reach: float) -> tuple[Float, Float, Float]:
    """Carry the face's displacement on beyond its border, dying away over ``reach`` pixels.

    Args:
        moved: (h, w, 2) displacement, valid within the face.
        tissue: tells the face.
        reach: pixels.

    Returns:
        (h, w, 2) displacement everywhere; (h, w) share of the new picture; (h, w) 1 well inside
        the face and 0 at its border.
    """
    outside = (tissue == OUTSIDE).astype(np.uint8)
    if outside.all():
        return np.zeros_like(moved), np.zeros_like(moved[:, :, 0]), np.zeros_like(moved[:, :, 0])
    distance, label = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(label.max()) + 1, np.int64)
    inside = np.flatnonzero(outside.ravel() == 0)
    nearest[label.ravel()[inside]] = inside
    fade = np.clip(1.0 - distance / np.float32(reach), 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    carried = moved.reshape(-1, 2)[nearest[label]] * fade[:, :, None]
    # Rays from a bent border cross: smooth them, more the further out they are.
    soft = cv2.GaussianBlur(carried, (0, 0), 0.08 * reach)
    further = np.clip(distance / np.float32(0.15 * reach), 0.0, 1.0)[:, :, None]
    beyond = carried + further * (soft - carried)
    field = np.where(outside[:, :, None] == 1, beyond, moved)
    depth = cv2.distanceTransform(1 - outside, cv2.DIST_L2, 5)
    inner = np.clip(depth / np.float32(0.5 * reach), 0.0, 1.0)
    return field, np.clip(3.0 * fade, 0.0, 1.0), inner


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _trace(
    triangle: Index,
    barycentric: Float,
    triangles: Index,
    kind: NDArray[np.uint8],
    texture: Float,
    shade: Float,
    source: Float,
    ratio: Float,
    tissue: NDArray[np.uint8],
) -> None:
    """Interpolate place in the photo, shading and tissue at each covered pixel."""
    height, width = triangle.shape
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            x, y, s = 0.0, 0.0, 0.0
            for corner in range(3):
                weight = barycentric[row, column, corner]
                v = triangles[t, corner]
                x += weight * texture[v, 0]
                y += weight * texture[v, 1]
                s += weight * shade[v]
            source[row, column, 0] = x
            source[row, column, 1] = y
            ratio[row, column] = s
            tissue[row, column] = kind[t]


def landmarks_of(surface: Surface, points: Float) -> Double:
    """Return the (68, 2) landmarks among placed vertices."""
    chosen: Double = points[surface.head.landmarks68, :2].astype(np.float64)
    return chosen
