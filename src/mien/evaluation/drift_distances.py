"""How far two crowds lie apart: by predicted class, by confidence, by features.

All three work on stacks of sums at once, since chance is found by thousands of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from mien.core.arrays import Double
from mien.evaluation.drift_sketch import BINS, Sketch

PRIOR = 0.5  # added to every count: an empty bin is rare, not impossible


def classes_apart(before: Double, after: Double, k: int) -> Double:
    """Jensen–Shannon divergence, in bits in [0, 1], of predicted classes.

    Args:
        before: (…, K + 10 + E + E²) sums over faces.
        after: the same.
        k: number of classes.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy"; counts are smoothed by
        half a face each.
    """
    return jensen_shannon(before[..., :k], after[..., :k])


def confidence_apart(before: Double, after: Double, k: int) -> Double:
    """Jensen–Shannon divergence, in bits in [0, 1], of the confidence's bins; as above."""
    return jensen_shannon(before[..., k : k + BINS], after[..., k : k + BINS])


def features_apart(before: Double, after: Double, k: int) -> Double:
    """Fréchet distance, squared, of two normal distributions with the crowds' moments.

    In whitened directions: 1 means that the means lie one standard deviation apart.

    Source: Dowson and Landau 1982, "The Fréchet distance between multivariate normal
        distributions"; the trace of the root by eigenvalues of the symmetric product.
    """
    m1, c1 = moments(before, k)
    m2, c2 = moments(after, k)
    root = _root(c1)
    inner = np.linalg.eigvalsh(root @ c2 @ root)
    cross = 2 * np.sqrt(np.clip(inner, 0, None)).sum(-1)
    traces = np.trace(c1, axis1=-2, axis2=-1) + np.trace(c2, axis1=-2, axis2=-1)
    found: Double = np.clip(((m1 - m2) ** 2).sum(-1) + traces - cross, 0, None)
    return found


Distance = Callable[[Double, Double, int], Double]
DISTANCES: Mapping[str, Distance] = MappingProxyType(
    {"classes": classes_apart, "confidence": confidence_apart, "features": features_apart}
)


def jensen_shannon(before: Double, after: Double) -> Double:
    """Divergence in bits of counts (…, B)."""
    p, q = _shares(before), _shares(after)
    middle = (p + q) / 2
    found: Double = ((p * np.log2(p / middle)) + (q * np.log2(q / middle))).sum(-1) / 2
    return found


def stability_index(before: Double, after: Double) -> float:
    """Population stability index of counts (B,): 0.1 is called small, 0.25 large, by custom.

    Source: Siddiqi 2006, "Credit Risk Scorecards", ch. 9. It is shown; nothing is decided by it.
    """
    p, q = _shares(before), _shares(after)
    return float(((q - p) * np.log(q / p)).sum())


def flat(sketch: Sketch) -> Double:
    """Lay the sums of a sketch out in one row (K + 10 + E + E²,)."""
    parts = (sketch.classes, sketch.confidence, sketch.total, sketch.square.ravel())
    return np.concatenate([np.asarray(p, np.float64) for p in parts])


def fourfold(row: Double, k: int) -> tuple[Double, Double, Double, Double]:
    """Take sums (…, K + 10 + E + E²) apart again: classes, confidence, totals, squares."""
    rest = row.shape[-1] - k - BINS
    e = int((np.sqrt(1 + 4 * rest) - 1) / 2 + 0.5)  # e + e² = rest
    start = k + BINS
    square = row[..., start + e :].reshape(*row.shape[:-1], e, e)
    return row[..., :k], row[..., k:start], row[..., start : start + e], square


def moments(row: Double, k: int) -> tuple[Double, Double]:
    """Mean (…, E) and covariance (…, E, E) of the projected features."""
    classes, _, total, square = fourfold(row, k)
    faces = np.maximum(classes.sum(-1), 1.0)
    mean = total / faces[..., None]
    covariance = square / faces[..., None, None] - mean[..., :, None] * mean[..., None, :]
    return mean, covariance


def _shares(counts: Double) -> Double:
    smooth = np.asarray(counts, np.float64) + PRIOR
    found: Double = smooth / smooth.sum(-1, keepdims=True)
    return found


def _root(matrix: Double) -> Double:
    values, vectors = np.linalg.eigh(matrix)
    scaled = vectors * np.sqrt(np.clip(values, 0, None))[..., None, :]
    found: Double = scaled @ np.swapaxes(vectors, -1, -2)
    return found
