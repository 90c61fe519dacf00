"""Faces of one person are not independent: halves, proportions and bootstraps by person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.core.arrays import AnyArray, Bool, Double, Int
from mien.core.errors import Invalid
from mien.evaluation.accuracy import wilson_interval
from mien.evaluation.intervals import Interval


def cluster_indices(n: int, names: Sequence[str]) -> tuple[Int, int]:
    """Number the clusters of n faces: index of each face's cluster (n,), and their count.

    Args:
        n: faces.
        names: of the cluster (subject, identity) of each; () or "" = a face is its own.

    Raises:
        Invalid: ``UNEQUAL_LENGTHS``; ``ONE_SUBJECT`` with a single cluster.
    """
    if len(names) == 0:
        groups = np.arange(n, dtype=np.int64)
    else:
        if len(names) != n:
            raise Invalid("UNEQUAL_LENGTHS", f"{len(names)} subjects are named for {n} faces")
        own = [name or f"\0{row}" for row, name in enumerate(names)]
        groups = np.unique(own, return_inverse=True)[1].astype(np.int64)
    count = int(groups.max()) + 1 if n else 0
    if count < 2:
        raise Invalid(
            "ONE_SUBJECT",
            "all faces are of one subject: the spread between subjects cannot be seen",
            hint="judge on at least 2 subjects, better 25 or more",
        )
    return groups, count


def random_halves(n: int, names: Sequence[str], rng: np.random.Generator) -> tuple[Int, Int]:
    """Deal clusters into two halves; rows of each, shuffled.

    Raises:
        Invalid: ``UNEQUAL_LENGTHS``, ``ONE_SUBJECT``.
    """
    groups, count = cluster_indices(n, names)
    first = np.zeros(count, dtype=bool)
    first[rng.permutation(count)[: count // 2]] = True
    order = rng.permutation(n)
    inside = first[groups[order]]
    return order[inside], order[~inside]


def clustered_proportion(hits: Bool, names: Sequence[str], *, alpha: float = 0.05) -> Interval:
    """Share of faces that are hits, with its interval over new clusters.

    A bootstrap over clusters would say 100 % to 100 % where all are hits; the score interval on
    the effective sample size says how sure that is, and covers alike in between.

    Args:
        hits: (N,) bool.
        names: cluster of each face, or ().
        alpha: the interval covers 1 − alpha.

    Raises:
        Invalid: ``UNEQUAL_LENGTHS``, ``ONE_SUBJECT``.

    Source: standard error of a ratio over clusters, Cochran 1977, "Sampling techniques", 6.13;
    the interval as in ``accuracy.accuracy_intervals``.
    """
    groups, count = cluster_indices(len(hits), names)
    right = np.bincount(groups, weights=hits.astype(np.float64), minlength=count)
    size = np.bincount(groups, minlength=count).astype(np.float64)
    share = float(right.sum() / size.sum())
    left_over = right - share * size
    error = float(np.sqrt(count / (count - 1) * np.square(left_over).sum()) / size.sum())
    return wilson_interval(share, error, count - 1.0, count, alpha)


def difference(first: Interval, second: Interval) -> tuple[float, float]:
    """Interval of the difference of two independent estimates, from their own intervals.

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures":
    limits recovered from each estimate's own, which keeps their skewness.
    """
    gap = first.estimate - second.estimate
    below = np.hypot(first.estimate - first.low, second.high - second.estimate)
    above = np.hypot(first.high - first.estimate, second.estimate - second.low)
    return float(gap - below), float(gap + above)


def bootstrap_counts(clusters: int, draws: int, rng: np.random.Generator) -> Double:
    """How often each cluster is drawn in each bootstrap sample: (draws, clusters)."""
    drawn = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=draws)
    return drawn.astype(np.float64)


def class_sums(values: AnyArray, groups: Int, count: int, labels: Int, classes: int) -> Double:
    """Add values (N,) up by cluster and class: (count, classes) float64."""
    flat = np.bincount(
        groups * classes + labels, weights=values.astype(np.float64), minlength=count * classes
    )
    return flat.reshape(count, classes).astype(np.float64)
