"""The only conversions between images at rest (uint8) and inside networks ([-1, 1])."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Float, UInt8


def to_float(images: UInt8) -> Float:
    """Map 0..255 to [-1, 1]: x / 127.5 - 1, float32, same shape."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def to_uint8(images: Float) -> UInt8:
    """Map [-1, 1] to 0..255, rounded to nearest, clipped; the inverse of ``to_float``."""
    scaled: UInt8 = np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)
    return scaled
