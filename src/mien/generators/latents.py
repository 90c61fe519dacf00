"""Noise by name: the same face for the same generator, seed and identity, in any process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.core.arrays import Float
from mien.core.digest import seed_of


def latent(parts: Sequence[object], size: int) -> Float:
    """Draw a standard normal vector (size,) float32 from a name.

    Args:
        parts: what names it: generator digest, seed, identity, …
        size: of the vector.
    """
    rng = np.random.Generator(np.random.Philox(seed_of(*parts)))
    drawn: Float = rng.standard_normal(size, dtype=np.float32)
    return drawn


def latents(names: Sequence[Sequence[object]], size: int) -> Float:
    """Draw a vector for every name: (N, size) float32."""
    return np.stack([latent(parts, size) for parts in names])
