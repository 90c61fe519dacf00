"""Look at a generator in training: a sheet on a fixed grid of noise, and figures for the stop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mien.core.arrays import Int, UInt8
from mien.generators.latents import latents
from mien.generators.noise_spec import NoiseSpec
from mien.generators.trained import Score
from mien.training.device import Placement
from mien.training.tensors import to_images

SHEET_ROWS = 10
UNCONDITIONAL_COLUMNS = 7
SCORED = 700  # faces that figures are taken of
_AT_A_TIME = 100


def draw(network: nn.Module, z: Tensor, labels: Tensor | None, placement: Placement) -> UInt8:
    """Draw faces (N, S, S[, 3]) uint8 of noise (N, Z) and labels (N,), a part at a time."""
    parts = []
    with torch.inference_mode(), placement.autocast():
        for start in range(0, len(z), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            y = None if labels is None else labels[part].to(placement.device)
            parts.append(to_images(network(z[part].to(placement.device), y)).cpu().numpy())
    return np.concatenate(parts)


def sheet_of(network: nn.Module, spec: NoiseSpec, placement: Placement) -> UInt8:
    """Draw the fixed sheet (R, K, S, S[, 3]): a row has one noise, a column one class."""
    columns = spec.classes or UNCONDITIONAL_COLUMNS
    names = [
        ("sheet", row, 0 if spec.classes else column)
        for row in range(SHEET_ROWS)
        for column in range(columns)
    ]
    z = torch.from_numpy(latents(names, spec.z_dim))
    labels = torch.arange(columns).repeat(SHEET_ROWS) if spec.classes else None
    faces = draw(network, z, labels, placement)
    return faces.reshape(SHEET_ROWS, columns, *faces.shape[1:])


def figures_of(
    network: nn.Module, spec: NoiseSpec, placement: Placement, score: Score
) -> dict[str, float]:
    """Ask for the figures of a fixed sample, every class equally often."""
    z = torch.from_numpy(latents([("score", i) for i in range(SCORED)], spec.z_dim))
    intended: Int = np.full(SCORED, -1, np.int64)
    labels = None
    if spec.classes:
        intended = np.arange(SCORED, dtype=np.int64) % spec.classes
        labels = torch.from_numpy(intended)
    return dict(score(draw(network, z, labels, placement), intended))
