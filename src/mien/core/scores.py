"""What a model said about a set of faces: the table that evaluation reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Float, Int
from mien.core.expression import Expression


@dataclass(frozen=True, slots=True)
class Predictions:
    """Raw outputs of one model on one set.

    Attributes:
        ids: sample ids, length N.
        subjects: subject of each sample ("" where there is none), length N.
        labels: true class index (N,) int64, -1 where unlabelled.
        logits: (N, C) float32 before softmax; C = len(classes); (N, 0) without that head.
        classes: the label space, in order.
        affect: (N, 2) float32 predicted valence, arousal; (N, 0) without that head.
        affect_true: (N, 2) float32, NaN where unknown; (N, 0) without that head.
    """

    ids: Sequence[str]
    subjects: Sequence[str]
    labels: Int
    logits: Float
    classes: tuple[Expression, ...]
    affect: Float
    affect_true: Float

    def probabilities(self, temperature: float = 1.0) -> Float:
        """Softmax of the logits divided by ``temperature`` (> 0): (N, C) float32, rows sum to 1."""
        scaled = self.logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        exp = np.exp(scaled)
        probabilities: Float = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)
        return probabilities
