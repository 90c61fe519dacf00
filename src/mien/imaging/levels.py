"""Bring 16-bit, integer and float pixels to 8 bits: scaled, never clipped."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import AnyArray, UInt8
from mien.core.errors import Invalid


def to_eight_bits(pixels: AnyArray, called: str) -> UInt8:
    """Scale pixels of any depth to uint8, rounding.

    uint16 says its range itself (65535 → 255). Wider integers and floats do not: the smallest of
    1 (floats only), 255 and 65535 that no pixel exceeds is taken as white.

    Args:
        pixels: of any shape; integer or float.
        called: the image, for messages.

    Raises:
        Invalid: ``BROKEN_IMAGE`` for NaN, infinite or negative pixels; ``UNSUPPORTED_FORMAT``
            for values beyond 65535, whose range nothing tells.
    """
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    values = pixels.astype(np.float64)
    lowest, highest = float(values.min()), float(values.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise Invalid(
            "BROKEN_IMAGE",
            f"{called} has pixels from {lowest:g} to {highest:g}",
            hint="save it with finite pixels: 8 or 16 bits, or floats in [0, 1]",
        )
    whites = (1.0, 255.0, 65535.0) if pixels.dtype.kind == "f" else (255.0, 65535.0)
    white = next((w for w in whites if highest <= w), None)
    if white is None:
        raise Invalid(
            "UNSUPPORTED_FORMAT",
            f"{called} has pixels up to {highest:g}: what white is cannot be told",
            hint="save it with 8 or 16 bits a channel",
        )
    return np.rint(values * (255.0 / white)).astype(np.uint8)


def over_gray(pixels: UInt8, alpha: UInt8) -> UInt8:
    """Composite on mid-grey (128), so that the mean brightness behind tells least.

    Args:
        pixels: (H, W) or (H, W, 3), not premultiplied.
        alpha: (H, W), 255 = opaque.
    """
    weight = alpha.astype(np.uint32)
    weight = weight[..., None] if pixels.ndim == 3 else weight
    mixed = pixels * weight + 128 * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)


def upright(pixels: UInt8, orientation: int) -> UInt8:
    """Undo an EXIF orientation (1 to 8; anything else means upright already); returns a copy.

    Source: EXIF 2.32 (CIPA DC-008), tag 274: where row 0 and column 0 of the stored picture lie.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.array(pixels, order="C")
