"""Paired comparisons of arms with a baseline, for one sweep or for thousands at a time.

Scores are (..., A, S, N): arms, seeds, subjects; leading axes are independent sweeps, which is
how the simulation runs the same code as the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr, ndtri

from mien.core.arrays import Bool, Double, Int
from mien.evaluation.intervals import (
    Error,
    Spread,
    crossed_error,
    mean_squares,
    seed_df_factor,
    share_seeds_square,
    spread,
    t_quantile,
    two_sided_p,
)

Rule = Literal["best", "one_se"]


@dataclass(frozen=True, slots=True)
class Contrasts:
    """K arms against one baseline; every array is (..., K).

    Attributes:
        estimate: mean difference, arm - baseline.
        error: its standard error and degrees of freedom.
        spread: variance components of the differences.
        n_subjects: N.
        n_seeds: S.
        df_factor: on S - 1, for the mean square between seeds.
    """

    estimate: Double
    error: Error
    spread: Spread
    n_subjects: int
    n_seeds: int
    df_factor: float

    def at(self, picked: Int) -> Contrasts:
        """Keep one arm a sweep: ``picked`` (...) indexes the last axis, which goes."""

        def take(values: Double) -> Double:
            return np.take_along_axis(values, picked[..., None], axis=-1)[..., 0]

        return Contrasts(
            take(self.estimate),
            Error(take(self.error.standard_error), take(self.error.df)),
            Spread(take(self.spread.subject), take(self.spread.seed), take(self.spread.residual)),
            self.n_subjects,
            self.n_seeds,
            self.df_factor,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Two-sided interval and p value of contrasts; arrays of one shape."""

    low: Double
    high: Double
    p: Double


def contrasts(
    scores: Double, baseline: int, arms: Sequence[int], *, sisters: bool = True
) -> Contrasts:
    """Compare arms with the baseline, paired by subject and by seed.

    Args:
        scores: (..., A, S, N).
        baseline: index on A.
        arms: indices on A, length K.
        sisters: the arms are alike enough to steady each other's spread between seeds.

    Raises:
        Invalid: ``ONE_SEED``, ``ONE_SUBJECT``, ``NOT_FINITE``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    squares = mean_squares(scores[..., list(arms), :, :] - scores[..., [baseline], :, :])
    if sisters:
        between, factor = share_seeds_square(squares.seeds)
    else:
        between, factor = squares.seeds, seed_df_factor(1)
    return Contrasts(
        estimate=squares.mean,
        error=crossed_error(squares, between, factor),
        spread=spread(squares, between),
        n_subjects=squares.n_subjects,
        n_seeds=squares.n_seeds,
        df_factor=factor,
    )


def select(found: Contrasts, rule: Rule = "best") -> Int:
    """Pick one arm a sweep: the largest gain, or the first within one standard error of it.

    Args:
        found: candidates in ascending order of cost.
        rule: ``best`` or ``one_se`` (Breiman et al. 1984, section 3.4.3).
    """
    best: Int = found.estimate.argmax(axis=-1)
    if rule == "best":
        return best
    top = found.at(best)
    within = found.estimate >= (top.estimate - top.error.standard_error)[..., None]
    first: Int = within.argmax(axis=-1)
    return first


def limits(found: Contrasts, alpha: float, stretch: Double | float = 1.0) -> Limits:
    """Interval with coverage 1 - alpha, and the p value of no difference that agrees with it.

    Args:
        found: contrasts.
        alpha: error rate.
        stretch: factor ≥ 1 on the lower half of the interval, see ``selection_stretch``.
    """
    half = t_quantile(1 - alpha / 2, found.error.df) * found.error.standard_error
    weight = np.where(found.estimate > 0.0, stretch, 1.0)
    return Limits(
        low=found.estimate - stretch * half,
        high=found.estimate + half,
        p=two_sided_p(found.estimate / weight, found.error),
    )


def selection_stretch(selection: Contrasts, test: Contrasts, picked: Int, alpha: float) -> Double:
    """Factor on the lower half of the candidate's interval, because selection saw its seeds.

    Selection and test use different people but the same trained networks: an arm picked for its
    lucky seeds keeps that luck in the test. The correlation between both estimates is at most
    r = σ²_seed/S over the two standard errors. For K candidates without any difference, which
    correlate ½ through the shared baseline, the interval misses low more often and high less
    often; the factor keeps both together at alpha. It is 1 without seed variance.

    Args:
        selection: all candidates on the selection set, (..., K).
        test: the same candidates on the test set, (..., K).
        picked: (...) the selected ones.
        alpha: error rate.

    Returns:
        (...) factors ≥ 1; at most that of Dunnett's one-sided test.
    """
    there, here = selection.at(picked), test.at(picked)
    shared = np.sqrt(there.spread.seed * here.spread.seed) / here.n_seeds
    errors = there.error.standard_error * here.error.standard_error
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(errors > 0.0, shared / errors, 0.0)
    grid, factors = _stretch_table(selection.estimate.shape[-1], alpha)
    return np.asarray(np.interp(np.clip(correlation, 0.0, 1.0), grid, factors), dtype=np.float64)


@cache
def _stretch_table(count: int, alpha: float) -> tuple[Double, Double]:
    """Tabulate the factor against the correlation r for ``count`` candidates."""
    nodes, weights = hermegauss(41)
    weights = weights / weights.sum()
    points = np.linspace(-6.0, 8.0, 1401)
    # Largest of `count` standard normals that correlate one half: (z0 + z_k)/√2.
    below = weights @ ndtr(np.sqrt(2.0) * points[None, :] - nodes[:, None]) ** count
    mass, middle = np.diff(below), (points[1:] + points[:-1]) / 2
    usual = float(ndtri(1 - alpha / 2))
    grid = np.linspace(0.0, 1.0, 51)
    factors = [_stretched(min(r, 0.999), mass, middle, usual, alpha) for r in grid]
    return grid, np.maximum.accumulate(np.asarray(factors))


def _stretched(r: float, mass: Double, middle: Double, usual: float, alpha: float) -> float:
    rest = np.sqrt(1 - r * r)
    misses_high = float(mass @ ndtr((-usual - r * middle) / rest))
    low, high = usual, 2.0 * usual
    for _ in range(40):
        cut = (low + high) / 2
        misses_low = float(mass @ ndtr((r * middle - cut) / rest))
        low, high = (cut, high) if misses_low + misses_high > alpha else (low, cut)
    return (low + high) / 2 / usual


def holm(p: Double) -> Double:
    """Adjust p values (M,) so that the chance of any false rejection stays below alpha.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def verdict_masks(found: Limits, min_effect: float) -> tuple[Bool, Bool]:
    """Say where an interval means ``helps`` and where ``none``; elsewhere it is undecided."""
    helps = found.low > 0.0
    return helps, ~helps & (found.high < min_effect)
