"""HOG + SVM as plain arrays: it travels with a model, and is asked without its trainer."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Int, UInt8
from mien.core.errors import Invalid, WrongState
from mien.recognition.hog import CELL_PX, HogSvm
from mien.recognition.package import LinearBaseline


def fit_baseline(images: UInt8, labels: Int, classes: int) -> LinearBaseline | None:
    """Train HOG + SVM on faces (N, S, S[, 3]) uint8 with labels (N,), scaler folded in.

    Returns:
        The linear classifier; None where HOG does not work on faces of that size, or some class
        has no face.
    """
    side = images.shape[1]
    if side % CELL_PX or side < 2 * CELL_PX or len(np.unique(labels)) != classes:
        return None
    try:
        machine = HogSvm(side).fit(images, labels)
    except Invalid:
        return None
    return machine.linear()


def called(baseline: LinearBaseline, images: UInt8) -> Int:
    """Ask it: class indices (N,) of faces (N, S, S[, 3]) uint8.

    Raises:
        WrongState: ``BASELINE_SIZE`` when it was trained on faces of another size.
    """
    features = HogSvm(images.shape[1]).features(images)
    if features.shape[1] != baseline.weights.shape[1]:
        raise WrongState(
            "BASELINE_SIZE",
            f"HOG + SVM takes {baseline.weights.shape[1]} features, not {features.shape[1]}",
            hint="preprocess the faces to the model's size",
        )
    found: Int = baseline.scores(features).argmax(axis=1).astype(np.int64)
    return found
