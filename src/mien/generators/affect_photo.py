"""Prepare a neutral photo once: fit, exact texture positions, light, and eyes without lids."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.core.arrays import Double, Float, UInt8
from mien.core.errors import Invalid
from mien.generators.affect_eyes import close_eyes, open_eyes
from mien.generators.affect_folds import Folds, find_folds
from mien.generators.affect_surface import Surface, eye_openings
from mien.morphable import landmarks as order
from mien.morphable.fitting import Fit, fit
from mien.morphable.rasterise import rasterise
from mien.morphable.shade import vertex_normals

_TRAVEL = (0.4, 1.0)  # of lids, against the mean head's


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo that a head is fitted to, at working size.

    Attributes:
        image: (H, W, 3) float32 RGB, 0..255.
        lids: the same, with eyes and lashes replaced by lid.
        eyes: the same, with the eyelids replaced by more eyeball.
        fit: camera and identity in pixels of ``image``.
        vertices: (V, 3) float32, the fitted neutral head in its own units.
        correction: (V, 2) float32 pixels, from the projected to the photo's landmarks.
        texture: (V, 2) float32, where in the photo each vertex is.
        lid_travel: (V,) float32, factor on vertical moves: lids of narrow eyes have less way.
        light: (4,) float32, luminance = light · (1, normal).
        normals: (V, 3) float32 in camera axes, unit, of the neutral head.
        curvature: (V,) float32, of the neutral head; positive in hollows.
        folds: where wrinkles appear.
        white: (3,) float32, how the photo shows an even white surface, 0..255.
        apart: distance of the eyes in pixels.
    """

    image: Float
    lids: Float
    eyes: Float
    fit: Fit
    vertices: Float
    correction: Float
    texture: Float
    lid_travel: Float
    light: Float
    normals: Float
    curvature: Float
    folds: Folds
    white: Float
    apart: float


def prepare(surface: Surface, image: UInt8, landmarks68: Double, known: Fit | None = None) -> Photo:
    """Fit the head to a photo and read from it what deforming needs.

    Args:
        surface: the head.
        image: (H, W, 3) uint8 RGB.
        landmarks68: (68, 2) pixels.
        known: the fit where it is known, for invented faces.

    Raises:
        Invalid: ``LANDMARKS_OUTSIDE`` when brows, eyes, nose or mouth are not in the photo.
    """
    height, width = image.shape[:2]
    size = np.array([width, height])
    features = landmarks68[order.JAW.stop :]  # a tight crop may cut the jaw, not these
    within = int(((features >= 0) & (features < size)).all(axis=1).sum())
    near = ((landmarks68 > -size) & (landmarks68 < 2 * size)).all()
    if within < 0.9 * len(features) or not near:
        raise Invalid(
            "LANDMARKS_OUTSIDE",
            f"only {within} of 51 landmarks of brows, eyes, nose and mouth lie in the photo of "
            f"{width}×{height} px{'' if near else ', and some lie far from it'}",
            hint="landmarks count in pixels of the photo they come with",
        )
    head = surface.head
    placed = known or fit(head, landmarks68)
    vertices = head.shape(placed.identity)
    projected = placed.project(vertices)
    gap = landmarks68 - projected[head.landmarks68, :2]
    gap[order.JAW] = _across(landmarks68[order.JAW], gap[order.JAW])
    correction = surface.influence @ gap.astype(np.float32)
    texture = projected[:, :2] + correction
    normals = posed_normals(projected, correction, head.triangles)
    picture = image.astype(np.float32)
    apart = order.inter_ocular(landmarks68)
    eyes, white = open_eyes(picture, landmarks68, apart)
    lids = close_eyes(picture, landmarks68, apart)
    return Photo(
        image=picture,
        lids=lids,
        eyes=eyes,
        fit=placed,
        vertices=vertices,
        correction=correction,
        texture=texture.astype(np.float32),
        lid_travel=_lid_travel(surface, landmarks68),
        light=_light(picture, surface, projected, texture, normals),
        normals=normals,
        curvature=curvature(surface, vertices, normals, placed.rotation),
        folds=find_folds(picture, texture[head.landmarks68].astype(np.float64)),
        white=white,
        apart=apart,
    )


def posed_normals(projected: Float, correction: Float, triangles: np.ndarray) -> Float:
    """Return unit normals in camera axes (y up) of a head placed in the picture."""
    upright = projected.copy()
    upright[:, :2] += correction
    upright[:, 1] *= -1.0
    return vertex_normals(upright, triangles)


def curvature(surface: Surface, vertices: Float, normals: Float, rotation: Double) -> Float:
    """Return (V,) how far the neighbours' mean lies outside, in edge lengths: > 0 in hollows."""
    away = surface.smoothing @ vertices - vertices
    turned = away @ rotation.T.astype(np.float32)
    depth: Float = (turned * normals).sum(axis=1) / surface.neighbour_length
    return depth


def _lid_travel(surface: Surface, landmarks68: Double) -> Float:
    """Return (V,) how far lids move against the mean head's, by how open the eyes are."""
    ratio = np.clip(eye_openings(landmarks68) / surface.opening, *_TRAVEL).astype(np.float32)
    return np.asarray(1.0 + (ratio - 1.0) @ surface.lids, np.float32)


def _across(line: Double, gap: Double) -> Double:
    """Keep of the jaw's gaps only the part across the jaw: along it, points are arbitrary."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    kept: Double = gap - (gap * along).sum(axis=1, keepdims=True) * along
    return kept


def _light(
    picture: Float, surface: Surface, projected: Float, texture: Float, normals: Float
) -> Float:
    """Explain the luminance of visible skin by its normals: ambient and one distant light.

    Source: Ramamoorthi, Hanrahan, An efficient representation for irradiance environment maps
        (SIGGRAPH 2001), §2, first order only; outliers (brows, beard, highlights) are left out.
    """
    height, width = picture.shape[:2]
    skin = surface.skin
    points = np.concatenate([texture, projected[:, 2:]], axis=1).astype(np.float32)
    raster = rasterise(points, surface.triangles, height, width)
    column = np.clip(np.rint(texture[skin, 0]).astype(int), 0, width - 1)
    row = np.clip(np.rint(texture[skin, 1]).astype(int), 0, height - 1)
    near = projected[skin, 2] > raster.depth[row, column] - 0.02 * width
    seen = skin[near & (normals[skin, 2] > 0.25)]
    column = np.clip(np.rint(texture[seen, 0]).astype(int), 0, width - 1)
    row = np.clip(np.rint(texture[seen, 1]).astype(int), 0, height - 1)
    grey = cv2.GaussianBlur(picture.mean(axis=2), (0, 0), 0.006 * width)[row, column]
    terms = np.concatenate([np.ones((len(seen), 1)), normals[seen]], axis=1)
    keep = np.ones(len(seen), bool)
    found = np.zeros(4)
    for _ in range(3):
        found, *_ = np.linalg.lstsq(terms[keep], grey[keep], rcond=None)
        error = np.abs(terms @ found - grey)
        keep = error < 1.5 * np.median(error) + 1.0
    return found.astype(np.float32)
