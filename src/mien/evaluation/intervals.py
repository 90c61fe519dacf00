"""Intervals for mean accuracy over new subjects and new seeds.

Everything here works on score matrices: accuracy of one subject under one seed, so that the
spread between subjects and the spread between seeds are both part of every interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from mien.core.arrays import Double
from mien.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Mean squares of a subjects × seeds table without replication, one set per leading index.

    Attributes:
        mean: grand mean (...).
        subjects: mean square between subjects (...), N - 1 degrees of freedom.
        seeds: mean square between seeds (...), S - 1 degrees of freedom.
        residual: mean square of the interaction (...), (N - 1)(S - 1) degrees of freedom.
        n_subjects: N.
        n_seeds: S.
    """

    mean: Double
    subjects: Double
    seeds: Double
    residual: Double
    n_subjects: int
    n_seeds: int


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided interval; figures in the unit of the scores (0..1).

    Attributes:
        estimate: the mean.
        low: lower end.
        high: upper end.
        standard_error: of the mean.
        df: degrees of freedom of the t distribution used.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float


def mean_squares(table: Double) -> MeanSquares:
    """Split the sum of squares of tables (..., S, N) into subjects, seeds and residual.

    Raises:
        Invalid: ``ONE_SEED``, ``ONE_SUBJECT`` when a spread cannot be seen; ``NOT_FINITE``.
    """
    table = np.asarray(table, dtype=np.float64)
    n_seeds, n_subjects = table.shape[-2:]
    check_size(n_seeds, n_subjects)
    if not np.isfinite(table).all():
        raise Invalid("NOT_FINITE", "a score is missing or not a number")
    by_subject = table.mean(axis=-2)
    by_seed = table.mean(axis=-1)
    mean = by_seed.mean(axis=-1)
    total = np.square(table - mean[..., None, None]).sum(axis=(-2, -1))
    between_subjects = n_seeds * np.square(by_subject - mean[..., None]).sum(axis=-1)
    between_seeds = n_subjects * np.square(by_seed - mean[..., None]).sum(axis=-1)
    # Rounding may leave -1e-17 where the residual is zero.
    rest = np.maximum(total - between_subjects - between_seeds, 0.0)
    return MeanSquares(
        mean=mean,
        subjects=between_subjects / (n_subjects - 1),
        seeds=between_seeds / (n_seeds - 1),
        residual=rest / ((n_subjects - 1) * (n_seeds - 1)),
        n_subjects=n_subjects,
        n_seeds=n_seeds,
    )


def check_size(n_seeds: int, n_subjects: int) -> None:
    """Refuse tables in which a spread cannot be seen.

    Raises:
        Invalid: ``ONE_SEED``, ``ONE_SUBJECT``.
    """
    if n_seeds < 2:
        raise Invalid(
            "ONE_SEED",
            f"{n_seeds} seed: the spread between seeds cannot be seen",
            hint="run the sweep with at least 2 seeds (sweep.seeds), better 3 to 5",
        )
    if n_subjects < 2:
        raise Invalid(
            "ONE_SUBJECT",
            f"{n_subjects} subject: the spread between subjects cannot be seen",
            hint="judge on at least 2 subjects, better 25 or more",
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance components of a crossed design, never negative.

    Attributes:
        subject: variance between subjects (of the mean over seeds without end).
        seed: variance between seeds.
        residual: variance of one subject under one seed beyond both.
    """

    subject: Double
    seed: Double
    residual: Double


def spread(squares: MeanSquares, seeds_square: Double | None = None) -> Spread:
    """Estimate variance components by equating mean squares to their expectations.

    Args:
        squares: of one or more tables.
        seeds_square: mean square between seeds to use instead of the tables' own, same shape.
    """
    between = squares.seeds if seeds_square is None else seeds_square
    return Spread(
        subject=np.maximum(squares.subjects - squares.residual, 0.0) / squares.n_seeds,
        seed=np.maximum(between - squares.residual, 0.0) / squares.n_subjects,
        residual=squares.residual,
    )


def share_seeds_square(own: Double) -> tuple[Double, float]:
    """Steady the mean square between seeds with those of sister comparisons.

    Three to five seeds say little about their own spread: alone they leave t quantiles of 4.3
    and, where seeds dominate, coverage below 93 %. Comparisons of several ratios with one
    baseline vary alike over seeds, so each uses half its own mean square and half the mean of
    all K.

    Args:
        own: (..., K) mean squares between seeds of the K comparisons.

    Returns:
        The (..., K) mean squares to use, and the factor on S - 1.

    Source: the idea is the moderated variance of Smyth (2004), "Linear models and empirical
        Bayes methods", with a fixed weight of one half in place of an estimated one, because
        three seeds cannot estimate it; checked by ``benchmarks/decision_simulation.py``.
    """
    pooled = own.mean(axis=-1, keepdims=True)
    return 0.5 * (own + pooled), seed_df_factor(own.shape[-1])


def seed_df_factor(count: int) -> float:
    """Return the factor on S - 1 when ``count`` comparisons share their seeds' mean square.

    The variance of half one chi-square and half the mean of all, where any two comparisons
    correlate 2/3 over seeds: what they share (the baseline, the pool draw) varies twice as much
    as what each has alone. One comparison: 1. Without end: 12/7.
    """
    return 12.0 * count / (7.0 * count + 5.0)


@dataclass(frozen=True, slots=True)
class Error:
    """Standard error and degrees of freedom of a mean, one per leading index."""

    standard_error: Double
    df: Double


def crossed_error(
    squares: MeanSquares, seeds_square: Double | None = None, df_factor: float = 1.0
) -> Error:
    """Standard error of the grand mean over new subjects and new seeds.

    SE² = (max(MS_subject, MS_residual) + D) / (N S) with D = MS_seed - MS_residual, halved where
    negative. That is σ²_subject/N + σ²_seed/S + σ²_residual/(N S) with components never below
    zero, but for one concession: clipping D at zero covers 97 to 98 % of the time where seeds
    hardly matter, not clipping it covers too little; half way covers 94 to 97 %.

    Args:
        squares: of one or more tables.
        seeds_square: replaces the tables' own mean square between seeds.
        df_factor: its degrees of freedom are ``df_factor`` (S - 1).

    Source: Satterthwaite (1946), "An approximate distribution of estimates of variance
        components"; the case of few readers (here seeds) crossed with many cases (subjects):
        Hillis (2007), "A comparison of denominator degrees of freedom methods for multiple
        observer ROC analysis". Differs: the concession above, and the degrees of freedom are
        never below the smaller of the two margins'.
    """
    n, s = squares.n_subjects, squares.n_seeds
    between = squares.seeds if seeds_square is None else seeds_square
    subject_part = np.maximum(squares.subjects, squares.residual)
    excess = between - squares.residual
    total = subject_part + np.where(excess > 0.0, excess, 0.5 * excess)
    seed_df = df_factor * (s - 1)
    residual_df = (n - 1) * (s - 1)
    seed_noise = np.square(between) / seed_df + np.square(squares.residual) / residual_df
    # A lone comparison's seeds may look alike by chance: then too its degrees of freedom count.
    counts = (excess > 0.0) | (df_factor <= 1.0)
    noise = np.square(subject_part) / (n - 1) + np.where(counts, seed_noise, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(noise > 0.0, np.square(total) / noise, float(n - 1))
    df = np.maximum(df, min(n - 1.0, seed_df))
    return Error(np.sqrt(total / (n * s)), df)


def t_quantile(probability: float | Double, df: Double) -> Double:
    """Quantile of Student's t, elementwise."""
    return np.asarray(stdtrit(df, probability), dtype=np.float64)


def two_sided_p(estimate: Double, error: Error) -> Double:
    """Return the p value of a mean of zero; 1 where estimate and standard error are both zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(estimate) / error.standard_error
    t = np.where(np.isnan(t), 0.0, t)
    p: Double = np.asarray(2.0 * stdtr(error.df, -np.minimum(t, 1e300)), dtype=np.float64)
    return p


def mean_interval(table: Double, alpha: float = 0.05) -> Interval:
    """Interval for the mean of one table (S, N) of paired differences or other unbounded scores.

    Raises:
        Invalid: ``ONE_SEED``, ``ONE_SUBJECT``, ``NOT_FINITE``.
    """
    squares = mean_squares(table)
    error = crossed_error(squares)
    half = float(t_quantile(1 - alpha / 2, error.df) * error.standard_error)
    mean = float(squares.mean)
    return Interval(mean, mean - half, mean + half, float(error.standard_error), float(error.df))
