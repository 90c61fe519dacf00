"""From vertices, colours and a scene to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.core.arrays import Double, Float, UInt8
from mien.core.errors import Invalid
from mien.core.face import Point
from mien.morphable.head import HeadModel
from mien.morphable.rasterise import Index, rasterise
from mien.morphable.scene import Scene
from mien.morphable.shade import light_pixels, paint_background, vertex_normals

_LEFT_EYE = (36, 39)  # image left; the corners hardly move with expression
_RIGHT_EYE = (42, 45)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture of a head.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        landmarks: 68 points in pixels, OpenCV's convention (integers are pixel centres).
        mask: (S, S) float32, share of each pixel that the head covers.
    """

    image: UInt8
    landmarks: tuple[Point, ...]
    mask: Float


def rotation(scene: Scene) -> Double:
    """Return the (3, 3) rotation of the scene: roll · pitch · yaw, applied to column vectors."""
    yaw, pitch, roll = np.deg2rad((scene.yaw_deg, scene.pitch_deg, scene.roll_deg))
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    turned: Double = np.array(about_z) @ np.array(about_x) @ np.array(about_y)
    return turned


def project(head: HeadModel, vertices: Float, scene: Scene, size_px: int) -> Float:
    """Place the head in the picture.

    The head turns about a point one eye distance behind its eyes; unturned, its eye centres lie
    ``eye_distance`` apart at ``eye_line``, whatever the identity.

    Returns:
        (V, 3) float32: x right and y down in pixels, z in pixels towards the camera.
    """
    corners = vertices[head.landmarks68[[*_LEFT_EYE, *_RIGHT_EYE]]].astype(np.float64)
    left, right = corners[:2].mean(axis=0), corners[2:].mean(axis=0)
    apart = float(np.linalg.norm(right - left))
    eyes = (left + right) / 2
    pivot = eyes - np.array([0.0, 0.0, apart])
    turned = ((vertices - pivot) @ rotation(scene).T.astype(np.float32)) / np.float32(apart)
    if scene.camera_distance:
        # Sizes hold in the plane of the eyes, one unit in front of the pivot.
        turned[:, :2] *= scene.camera_distance / (scene.camera_distance + 1.0 - turned[:, 2:3])
    scale = scene.eye_distance * size_px
    placed = np.empty(turned.shape, np.float32)
    placed[:, 0] = (0.5 + scene.shift[0]) * size_px - 0.5 + scale * turned[:, 0]
    placed[:, 1] = (scene.eye_line + scene.shift[1]) * size_px - 0.5 - scale * turned[:, 1]
    placed[:, 2] = scale * turned[:, 2]
    return placed


def render(
    head: HeadModel, vertices: Float, colours: Float, scene: Scene, size_px: int
) -> Rendered:
    """Draw a head.

    Args:
        head: gives triangles, landmarks and gloss; its shapes are not read.
        vertices: (V, 3) float32 in the head's units.
        colours: (V, 3) float32 albedo in [0, 1] (sRGB); triangles at a NaN colour are not drawn.
        scene: pose, light, background, camera.
        size_px: side S of the picture, ≥ 8.

    Raises:
        Invalid: ``RENDER_INPUT`` for wrong shapes or a size below 8 px.
    """
    count = len(head.gloss)
    if vertices.shape != (count, 3) or colours.shape != (count, 3) or size_px < 8:
        raise Invalid(
            "RENDER_INPUT",
            f"vertices {vertices.shape} and colours {colours.shape} must be ({count}, 3), "
            f"the size {size_px} px at least 8",
        )
    placed = project(head, vertices, scene, size_px)
    premultiplied, mask = _draw(head, placed, colours, scene, size_px)
    picture = premultiplied + (1.0 - mask[:, :, None]) * paint_background(scene.background, size_px)
    points = placed[head.landmarks68, :2].tolist()
    return Rendered(
        image=_expose(picture.astype(np.float32), scene),
        landmarks=tuple((float(x), float(y)) for x, y in points),
        mask=mask,
    )


def _draw(
    head: HeadModel, placed: Float, colours: Float, scene: Scene, size_px: int
) -> tuple[Float, Float]:
    """Return the (S, S, 3) head on black and its (S, S) coverage."""
    factor = scene.supersample
    side = size_px * factor
    fine = placed * np.float32(factor)
    fine[:, :2] += np.float32(0.5 * (factor - 1))  # pixel centres, not corners, are the integers
    triangles = _drawn(head.triangles, colours)
    raster = rasterise(fine, triangles, side, side)
    facing = fine * np.array([1, -1, 1], np.float32)
    normals = vertex_normals(facing, triangles)
    lit = light_pixels(raster, triangles, normals, colours, head.gloss, scene)
    mask = (raster.triangle >= 0).astype(np.float32)
    if factor > 1:
        lit = cv2.resize(lit, (size_px, size_px), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return lit, mask


def _drawn(triangles: Index, colours: Float) -> Index:
    hidden = np.isnan(colours[:, 0])
    if not hidden.any():
        return triangles
    shown = ~hidden
    all_shown = shown[triangles[:, 0]] & shown[triangles[:, 1]] & shown[triangles[:, 2]]
    kept: Index = triangles[all_shown]
    return kept


def _expose(picture: Float, scene: Scene) -> UInt8:
    if scene.blur_px > 0.0:
        picture = cv2.GaussianBlur(picture, (0, 0), scene.blur_px)
    grey = picture * np.float32(255.0)
    if scene.noise > 0.0:
        rng = np.random.default_rng(scene.seed)
        grey = grey + np.float32(scene.noise) * rng.standard_normal(grey.shape, dtype=np.float32)
    image: UInt8 = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return image
