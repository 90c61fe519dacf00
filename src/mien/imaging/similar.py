"""Find pictures that are nearly the same: by perceptual hash, or by pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.core.arrays import Double, Float, Int, UInt8
from mien.core.errors import Invalid

Hashes = NDArray[np.uint64]
HASH_BITS = 64
_GRID = 32  # pictures are averaged to this side
_SIDE = 8  # and this many low frequencies a side are kept
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_BATCH = 1024


def perceptual_hashes(images: UInt8) -> Hashes:
    """Hash pictures so that nearly equal ones differ in few of 64 bits.

    Each is averaged to 32 × 32; of its cosine transform the 8 × 8 lowest frequencies are
    compared with their median. Rescaling, recompression and small changes of light turn few
    bits; a mirrored or turned picture is another one. A picture without structure hashes to 0.

    Args:
        images: (N, H, W) gray or (N, H, W, 3) RGB uint8.

    Returns:
        (N,) uint64.

    Source:
        Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
        section 3.2.1; here the median of the frequencies without the constant one is the
        threshold, and averaging replaces its mean filter.
    """
    _check(images)
    rows = _low_frequencies(images.shape[1])
    columns = _low_frequencies(images.shape[2])
    hashes = np.zeros(len(images), dtype=np.uint64)
    weights = np.uint64(1) << np.arange(HASH_BITS, dtype=np.uint64)
    for start in range(0, len(images), _BATCH):
        gray = _gray(images[start : start + _BATCH])
        found = (rows @ gray @ columns.T).reshape(len(gray), HASH_BITS)
        # Rounding noise of a flat picture must not look like structure.
        found[np.abs(found) < 1e-3 * _GRID] = 0
        found[:, 0] = 0  # the mean says nothing: its bit would always be set
        bits = found > np.median(found[:, 1:], axis=1, keepdims=True)
        hashes[start : start + _BATCH] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def hamming_nearest(queries: Hashes, base: Hashes, *, same: bool = False) -> tuple[Int, Int]:
    """Find each query's nearest hash in the base.

    Args:
        queries: (Q,) uint64.
        base: (B,) uint64, B ≥ 1 (≥ 2 with ``same``).
        same: the base is the queries themselves: a picture is not its own neighbour.

    Returns:
        Index into the base and distance in bits, each (Q,) int64; the first of equals.
    """
    _check_base(queries, base, same)
    nearest = np.empty(len(queries), dtype=np.int64)
    distance = np.empty(len(queries), dtype=np.int64)
    step = max(1, (1 << 22) // len(base))
    for start in range(0, len(queries), step):
        bits = np.bitwise_count(queries[start : start + step, None] ^ base[None, :])
        if same:
            own = np.arange(len(bits))
            bits[own, start + own] = HASH_BITS + 1
        best = bits.argmin(axis=1)
        nearest[start : start + step] = best
        distance[start : start + step] = bits[np.arange(len(bits)), best]
    return nearest, distance


def near_pairs(hashes: Hashes, *, max_bits: int) -> Int:
    """List all pairs of hashes at most ``max_bits`` apart: (P, 2) int64, i < j, sorted."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    step = max(1, (1 << 22) // max(1, len(hashes)))
    for start in range(0, len(hashes), step):
        bits = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:])
        first, second = np.nonzero(bits <= max_bits)
        keep = second > first
        pairs.append(np.stack([first[keep], second[keep]], axis=1) + start)
    return np.concatenate(pairs)


def pixel_nearest(queries: UInt8, base: UInt8, *, same: bool = False) -> tuple[Int, Float]:
    """Find each query's nearest picture in the base by root mean square of pixel differences.

    Candidates are found by a matrix product, a chunk at a time; the distance returned is then
    computed exactly, so that equal pictures are exactly 0 apart.

    Args:
        queries: (Q, …) uint8, all of one shape.
        base: (B, …) uint8 of that shape, B ≥ 1 (≥ 2 with ``same``).
        same: the base is the queries themselves: a picture is not its own neighbour.

    Returns:
        Index into the base (Q,) int64, and distance in gray levels, 0 to 255, (Q,) float32.
    """
    _check_base(queries, base, same)
    if queries.shape[1:] != base.shape[1:]:
        raise Invalid(
            "IMAGE_SHAPES",
            f"pictures differ: {queries.shape[1:]}, {base.shape[1:]}",
            hint="compare pictures of one size and colour, uint8",
        )
    flat = base.reshape(len(base), -1)
    nearest = np.empty(len(queries), dtype=np.int64)
    distance = np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), _BATCH):
        part = queries[start : start + _BATCH].reshape(-1, flat.shape[1])
        best = _closest(part, flat, start if same else None)
        gap = part.astype(np.float32) - flat[best].astype(np.float32)
        nearest[start : start + _BATCH] = best
        distance[start : start + _BATCH] = np.sqrt(np.mean(gap * gap, axis=1))
    return nearest, distance


def _closest(part: UInt8, flat: UInt8, own: int | None) -> Int:
    """Search the base in chunks; |a − b|² = |a|² − 2ab + |b|², of which |a|² does not matter."""
    centred = part.astype(np.float32) - 127.5  # smaller numbers lose less in float32
    best = np.zeros(len(part), dtype=np.int64)
    lowest = np.full(len(part), np.inf, dtype=np.float32)
    for start in range(0, len(flat), 4 * _BATCH):
        chunk = flat[start : start + 4 * _BATCH].astype(np.float32) - 127.5
        gap = np.einsum("bd,bd->b", chunk, chunk) - 2 * centred @ chunk.T
        if own is not None:
            rows = np.arange(len(part))
            inside = (rows + own >= start) & (rows + own < start + len(chunk))
            gap[rows[inside], rows[inside] + own - start] = np.inf
        here = gap.argmin(axis=1)
        values = gap[np.arange(len(part)), here]
        better = values < lowest
        best[better], lowest[better] = here[better] + start, values[better]
    return best


def _gray(images: UInt8) -> Float:
    gray: Float = images.astype(np.float32) if images.ndim == 3 else images @ _LUMA
    return gray


def _low_frequencies(side: int) -> Float:
    """Average a side to 32 pixels and take the lowest cosines of it, as one (8, side) matrix."""
    edges = np.linspace(0, side, _GRID + 1)
    lower, upper = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)[None, :]
    overlap: Double = np.clip(np.minimum(upper, pixel + 1) - np.maximum(lower, pixel), 0, None)
    average = overlap / (side / _GRID)
    angle = np.pi / _GRID * np.arange(_SIDE)[:, None] * (np.arange(_GRID)[None, :] + 0.5)
    return (np.cos(angle) @ average).astype(np.float32)


def _check(images: UInt8) -> None:
    colour = images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (colour or images.ndim == 3):
        raise Invalid(
            "IMAGE_SHAPES",
            f"pictures are (N, H, W) or (N, H, W, 3) uint8, not {images.shape} {images.dtype}",
            hint="compare pictures of one size and colour, uint8",
        )


def _check_base(queries: NDArray[np.generic], base: NDArray[np.generic], same: bool) -> None:
    if len(base) < (2 if same else 1) or (same and len(queries) != len(base)):
        raise Invalid(
            "EMPTY_BASE",
            f"{len(base)} pictures are too few to search",
            hint="give more pictures to search among",
        )
