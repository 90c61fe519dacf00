"""The classical baseline: histograms of oriented gradients and a linear support vector machine.

A network that does worse than this has a fault, so it is part of the gate and of the benchmarks.
"""

from __future__ import annotations

import cv2
import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from mien.core.arrays import Double, Float, Int, UInt8
from mien.core.errors import Invalid, WrongState
from mien.recognition.package import LinearBaseline

CELL_PX = 8
BLOCK_CELLS = 2
BINS = 9


class HogSvm:
    """HOG features of square faces and one linear classifier against the rest for each class.

    Source: Dalal and Triggs 2005: 8 px cells, blocks of 2×2 cells, 9 unsigned orientations,
    L2-Hys.

    Args:
        size_px: side of the faces, a multiple of 8.
        strength: C of the machine.

    Raises:
        Invalid: ``IMAGE_SIZE`` when the side is no multiple of 8 or below 16.
    """

    def __init__(self, size_px: int = 64, strength: float = 0.01) -> None:
        if size_px % CELL_PX or size_px < CELL_PX * BLOCK_CELLS:
            raise Invalid(
                "IMAGE_SIZE",
                f"HOG needs a side that is a multiple of 8, not {size_px}",
                hint="preprocess the faces to one square size, a multiple of 8",
            )
        self.size_px = size_px
        self.strength = strength
        block = CELL_PX * BLOCK_CELLS
        self._descriptor = cv2.HOGDescriptor(
            (size_px, size_px), (block, block), (CELL_PX, CELL_PX), (CELL_PX, CELL_PX), BINS
        )
        self._machine: Pipeline | None = None

    def features(self, images: UInt8) -> Float:
        """Describe faces (N, S, S) or (N, S, S, 3) uint8; (N, D) float32.

        Raises:
            Invalid: ``IMAGE_SIZE``.
        """
        if images.shape[1:3] != (self.size_px, self.size_px):
            raise Invalid(
                "IMAGE_SIZE",
                f"images are {images.shape[1:3]}, expected {self.size_px} px squares",
                hint="preprocess the faces to one square size, a multiple of 8",
            )
        described = [self._descriptor.compute(np.ascontiguousarray(i)) for i in images]
        return np.asarray(described, dtype=np.float32).reshape(len(images), -1)

    def fit(self, images: UInt8, labels: Int) -> HogSvm:
        """Train on faces and their class indices; returns itself.

        Raises:
            Invalid: ``EMPTY_SET``, ``ONE_CLASS``, ``IMAGE_SIZE``.
        """
        if not len(images):
            raise Invalid("EMPTY_SET", "there are no faces to train on", hint="give it faces")
        if len(np.unique(labels)) < 2:
            raise Invalid(
                "ONE_CLASS",
                "the training set holds a single class; two are the least",
                hint="add faces of another expression",
            )
        machine = make_pipeline(
            StandardScaler(), LinearSVC(C=self.strength, random_state=0, max_iter=5000)
        )
        self._machine = machine.fit(self.features(images), labels)
        return self

    def scores(self, images: UInt8) -> Double:
        """Signed distances (N, K) to each class's boundary, in order of the classes trained on.

        Raises:
            WrongState: ``NOT_FITTED``.
        """
        machine = self._fitted()
        distances: Double = machine.decision_function(self.features(images))
        if distances.ndim == 1:  # two classes share one boundary
            distances = np.stack([-distances, distances], axis=1)
        return distances

    def predict(self, images: UInt8) -> Int:
        """Return the class index of each face, (N,) int64.

        Raises:
            WrongState: ``NOT_FITTED``.
        """
        said: Int = self._fitted().predict(self.features(images)).astype(np.int64)
        return said

    def linear(self) -> LinearBaseline:
        """Return it as plain arrays over the features, the scaling folded in.

        Raises:
            WrongState: ``NOT_FITTED``.
        """
        machine = self._fitted()
        scaler, vectors = machine[0], machine[-1]
        weights = np.asarray(vectors.coef_ / scaler.scale_, dtype=np.float64)
        bias = np.asarray(vectors.intercept_ - weights @ scaler.mean_, dtype=np.float64)
        if len(weights) == 1:  # two classes share one boundary
            weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        return LinearBaseline(weights, bias)

    def _fitted(self) -> Pipeline:
        if self._machine is None:
            raise WrongState(
                "NOT_FITTED", "the machine has not been trained", hint="call fit first"
            )
        return self._machine
