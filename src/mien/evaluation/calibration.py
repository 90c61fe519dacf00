"""Whether a classifier's confidence means what it says, and the one number that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mien.core.arrays import Bool, Double, Float, Int
from mien.core.errors import Invalid
from mien.core.scores import Predictions

BINS = 15
TEMPERATURE_RANGE = (0.05, 20.0)
Binning = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Faces of similar confidence.

    Attributes:
        low: lower edge of the confidence, in [0, 1].
        high: upper edge.
        faces: how many fell in.
        confidence: their mean confidence; NaN when empty.
        accuracy: share of them called right; NaN when empty.
    """

    low: float
    high: float
    faces: int
    confidence: float
    accuracy: float


def log_loss(probabilities: Float | Double, truth: Int) -> float:
    """Return the mean negative log-likelihood in nats.

    Args:
        probabilities: (N, C), rows sum to 1; clipped at the float32 epsilon.
        truth: (N,) class indices.
    """
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).eps)).mean())


def reliability(
    probabilities: Float | Double, truth: Int, *, bins: int = BINS, binning: Binning = "width"
) -> tuple[ReliabilityBin, ...]:
    """Sort faces into bins by the confidence of the winning class.

    Args:
        probabilities: (N, C), rows sum to 1.
        truth: (N,) class indices.
        bins: number of bins, at least 1.
        binning: ``width`` = equally wide over [0, 1], each ``(low, high]``; ``mass`` = equally
            many faces (adaptive), which keeps bins from being nearly empty.

    Source: Guo et al. 2017, "On calibration of modern neural networks", §2 (width); Nixon et al.
    2019, "Measuring calibration in deep learning", §3 (mass).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    else:
        order = np.argsort(confidence, kind="stable")
        index = np.empty(len(order), dtype=np.int64)
        for position, piece in enumerate(np.array_split(order, bins)):
            index[piece] = position
        edges = _mass_edges(confidence, index, bins)
    return tuple(_bin(edges, i, confidence[index == i], right[index == i]) for i in range(bins))


def _mass_edges(confidence: Double, index: Int, bins: int) -> Double:
    edges = np.zeros(bins + 1)
    for i in range(bins):
        inside = confidence[index == i]
        edges[i + 1] = inside.max() if len(inside) else edges[i]
    edges[bins] = 1.0
    return edges


def _bin(edges: Double, i: int, confidence: Double, right: Bool) -> ReliabilityBin:
    nan = float("nan")
    return ReliabilityBin(
        low=float(edges[i]),
        high=float(edges[i + 1]),
        faces=len(confidence),
        confidence=float(confidence.mean()) if len(confidence) else nan,
        accuracy=float(right.mean()) if len(confidence) else nan,
    )


def expected_calibration_error(
    probabilities: Float | Double, truth: Int, *, bins: int = BINS, binning: Binning = "width"
) -> float:
    """Return the mean gap between confidence and accuracy, weighted by faces, in [0, 1]."""
    found = reliability(probabilities, truth, bins=bins, binning=binning)
    gaps = sum(b.faces * abs(b.confidence - b.accuracy) for b in found if b.faces)
    return float(gaps / len(truth))


def fit_temperature(predictions: Predictions) -> float:
    """Find the temperature that minimises the log-loss on a validation set.

    The loss is convex in 1/T; the search runs over log T within ``TEMPERATURE_RANGE``, which
    bounds the answer where every face is called right (or wrong).

    Raises:
        Invalid: ``EMPTY_SET`` when no face is labelled.

    Source: Guo et al. 2017, §4.2.
    """
    from scipy.optimize import minimize_scalar

    keep = predictions.labels >= 0
    if not keep.any() or predictions.logits.shape[1] == 0:
        raise Invalid("EMPTY_SET", "a temperature needs at least one labelled face")
    logits = predictions.logits[keep].astype(np.float64)
    truth = predictions.labels[keep]
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        peak = scaled.max(axis=1)
        total = np.log(np.exp(scaled - peak[:, None]).sum(axis=1)) + peak
        return float((total - scaled[rows, truth]).mean())

    low, high = np.log(TEMPERATURE_RANGE)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def pooled_reliability(
    said: Sequence[Predictions],
    temperatures: Sequence[float] | None = None,
    *,
    bins: int = BINS,
    binning: Binning = "width",
) -> tuple[ReliabilityBin, ...]:
    """Sort the labelled faces of several trials into one set of bins.

    Args:
        said: one entry a trial of one arm on one set.
        temperatures: of each trial; None = 1, the confidence as trained.
        bins: as in ``reliability``.
        binning: as in ``reliability``.

    Returns:
        The bins; () for models that predict no classes.

    Raises:
        Invalid: ``EMPTY_SET`` when no face is labelled.
    """
    if all(p.logits.shape[1] == 0 for p in said):
        return ()
    values = [1.0] * len(said) if temperatures is None else temperatures
    keep = [p.labels >= 0 for p in said]
    if not any(k.any() for k in keep):
        raise Invalid("EMPTY_SET", "no face of the set has a label")
    probabilities = np.concatenate(
        [p.probabilities(t)[k] for p, t, k in zip(said, values, keep, strict=True)]
    )
    truth = np.concatenate([p.labels[k] for p, k in zip(said, keep, strict=True)])
    return reliability(probabilities, truth, bins=bins, binning=binning)
