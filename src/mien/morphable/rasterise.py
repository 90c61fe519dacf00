"""Which triangle is seen at each pixel: a z-buffer over edge functions."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from mien.core.arrays import Float
from mien.core.errors import Invalid

Index = NDArray[np.int32]

_SUBPIXEL = 256  # positions are snapped to 1/256 px: edge functions are then exact integers
_REACH_PX = 1 << 20  # beyond this a product of two edges could overflow 64 bits


@dataclass(frozen=True, slots=True)
class Raster:
    """What each pixel sees.

    Attributes:
        triangle: (H, W) int32, index of the nearest triangle, -1 = none.
        barycentric: (H, W, 3) float32, weights of its corners, 0 where none.
        depth: (H, W) float32, interpolated z, -inf where none.
    """

    triangle: Index
    barycentric: Float
    depth: Float


@numba.njit(cache=True, fastmath=False)  # type: ignore[untyped-decorator]
def _fill(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    z: Float,
    triangles: Index,
    back_faces: bool,
    triangle: Index,
    barycentric: Float,
    depth: Float,
) -> None:
    height, width = triangle.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        area = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
        if area == 0 or (area < 0 and not back_faces):
            continue
        flipped = area < 0
        if flipped:
            b, c = c, b
            area = -area
        left = max(-((-min(x[a], x[b], x[c])) // _SUBPIXEL), 0)
        right = min(max(x[a], x[b], x[c]) // _SUBPIXEL, width - 1)
        top = max(-((-min(y[a], y[b], y[c])) // _SUBPIXEL), 0)
        bottom = min(max(y[a], y[b], y[c]) // _SUBPIXEL, height - 1)
        if left > right or top > bottom:
            continue
        # Edge opposite to each corner: (dx, dy); an edge shared by two triangles runs in opposite
        # directions in them, so the top-left rule gives its pixels to exactly one.
        dx0, dy0 = x[c] - x[b], y[c] - y[b]
        dx1, dy1 = x[a] - x[c], y[a] - y[c]
        dx2, dy2 = x[b] - x[a], y[b] - y[a]
        bias0 = 0 if dy0 < 0 or (dy0 == 0 and dx0 > 0) else -1
        bias1 = 0 if dy1 < 0 or (dy1 == 0 and dx1 > 0) else -1
        bias2 = 0 if dy2 < 0 or (dy2 == 0 and dx2 > 0) else -1
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            py = row * _SUBPIXEL
            px = left * _SUBPIXEL
            e0 = dx0 * (py - y[b]) - dy0 * (px - x[b])
            e1 = dx1 * (py - y[c]) - dy1 * (px - x[c])
            e2 = dx2 * (py - y[a]) - dy2 * (px - x[a])
            for column in range(left, right + 1):
                if e0 + bias0 >= 0 and e1 + bias1 >= 0 and e2 + bias2 >= 0:
                    w0 = e0 * inverse
                    w1 = e1 * inverse
                    w2 = e2 * inverse
                    near = np.float32(w0 * z[a] + w1 * z[b] + w2 * z[c])
                    if near > depth[row, column]:
                        depth[row, column] = near
                        triangle[row, column] = t
                        barycentric[row, column, 0] = w0
                        barycentric[row, column, 1] = w2 if flipped else w1
                        barycentric[row, column, 2] = w1 if flipped else w2
                e0 -= dy0 * _SUBPIXEL
                e1 -= dy1 * _SUBPIXEL
                e2 -= dy2 * _SUBPIXEL


def rasterise(
    points_px: Float,
    triangles: Index,
    height_px: int,
    width_px: int,
    *,
    back_faces: bool = True,
) -> Raster:
    """Find the nearest triangle at each pixel.

    Pixel (row r, column c) is sampled at x = c, y = r (OpenCV's convention). Positions are snapped
    to 1/256 px, coverage is exact integer arithmetic with the top-left rule, so two triangles that
    share an edge cover each pixel on it exactly once; equal depths go to the earlier triangle.

    Args:
        points_px: (V, 3) float32: x to the right, y down, z towards the camera (larger = nearer).
        triangles: (F, 3) int32 vertex indices.
        height_px: H ≥ 1.
        width_px: W ≥ 1.
        back_faces: also draw triangles that run anticlockwise on the screen.

    Raises:
        Invalid: ``RASTER_INPUT`` for a wrong shape, an index without vertex, a position that is
            not finite or more than 2²⁰ px away.

    Source: Pineda, A parallel algorithm for polygon rasterization (SIGGRAPH 1988), §3; the
        top-left rule of the common graphics interfaces.
    """
    if points_px.ndim != 2 or points_px.shape[1] != 3 or triangles.ndim != 2:
        raise Invalid("RASTER_INPUT", "points must be (V, 3) and triangles (F, 3)")
    if height_px < 1 or width_px < 1:
        raise Invalid("RASTER_INPUT", f"the image size {width_px}×{height_px} px is empty")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(points_px):
        raise Invalid("RASTER_INPUT", f"a triangle names a vertex outside 0..{len(points_px) - 1}")
    if points_px.size and not np.abs(points_px).max() < _REACH_PX:  # NaN fails as well
        raise Invalid("RASTER_INPUT", "a point is not finite or too far outside the image")
    snapped = np.rint(points_px[:, :2].astype(np.float64) * _SUBPIXEL).astype(np.int64)
    triangle = np.full((height_px, width_px), -1, np.int32)
    barycentric = np.zeros((height_px, width_px, 3), np.float32)
    depth = np.full((height_px, width_px), -np.inf, np.float32)
    _fill(
        np.ascontiguousarray(snapped[:, 0]),
        np.ascontiguousarray(snapped[:, 1]),
        np.ascontiguousarray(points_px[:, 2], dtype=np.float32),
        np.ascontiguousarray(triangles, dtype=np.int32),
        back_faces,
        triangle,
        barycentric,
        depth,
    )
    return Raster(triangle, barycentric, depth)
