"""Deform the fitted head in its photo, and find how its light changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Float
from mien.generators.affect_photo import Photo, curvature, posed_normals
from mien.generators.affect_surface import Surface
from mien.morphable import landmarks as order

_RATIO = (0.6, 1.10)  # a shading ratio beyond is no shading
_SUNK = 0.05  # how far eyeballs are set back, in eye distances
_TOOTH = 0.13  # height of a tooth that a raised lip shows, in eye distances
_FOLD = 0.55  # how dark a new hollow becomes


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A deformed head in the picture.

    Attributes:
        points: (V, 3) float32 pixels: x right, y down, z to the camera.
        ratio: (V,) float32, luminance after over before.
        normals: (V, 3) float32 in camera axes, unit.
    """

    points: Float
    ratio: Float
    normals: Float


def deform(surface: Surface, photo: Photo, offsets: Float, turn: Double) -> Pose:
    """Move the fitted head.

    Args:
        surface: the head.
        photo: the prepared photo.
        offsets: (V, 3) float32 displacements in the head's units.
        turn: (3, 3) a small rotation of the whole head about its middle.

    Source: the ratio of shadings before and after is the expression ratio image of Liu, Shan,
        Zhang, Expressive expression mapping with ratio images (SIGGRAPH 2001), §2; we compute it
        from fitted normals instead of a second person's photos, and darken new hollows.
    """
    held = offsets.copy()
    held[:, 1] *= photo.lid_travel
    held[:, 1] -= surface.jaw * np.maximum(offsets[:, 1], 0.0)  # the chin's bone cannot rise
    held[:, 1] += surface.upper_teeth * _gums_hidden(surface, photo, offsets)
    vertices = photo.vertices + held
    pivot = photo.vertices.mean(axis=0)
    turned = (vertices - pivot) @ turn.T.astype(np.float32) + pivot
    points = photo.fit.project(turned)
    normals = posed_normals(points, photo.correction, surface.head.triangles)
    points[:, :2] += photo.correction
    # Lids that close further than the model's own would let the eyeball through.
    points[surface.eyes, 2] -= np.float32(_SUNK * photo.apart)
    before = _luminance(photo.light, photo.normals)
    after = _luminance(photo.light, normals)
    rotation = photo.fit.rotation @ turn
    hollow = curvature(surface, vertices, normals, rotation) - photo.curvature
    hollow = surface.smoothing @ hollow
    ratio = after / before * np.exp(-_FOLD * np.clip(hollow, -0.15, 0.6))
    ratio = surface.smoothing @ (surface.smoothing @ ratio.astype(np.float32))
    return Pose(points, np.clip(ratio, *_RATIO).astype(np.float32), normals)


def _gums_hidden(surface: Surface, photo: Photo, offsets: Float) -> float:
    """Return how far the upper teeth follow a lip raised above a tooth's height.

    The model's lip goes higher than a lip does; more than its gums must not show for that.
    """
    lip, nose = surface.head.landmarks68[62], surface.head.landmarks68[27]
    apart = order.inter_ocular(photo.vertices[surface.head.landmarks68, :2].astype(np.float64))
    lift = float(offsets[lip, 1] - offsets[nose, 1])
    return max(lift - _TOOTH * apart, 0.0)


def _luminance(light: Float, normals: Float) -> Float:
    value = light[0] + normals @ light[1:]
    floor: Float = np.maximum(value, 0.25 * max(float(light[0] + light[3]), 1.0))
    return floor
