"""Normals, light and background: the colour of each pixel once its triangle is known."""

from __future__ import annotations

import cv2
import numba
import numpy as np

from mien.core.arrays import Bool, Float
from mien.morphable.rasterise import Index, Raster
from mien.morphable.scene import Background, Light, Scene


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _sum_normals(vertices: Float, triangles: Index, normals: Float) -> None:
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for k in range(normals.shape[0]):
        length = np.sqrt(normals[k, 0] ** 2 + normals[k, 1] ** 2 + normals[k, 2] ** 2)
        if length > 1e-20:
            normals[k, 0] /= length
            normals[k, 1] /= length
            normals[k, 2] /= length


def vertex_normals(vertices: Float, triangles: Index) -> Float:
    """Return (V, 3) float32 unit normals, triangles weighted by area; 0 for a lonely vertex."""
    normals = np.zeros(vertices.shape, np.float32)
    _sum_normals(np.ascontiguousarray(vertices, np.float32), triangles, normals)
    return normals


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _light_pixels(
    triangle: Index,
    barycentric: Float,
    triangles: Index,
    normals: Float,
    albedo: Float,
    gloss: Float,
    lights: Float,
    occlusion: Float,
    ambient: float,
    wrap: float,
    highlight: float,
    out: Float,
) -> None:
    height, width = triangle.shape
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            nx, ny, nz, shine = 0.0, 0.0, 0.0, 0.0
            red, green, blue = 0.0, 0.0, 0.0
            for corner in range(3):
                weight = barycentric[row, column, corner]
                v = triangles[t, corner]
                nx += weight * normals[v, 0]
                ny += weight * normals[v, 1]
                nz += weight * normals[v, 2]
                red += weight * albedo[v, 0]
                green += weight * albedo[v, 1]
                blue += weight * albedo[v, 2]
                shine += weight * gloss[v]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            if nz < 0.0:  # the back of an open sheet is lit like its front
                length = -length
            nx, ny, nz = nx / length, ny / length, nz / length
            open_ = occlusion[row, column]
            sky = ambient * (0.8 + 0.2 * ny) * open_
            lr, lg, lb = sky, sky, sky
            mirror = 0.0
            for k in range(lights.shape[0]):
                dx, dy, dz = lights[k, 0], lights[k, 1], lights[k, 2]
                facing = (nx * dx + ny * dy + nz * dz + wrap) / (1.0 + wrap)
                if facing > 0.0:
                    facing *= 0.45 + 0.55 * open_
                    lr += facing * lights[k, 3]
                    lg += facing * lights[k, 4]
                    lb += facing * lights[k, 5]
                half = np.sqrt(dx * dx + dy * dy + (dz + 1.0) ** 2) + 1e-6
                along = (nx * dx + ny * dy + nz * (dz + 1.0)) / half
                if along > 0.0:
                    mirror += along ** (10.0 + 90.0 * shine * shine) * shine * lights[k, 4]
            mirror *= highlight * open_
            out[row, column, 0] = red * lr + mirror
            out[row, column, 1] = green * lg + mirror
            out[row, column, 2] = blue * lb + mirror


def light_pixels(
    raster: Raster, triangles: Index, normals: Float, colours: Float, gloss: Float, scene: Scene
) -> Float:
    """Return the (H, W, 3) float32 sRGB colour of every covered pixel, 0 elsewhere.

    Light adds up in linear light; sRGB's curve is taken as a square, which is within 3 % of it.

    Source: diffuse light with wrap after Green, GPU Gems (2004), ch. 16; highlight after Blinn
        (SIGGRAPH 1977); hollows after Luft, Colditz, Deussen, Image enhancement by unsharp
        masking the depth buffer (SIGGRAPH 2006), one-sided here.
    """
    out = np.zeros((*raster.triangle.shape, 3), np.float32)
    _light_pixels(
        raster.triangle,
        raster.barycentric,
        triangles,
        normals,
        np.square(colours, dtype=np.float32),
        np.asarray(gloss, np.float32),
        np.stack([_row(scene.key), _row(scene.fill)]),
        _openness(raster, scene.occlusion),
        scene.ambient,
        scene.wrap,
        scene.highlight,
        out,
    )
    return np.sqrt(_shoulder(out), out=out)


def _shoulder(light: Float) -> Float:
    """Bend what is brighter than the knee below 1, as film and cameras do."""
    knee, room = np.float32(0.6), np.float32(0.4)
    bright = light > knee
    light[bright] = knee + room * (np.float32(1.0) - np.exp((knee - light[bright]) / room))
    return light


def _row(light: Light) -> Float:
    return np.array(
        [*light.direction(), *(light.strength * c for c in light.colour)], dtype=np.float32
    )


def _openness(raster: Raster, strength: float) -> Float:
    """Return (H, W) in (0, 1]: 1 on open surfaces, less where the surroundings stand in front."""
    covered: Bool = raster.triangle >= 0
    if strength == 0.0 or not covered.any():
        return np.ones(raster.depth.shape, np.float32)
    side = max(raster.depth.shape)
    mask = covered.astype(np.float32)
    depth = np.where(covered, raster.depth, np.float32(0))
    hollow = np.zeros(depth.shape, np.float32)
    for reach, gain in ((0.02, 20.0), (0.07, 6.0)):
        kernel = 2 * max(1, round(reach * side)) + 1
        around = cv2.blur(depth, (kernel, kernel))
        around /= np.maximum(cv2.blur(mask, (kernel, kernel)), 1e-6)
        hollow += gain * np.maximum((around - depth) / side, 0.0)
    return np.exp(-strength * np.minimum(hollow, 2.5)).astype(np.float32)


def paint_background(background: Background, size_px: int) -> Float:
    """Return the (S, S, 3) float32 background in [0, 1]."""
    first = np.asarray(background.colour, np.float32)
    second = np.asarray(background.second, np.float32)
    if background.kind == "colour":
        return np.broadcast_to(first, (size_px, size_px, 3))
    if background.kind == "gradient":
        share = np.linspace(0.0, 1.0, size_px, dtype=np.float32)[:, None, None]
        return np.broadcast_to(first + share * (second - first), (size_px, size_px, 3))
    rng = np.random.default_rng(background.seed)
    share = np.zeros((size_px, size_px), np.float32)
    for cells, weight in ((3, 0.6), (7, 0.3), (17, 0.1)):
        coarse = rng.uniform(0.0, 1.0, (cells, cells)).astype(np.float32)
        share += weight * cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    share = np.clip(1.6 * share - 0.3, 0.0, 1.0)[:, :, None]
    painted: Float = first + share * (second - first)
    return painted
