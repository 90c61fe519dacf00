"""What a crowd of faces looked like to a model, as sums: bounded, mergeable, nobody in it.

A sketch holds counts and sums over faces, never a picture, a feature vector or a time of one of
them. Two sketches added are the sketch of both crowds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.errors import Corrupt

CONFIDENCE_EDGES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
BINS = len(CONFIDENCE_EDGES) - 1
DIRECTIONS = 8
CLIP = 6.0  # standard deviations: one broken picture must not move a sum


@dataclass(frozen=True, slots=True)
class Projection:
    """Takes features to a few whitened directions.

    Attributes:
        mean: (D,) float64 of the features.
        axes: (D, E) float64; ``(features - mean) @ axes`` has unit variance on the fitted faces.
    """

    mean: Double
    axes: Double

    @classmethod
    def fit(cls, features: Float) -> Projection:
        """Find the directions in which features (N, D) vary most, at most 8 of them."""
        values = features.astype(np.float64)
        mean = values.mean(0)
        _, spread, axes = np.linalg.svd(values - mean, full_matrices=False)
        scale = spread / np.sqrt(max(1, len(values) - 1))
        kept = min(DIRECTIONS, int((scale > 1e-6 * max(scale[0], 1e-12)).sum()))
        return cls(mean, np.ascontiguousarray(axes[:kept].T / scale[:kept]))

    def of(self, features: Float) -> Double:
        """Map features (N, D) to (N, E), each within 6 standard deviations."""
        found: Double = np.clip((features - self.mean) @ self.axes, -CLIP, CLIP)
        return found


@dataclass(frozen=True, slots=True)
class Sketch:
    """Sums over faces.

    Attributes:
        classes: (K,) faces by the class judged most likely.
        confidence: (10,) faces by the probability of that class, bins of ``CONFIDENCE_EDGES``.
        total: (E,) sum of the projected features.
        square: (E, E) sum of their outer products.
    """

    classes: Int
    confidence: Int
    total: Double
    square: Double

    @classmethod
    def empty(cls, classes: int, directions: int) -> Sketch:
        """Return the sketch of nobody."""
        return cls(
            np.zeros(classes, np.int64),
            np.zeros(BINS, np.int64),
            np.zeros(directions),
            np.zeros((directions, directions)),
        )

    @classmethod
    def of(cls, probabilities: Float, projected: Double) -> Sketch:
        """Sketch faces by their probabilities (N, K) and projections (N, E)."""
        return cls(
            np.bincount(predicted(probabilities), minlength=probabilities.shape[1]),
            np.bincount(confidence_bin(probabilities), minlength=BINS),
            projected.sum(0),
            projected.T @ projected,
        )

    @property
    def faces(self) -> int:
        """How many faces it is of."""
        return int(self.classes.sum())

    @property
    def mean(self) -> Double:
        """Mean of the projected features (E,)."""
        return self.total / max(1, self.faces)

    @property
    def covariance(self) -> Double:
        """Their covariance (E, E)."""
        mean = self.mean
        found: Double = self.square / max(1, self.faces) - np.outer(mean, mean)
        return found

    def __add__(self, other: Sketch) -> Sketch:
        return Sketch(
            self.classes + other.classes,
            self.confidence + other.confidence,
            self.total + other.total,
            self.square + other.square,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, read back by ``from_json``."""
        return {
            "classes": self.classes.tolist(),
            "confidence": self.confidence.tolist(),
            "total": self.total.tolist(),
            "square": self.square[np.tril_indices(len(self.total))].tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Sketch:
        """Build it from plain values.

        Raises:
            Corrupt: ``DRIFT_SKETCH``.
        """
        try:
            total = np.array(values["total"], np.float64)
            square = np.zeros((len(total), len(total)))
            square[np.tril_indices(len(total))] = values["square"]
            counts = [np.array(values[k], np.int64) for k in ("classes", "confidence")]
            if len(counts[1]) != BINS:
                raise ValueError("counts of other bins")
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(
                "DRIFT_SKETCH", f"a sketch is damaged: {error}", hint="remove its window's file"
            ) from None
        whole = square + np.tril(square, -1).T
        return cls(counts[0], counts[1], total, whole)


def predicted(probabilities: Float) -> Int:
    """Class judged most likely (N,) of probabilities (N, K)."""
    found: Int = probabilities.argmax(1) if len(probabilities) else np.zeros(0, np.int64)
    return found


def confidence_bin(probabilities: Float) -> Int:
    """Bin (N,) in 0..9 of the largest probability of each row."""
    best = probabilities.max(1) if len(probabilities) else np.zeros(0)
    found: Int = np.searchsorted(CONFIDENCE_EDGES[1:-1], best, side="right").astype(np.int64)
    return found


def merged(sketches: Sequence[Sketch]) -> Sketch:
    """Add sketches, at least one."""
    whole = sketches[0]
    for each in sketches[1:]:
        whole = whole + each
    return whole
