"""Wrinkles that a head model is too coarse for: between the brows and on the forehead."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.core.arrays import Double, Float
from mien.morphable import landmarks as order

_WIDTH = 0.014  # of a fold, standard deviation in eye distances
_FROWN_DARK = 0.34  # of the folds between fully lowered brows
_FOREHEAD_DARK = 0.20
_FULL_FROWN = 0.06  # lowering plus drawing together of the inner brows, in eye distances
_FULL_RAISE = 0.10


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Where folds appear in a photo.

    Attributes:
        left: column of the maps' first pixel in the photo.
        top: row of it.
        frown: (h, w) float32, darkness of the folds between the brows, about −0.4..1.
        forehead: (h, w) float32, the same of those across the forehead.
    """

    left: int
    top: int
    frown: Float
    forehead: Float


def find_folds(image: Float, points: Double) -> Folds:
    """Lay the folds out over a photo's landmarks; none where hair covers the skin.

    Args:
        image: (H, W, 3) float32 RGB, 0..255.
        points: (68, 2) pixels.
    """
    apart = order.inter_ocular(points)
    brows = points[17:27]
    up = _up(points)
    reach = 0.62 * apart
    low = np.minimum(brows.min(axis=0), (brows + reach * up).min(axis=0)) - 0.1 * apart
    high = np.maximum(brows.max(axis=0), points[28]) + 0.1 * apart
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(low).astype(int), 0, (width - 2, height - 2))
    right, bottom = np.clip(np.ceil(high).astype(int), (left + 2, top + 2), (width, height))
    skin = _bare(image[top:bottom, left:right], points - (left, top), apart)
    shape = (int(bottom - top), int(right - left))
    frown = _draw(shape, _frown_lines(points - (left, top), up, apart), apart)
    forehead = _draw(shape, _forehead_lines(points - (left, top), up, apart), apart)
    return Folds(int(left), int(top), frown * skin, forehead * skin)


def fold_strengths(before: Double, after: Double) -> tuple[float, float]:
    """Return how deep frown and forehead folds are, 0..1, from where the landmarks went.

    Args:
        before: (68, 2) pixels, neutral.
        after: (68, 2) pixels.
    """
    apart = order.inter_ocular(before)
    up = _up(before)
    # Against the bridge of the nose, which only follows the head's own turn.
    moved = (after - before) - (after - before)[27:29].mean(axis=0)
    lift = (moved @ up) / apart
    together = np.linalg.norm(before[22] - before[21]) - np.linalg.norm(after[22] - after[21])
    frown = -0.5 * lift[[20, 21, 22, 23]].mean() + 0.5 * float(together) / apart
    raised = lift[[18, 19, 20, 21, 22, 23, 24, 25]].mean()
    return (
        float(np.clip(frown / _FULL_FROWN, 0.0, 1.0)),
        float(np.clip(raised / _FULL_RAISE, 0.0, 1.0)),
    )


def shade_folds(folds: Folds, frown: float, forehead: float, x: Float, y: Float) -> Float:
    """Return the factor on the photo at the given places of it: (H, W) float32, about 0.7..1.1."""
    if frown <= 0.0 and forehead <= 0.0:
        return np.ones(x.shape, np.float32)
    strength = _FROWN_DARK * frown * folds.frown + _FOREHEAD_DARK * forehead * folds.forehead
    found = cv2.remap(
        strength.astype(np.float32),
        x - np.float32(folds.left),
        y - np.float32(folds.top),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    shade: Float = 1.0 - found
    return shade


def _up(points: Double) -> Double:
    """Return the unit vector from chin to forehead in the picture."""
    across = points[order.RIGHT_EYE].mean(axis=0) - points[order.LEFT_EYE].mean(axis=0)
    across /= np.linalg.norm(across)
    return np.array([across[1], -across[0]])


def _frown_lines(points: Double, up: Double, apart: float) -> list[tuple[Double, float]]:
    """Return two folds that rise from beside the root of the nose, nearly parallel."""
    inner, root = points[[21, 22]], points[27]
    lines = []
    for side in (0, 1):
        foot = 0.62 * root + 0.38 * inner[side] - 0.02 * apart * up
        head = 0.45 * inner.mean(axis=0) + 0.55 * inner[side] + 0.10 * apart * up
        t = np.linspace(0.0, 1.0, 14)[:, None]
        bow = 0.015 * apart * np.sin(np.pi * t) * (head - root) / max(apart, 1e-9)
        lines.append((foot + t * (head - foot) + bow, 1.0))
    return lines


def _forehead_lines(points: Double, up: Double, apart: float) -> list[tuple[Double, float]]:
    """Return three folds that follow the brows, fainter towards the hairline."""
    brows = points[17:27]
    along = np.linspace(0.12, 0.88, 28)
    line = order.along(brows, along.tolist())
    flat = line - ((line - line.mean(axis=0)) @ up * 0.45)[:, None] * up
    return [
        (flat + height * apart * up, weight)
        for height, weight in ((0.20, 0.9), (0.31, 1.0), (0.42, 0.6))
    ]


def _draw(shape: tuple[int, int], lines: list[tuple[Double, float]], apart: float) -> Float:
    """Draw each line as a dark fold between two light ridges, tapering at its ends."""
    picture = np.zeros(shape, np.float32)
    for line, weight in lines:
        stroke = np.zeros(shape, np.float32)
        taper = np.sin(np.linspace(0.15, np.pi - 0.15, len(line) - 1))
        for start, end, strength in zip(line[:-1], line[1:], taper, strict=True):
            ends = [tuple(np.rint(p * 16).astype(int).tolist()) for p in (start, end)]
            cv2.line(stroke, ends[0], ends[1], float(weight * strength), 1, cv2.LINE_AA, 4)
        sigma = _WIDTH * apart
        fold = cv2.GaussianBlur(stroke, (0, 0), sigma) * (sigma * 2.5)
        ridge = cv2.GaussianBlur(stroke, (0, 0), 2.4 * sigma) * (sigma * 2.5)
        picture += fold - 0.75 * ridge
    drawn: Float = np.clip(picture * 1.3, -0.3, 1.0)
    return drawn


def _bare(window: Float, points: Double, apart: float) -> Float:
    """Return (h, w) 1 where the picture shows bare skin, 0 on hair and brows."""
    grey = cv2.GaussianBlur(window.mean(axis=2), (0, 0), 0.03 * apart)
    x, y = np.clip(np.rint(points[27]).astype(int), 0, (grey.shape[1] - 1, grey.shape[0] - 1))
    usual = float(np.median(grey[max(y - int(0.3 * apart), 0) : y + 1, max(x - 2, 0) : x + 3]))
    near = np.clip(2.5 - np.abs(grey - usual) / (0.14 * usual + 1.0), 0.0, 1.0)
    soft: Float = cv2.GaussianBlur(near.astype(np.float32), (0, 0), 0.02 * apart)
    return soft
