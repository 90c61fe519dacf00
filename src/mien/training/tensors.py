"""Images at rest and inside networks: uint8 against float, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_network(images: Tensor) -> Tensor:
    """Turn uint8 0..255 into float32 in [-1, 1]: x / 127.5 - 1, same shape."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def planes(images: Tensor) -> Tensor:
    """View (N, S, S[, 3]) as (N, C, S, S)."""
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)


def to_images(faces: Tensor) -> Tensor:
    """Turn floats (N, C, S, S), clipped to [-1, 1], into uint8 (N, S, S[, 3]), rounded."""
    levels = faces.detach().float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round_().to(torch.uint8)
    return levels.squeeze(1) if levels.shape[1] == 1 else levels.permute(0, 2, 3, 1)
