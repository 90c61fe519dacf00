"""Intervals for accuracies and other proportions."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv, stdtrit

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.evaluation.intervals import (
    Interval,
    check_size,
    crossed_error,
    mean_squares,
    share_seeds_square,
)


def accuracy_interval(scores: Double, alpha: float = 0.05) -> Interval:
    """Interval for one arm's accuracy over new subjects and seeds; scores (S, N) in [0, 1].

    One seed is allowed and then the interval speaks of that one model on new subjects.

    Raises:
        Invalid: ``ONE_SUBJECT``, ``NOT_FINITE``, ``SCORE_RANGE``.
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    n_seeds, n_subjects = scores.shape
    if n_seeds > 1:
        return accuracy_intervals(scores[None], alpha)[0]
    _check_accuracies(scores)
    variance = float(scores.var(ddof=1)) / n_subjects
    return wilson_interval(
        float(scores.mean()), math.sqrt(variance), n_subjects - 1.0, n_subjects, alpha
    )


def accuracy_intervals(scores: Double, alpha: float = 0.05) -> list[Interval]:
    """Intervals for the accuracies of A arms that are alike enough to share their seeds' spread.

    Source: score interval of Wilson (1927) on the effective sample size p(1 - p)/SE² with a t
        quantile, as Dean and Pagano (2015), "Evaluating confidence interval methods for binomial
        proportions in clustered surveys", advise. Where all scores of an arm are 0 or 1, N stands
        in for the effective size: a subject counts as one observation.

    Args:
        scores: (A, S, N) in [0, 1].
        alpha: error rate.

    Raises:
        Invalid: ``ONE_SEED``, ``ONE_SUBJECT``, ``NOT_FINITE``, ``SCORE_RANGE``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check_accuracies(scores)
    squares = mean_squares(scores)
    error = crossed_error(squares, *share_seeds_square(squares.seeds))
    return [
        wilson_interval(float(p), float(se), float(df), scores.shape[-1], alpha)
        for p, se, df in zip(squares.mean, error.standard_error, error.df, strict=True)
    ]


def _check_accuracies(scores: Double) -> None:
    check_size(2, scores.shape[-1])
    if not np.isfinite(scores).all():
        raise Invalid("NOT_FINITE", "a score is missing or not a number")
    if scores.min() < 0.0 or scores.max() > 1.0:
        raise Invalid("SCORE_RANGE", "an accuracy lies outside [0, 1]")


def wilson_interval(
    p: float, se: float, df: float, n_subjects: int, alpha: float = 0.05
) -> Interval:
    """Score interval of a clustered proportion, see ``accuracy_intervals``.

    Args:
        p: the proportion.
        se: its standard error over clusters; 0 when all clusters agree.
        df: degrees of freedom of ``se``.
        n_subjects: clusters, each of which counts as one observation where ``se`` is 0.
        alpha: error rate.
    """
    size = p * (1 - p) / se**2 if se > 0.0 and 0.0 < p < 1.0 else float(n_subjects)
    z = float(stdtrit(df, 1 - alpha / 2))
    centre = (p + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    low, high = max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
    return Interval(p, low, high, se, df)


def proportion_interval(hits: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """Clopper–Pearson interval of a proportion.

    Raises:
        Invalid: ``PROPORTION`` when ``hits`` is outside 0..``trials`` or there is no trial.
    """
    if trials < 1 or not 0 <= hits <= trials:
        raise Invalid("PROPORTION", f"{hits} of {trials} is no proportion")
    low = 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, alpha / 2))
    high = 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, 1 - alpha / 2))
    return low, high
