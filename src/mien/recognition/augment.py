"""Geometric augmentation of a batch: one random affine map and reflection an image.

The maps are drawn in NumPy from a seed, so they are the same on every device; only the resampling
differs: OpenCV on the processor (a tenth of the time of torch's there), ``grid_sample`` on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.core.arrays import Double, UInt8


@dataclass(frozen=True, slots=True)
class Geometry:
    """How far faces are moved; every draw is uniform over the range.

    Attributes:
        reflection: probability of a left–right reflection.
        translation: ± fraction of the side, each axis.
        rotation_deg: ± degrees.
        scale: ± fraction; above zero enlarges, which crops, below zero shrinks.
        crop: fraction of each side that may be cut off and stretched back, each axis apart.
    """

    reflection: float = 0.5
    translation: float = 0.06
    rotation_deg: float = 12.0
    scale: float = 0.10
    crop: float = 0.08


PLAIN = Geometry(0.0, 0.0, 0.0, 0.0, 0.0)
GEOMETRIC = Geometry()


def draw_maps(geometry: Geometry, count: int, size_px: int, seed: int) -> Double:
    """Draw affine maps from output to input pixels.

    Args:
        geometry: ranges.
        count: number of images N.
        size_px: side of the images.
        seed: of the draws.

    Returns:
        (N, 2, 3) float64: input (x, y) = M · (x, y, 1), pixel centres at integers.
    """
    draw = np.random.default_rng(seed).uniform(-1.0, 1.0, (count, 9))
    angle = np.deg2rad(geometry.rotation_deg) * draw[:, 0]
    scale = 1.0 / (1.0 + geometry.scale * draw[:, 1])
    shift = geometry.translation * size_px * draw[:, 2:4]
    kept = 1.0 - geometry.crop * (draw[:, 4:6] + 1.0) / 2.0
    corner = (1.0 - kept) * size_px / 2.0 * draw[:, 6:8]
    mirror = np.where(draw[:, 8] < 2.0 * geometry.reflection - 1.0, -1.0, 1.0)
    maps = np.empty((count, 2, 3))
    maps[:, 0, 0] = np.cos(angle) * scale * kept[:, 0] * mirror
    maps[:, 0, 1] = -np.sin(angle) * scale * kept[:, 0]
    maps[:, 1, 0] = np.sin(angle) * scale * kept[:, 1] * mirror
    maps[:, 1, 1] = np.cos(angle) * scale * kept[:, 1]
    centre = (size_px - 1) / 2.0
    maps[:, :, 2] = centre + shift + corner - maps[:, :, :2].sum(2) * centre
    return maps


def warp(images: UInt8, maps: Double) -> UInt8:
    """Resample images (N, H, W[, 3]) by their maps (N, 2, 3), bilinear, edges reflected."""
    warped = np.empty_like(images)
    size = (images.shape[2], images.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for source, target, matrix in zip(images, warped, maps, strict=True):
        cv2.warpAffine(
            source, matrix, size, dst=target, flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
    return warped


def warp_on_device(faces: Tensor, maps: Double) -> Tensor:
    """Resample faces (N, C, S, S) float on their own device, as ``warp`` does on the processor."""
    size = faces.shape[-1]
    scaled = maps.copy()
    # grid_sample counts from -1 to 1 between the outer pixel centres: p = centre · (g + 1).
    centre = (size - 1) / 2.0
    scaled[:, :, 2] = (maps[:, :, :2].sum(2) * centre + maps[:, :, 2]) / centre - 1.0
    theta = torch.from_numpy(scaled).to(faces.device, faces.dtype)
    grid = functional.affine_grid(theta, list(faces.shape), align_corners=True)
    return functional.grid_sample(
        faces, grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )
