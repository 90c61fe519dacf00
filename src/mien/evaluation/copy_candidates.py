"""Which training faces might a picture be a copy of: a coarse search over crops and mirrors.

Every training face is described as it would look cropped and mirrored in a fixed set of ways;
a picture's best matches are candidates, which ``copy_check`` then compares in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mien.core.arrays import Double, Float, Int, UInt8
from mien.core.errors import Invalid

_GRID = 16  # pictures are averaged to this side
_DIMS = 96  # principal components kept
_QUERIES, _SOURCES = 512, 1024  # a tile of scores stays in the processor's cache
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
# (side of the crop, positions a direction): crops down to four fifths, nowhere farther from one
# of these than 2.5 % of the side.
_CROPS = ((1.0, 1), (0.95, 2), (0.9, 3), (0.85, 4), (0.8, 5))


@dataclass(frozen=True, slots=True)
class View:
    """A part of a training face, as shares of its side.

    Attributes:
        side: of the square crop, in (0, 1].
        left: of the crop.
        top: of the crop.
        mirrored: the face is mirrored before it is cropped.
    """

    side: float
    left: float
    top: float
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best matches of Q pictures, best first.

    Attributes:
        sources: (Q, k) int64 rows of the training faces, -1 where there are fewer.
        views: (Q, k) int64 indices of ``VIEWS``.
        scores: (Q, k) float32 cosine of the descriptors, in [-1, 1]; -2 where there are fewer.
    """

    sources: Int
    views: Int
    scores: Float


def _views() -> tuple[View, ...]:
    found = []
    for side, positions in _CROPS:
        places = np.linspace(0.0, 1.0 - side, positions) if positions > 1 else [(1.0 - side) / 2]
        found += [
            View(side, float(x), float(y), mirrored)
            for x in places
            for y in places
            for mirrored in (False, True)
        ]
    return tuple(found)


VIEWS = _views()


def copy_candidates(pictures: UInt8, training: UInt8, *, keep: int = 4) -> Candidates:
    """Find the training faces that each picture resembles most in any of ``VIEWS``.

    Args:
        pictures: (Q, H, W) or (Q, H, W, 3) uint8.
        training: (N, H, W[, 3]) uint8.
        keep: matches kept for a picture, each of another training face.

    Raises:
        Invalid: ``IMAGE_SHAPES``; ``EMPTY_BASE`` without a training face.
    """
    for images in (pictures, training):
        check_pictures(images)
    if not len(training):
        raise Invalid("EMPTY_BASE", "there is no training face to compare with")
    mean, basis = _basis(_described(training, VIEWS[0]))
    asked = _placed(_described(pictures, VIEWS[0]), mean, basis)
    found = Candidates(
        np.full((len(asked), keep), -1, dtype=np.int64),
        np.zeros((len(asked), keep), dtype=np.int64),
        np.full((len(asked), keep), -2.0, dtype=np.float32),
    )
    for index, view in enumerate(VIEWS):
        seen = _placed(_described(training, view), mean, basis)
        for start in range(0, len(asked), _QUERIES):
            rows = np.arange(start, min(start + _QUERIES, len(asked)))
            for first in range(0, len(seen), _SOURCES):
                scores = asked[rows] @ seen[first : first + _SOURCES].T
                best = scores.argmax(axis=1)
                _offer(found, rows, best + first, index, scores[np.arange(len(rows)), best])
    order = np.argsort(-found.scores, axis=1, kind="stable")
    return Candidates(
        np.take_along_axis(found.sources, order, 1),
        np.take_along_axis(found.views, order, 1),
        np.take_along_axis(found.scores, order, 1),
    )


def _offer(found: Candidates, rows: Int, sources: Int, view: int, scores: Float) -> None:
    """Put a match of each row into its list: over the same face's, else over the weakest."""
    known = found.sources[rows] == sources[:, None]
    weakest = found.scores[rows].argmin(axis=1)
    place = np.where(known.any(axis=1), known.argmax(axis=1), weakest)
    better = scores > found.scores[rows, place]
    row, place = rows[better], place[better]
    found.sources[row, place] = sources[better]
    found.views[row, place] = view
    found.scores[row, place] = scores[better]


def _described(images: UInt8, view: View) -> Float:
    """Average the view's part to 16 × 16 gray, without its mean and contrast: (N, 256)."""
    height, width = images.shape[1:3]
    rows = _averaging(view.top, view.side, height)
    left = 1.0 - view.left - view.side if view.mirrored else view.left
    columns = _averaging(left, view.side, width)
    columns = columns[::-1] if view.mirrored else columns
    found = np.empty((len(images), _GRID * _GRID), dtype=np.float32)
    for start in range(0, len(images), _SOURCES):
        part = rows @ gray(images[start : start + _SOURCES]) @ columns.T
        found[start : start + _SOURCES] = part.reshape(len(part), -1)
    contrast: Float = (found - found.mean(axis=1, keepdims=True)).astype(np.float32)
    return _unit(contrast)


def _basis(described: Float) -> tuple[Float, Float]:
    """Mean and principal components (256, ≤ 96), strong ones damped by the root of their spread.

    Damped, because what all faces vary in most (light, hair) tells copies apart least.
    """
    mean = described.mean(axis=0)
    centred = described - mean
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    order = np.argsort(-values)[: min(_DIMS, len(described))]
    strength = np.maximum(values[order], values[order[0]] * 1e-8 + 1e-12) ** 0.25
    return mean, (vectors[:, order] / strength * strength[0]).astype(np.float32)


def _placed(described: Float, mean: Float, basis: Float) -> Float:
    placed: Float = ((described - mean) @ basis).astype(np.float32)
    return _unit(placed)


def _unit(rows: Float) -> Float:
    """Scale rows to length one; a row without structure becomes zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float = np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0).astype(np.float32)
    return scaled


@cache
def _averaging(start: float, share: float, side: int) -> Float:
    """Average the part [start, start + share] of a side to 16 cells: (16, side)."""
    edges = (start + share * np.linspace(0.0, 1.0, _GRID + 1)) * side
    lower, upper = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)[None, :]
    overlap: Double = np.clip(np.minimum(upper, pixel + 1) - np.maximum(lower, pixel), 0, None)
    return (overlap / (share * side / _GRID)).astype(np.float32)


def gray(images: UInt8) -> Float:
    """Brightness of pictures (N, H, W[, 3]): (N, H, W) float32 in gray levels."""
    found: Float = images.astype(np.float32) if images.ndim == 3 else images @ _LUMA
    return found


def check_pictures(images: UInt8) -> None:
    """Refuse what is no stack of pictures.

    Raises:
        Invalid: ``IMAGE_SHAPES``.
    """
    colour = images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (colour or images.ndim == 3):
        raise Invalid(
            "IMAGE_SHAPES",
            f"pictures are (N, H, W) or (N, H, W, 3) uint8, not {images.shape} {images.dtype}",
        )
