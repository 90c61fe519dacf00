"""Classification accuracy score: what a classifier learns from generated faces alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Bool, Double, Int
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.evaluation.clusters import bootstrap_counts, class_sums, cluster_indices
from mien.evaluation.generator_fidelity import span
from mien.evaluation.intervals import Interval


@dataclass(frozen=True, slots=True)
class AccuracyScore:
    """Training on generated faces against training on real ones, tested on the same real faces.

    All figures are balanced accuracies: mean over the classes of the share called right.

    Attributes:
        synthetic: of the classifiers trained on generated faces.
        real: of the classifiers trained on as many real faces.
        ratio: synthetic over real, with its paired interval.
        difference: synthetic − real, with its paired interval.
        chance: of a classifier that guesses: 1 / classes.
        sigmas: how many standard errors ``synthetic`` lies above chance (its own standard error, or
            that of guessing where it is larger).
        faces: tested on.
        subjects: tested on.
        seeds: classifiers trained of each kind.
    """

    synthetic: Interval
    real: Interval
    ratio: Interval
    difference: Interval
    chance: float
    sigmas: float
    faces: int
    subjects: int
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "synthetic": span(self.synthetic),
            "real": span(self.real),
            "ratio": span(self.ratio),
            "difference": span(self.difference),
            "chance": self.chance,
            "sigmas": self.sigmas,
            "faces": self.faces,
            "subjects": self.subjects,
            "seeds": self.seeds,
        }


def accuracy_score(
    synthetic_right: Bool,
    real_right: Bool,
    labels: Int,
    subjects: Sequence[str],
    *,
    classes: int,
    draws: int = 2000,
    alpha: float = 0.05,
) -> AccuracyScore:
    """Compare classifiers trained on generated and on real faces, paired by tested person.

    Args:
        synthetic_right: (S, N) bool: did seed s, trained on generated faces, call face n right.
        real_right: (S, N) bool of the same seeds trained on real faces.
        labels: (N,) true class index of the tested real faces.
        subjects: of the tested faces, or () = each face is its own.
        classes: C.
        draws: bootstrap samples.
        alpha: intervals cover 1 − alpha.

    Raises:
        Invalid: ``UNEQUAL_LENGTHS``; ``MISSING_CLASS``; ``ONE_SUBJECT``.

    Source: Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative
    models"; the interval is a bootstrap over people and over seeds (Owen 2007, "The pigeonhole
    bootstrap"), which takes the seeds' spread in when there are several.
    """
    synthetic_right, real_right = np.atleast_2d(synthetic_right), np.atleast_2d(real_right)
    if synthetic_right.shape != real_right.shape or synthetic_right.shape[1] != len(labels):
        raise Invalid(
            "UNEQUAL_LENGTHS",
            f"answers {synthetic_right.shape} and {real_right.shape} for {len(labels)} faces",
        )
    if len(np.unique(labels)) != classes or labels.min() < 0 or labels.max() >= classes:
        raise Invalid("MISSING_CLASS", f"the tested faces do not show all of {classes} classes")
    groups, count = cluster_indices(len(labels), subjects)
    rng = np.random.Generator(np.random.Philox(seed_of("accuracy score", len(labels), count)))
    weights = np.concatenate([np.ones((1, count)), bootstrap_counts(count, draws, rng)])
    seeds = len(real_right)
    seed_weights = np.concatenate([np.ones((1, seeds)), bootstrap_counts(seeds, draws, rng)])
    faces = class_sums(np.ones(len(labels)), groups, count, labels, classes)
    mine, own = (
        _balanced(right, groups, labels, faces, weights, seed_weights)
        for right in (synthetic_right, real_right)
    )
    whole = _interval(mine, alpha)
    chance = 1.0 / classes
    # Where every person is called right the bootstrap has no spread, guessing has.
    sigma = max(whole.standard_error, (chance * (1 - chance) / len(labels)) ** 0.5)
    return AccuracyScore(
        synthetic=whole,
        real=_interval(own, alpha),
        ratio=_interval(mine / np.maximum(own, 1e-12), alpha),
        difference=_interval(mine - own, alpha),
        chance=chance,
        sigmas=(whole.estimate - chance) / sigma,
        faces=len(labels),
        subjects=count,
        seeds=seeds,
    )


def _balanced(
    right: Bool, groups: Int, labels: Int, faces: Double, weights: Double, seed_weights: Double
) -> Double:
    """Balanced accuracy of the sample and of every bootstrap sample: (1 + draws,)."""
    count, classes = faces.shape
    hits = np.stack([class_sums(r, groups, count, labels, classes) for r in right])
    # A draw without a person of some class averages over the classes it has.
    shown = weights @ faces
    called = np.einsum("ds,sgc,dg->dc", seed_weights, hits, weights, optimize=True) / len(right)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(shown > 0, called / shown, np.nan)
    found: Double = np.nanmean(share, axis=1)
    return found


def _interval(values: Double, alpha: float) -> Interval:
    """The first value with the quantiles of the others."""
    low, high = np.quantile(values[1:], [alpha / 2, 1 - alpha / 2])
    spread = float(values[1:].std(ddof=1))
    return Interval(float(values[0]), float(low), float(high), spread, float("inf"))
