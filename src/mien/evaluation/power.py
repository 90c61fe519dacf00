"""How many subjects and seeds a given effect needs, from variance components alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv, ndtr

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.evaluation.intervals import MeanSquares, crossed_error, t_quantile

MOST_SUBJECTS = 1_000_000
MOST_SEEDS = 1_000
SEED_POINTS = 64
SUBJECT_POINTS = 16


@dataclass(frozen=True, slots=True)
class Variances:
    """What spreads a paired difference, squared accuracies.

    Attributes:
        subject: between subjects.
        seed: between seeds.
        residual: of one subject under one seed, beyond both.
    """

    subject: float
    seed: float
    residual: float

    def __post_init__(self) -> None:
        if min(self.subject, self.seed, self.residual) < 0.0:
            raise Invalid("NEGATIVE_VARIANCE", f"a variance of {self} is negative")


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be found, and how surely.

    Attributes:
        effect: true gain, as a fraction, > 0.
        alpha: error rate of the two-sided test.
        power: wanted chance to find the effect.
        df_factor: degrees of freedom between seeds are ``df_factor`` (S - 1).
    """

    effect: float = 0.02
    alpha: float = 0.05
    power: float = 0.8
    df_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What to run so that the question can be answered.

    Attributes:
        subjects: subjects in all.
        seeds: seeds in all.
        more_subjects: beyond those there are.
        more_seeds: beyond those there are.
    """

    subjects: int
    seeds: int
    more_subjects: int
    more_seeds: int


def standard_error(spread: Variances, subjects: int, seeds: int) -> float:
    """True standard error of the mean difference over so many subjects and seeds."""
    return math.sqrt(
        spread.subject / subjects + spread.seed / seeds + spread.residual / (subjects * seeds)
    )


def power_at(spread: Variances, subjects: int, seeds: int, goal: Goal) -> float:
    """Chance that the lower limit lies above zero when the true gain is ``goal.effect``.

    Averages over what the mean squares may turn out to be, with the very interval the decision
    uses: few seeds estimate their spread badly, and pay for it even where there is none.
    """
    error = standard_error(spread, subjects, seeds)
    if error == 0.0:
        return 1.0
    between = subjects * spread.seed + spread.residual
    seed_draws = between * _chi_square_means(goal.df_factor * (seeds - 1), SEED_POINTS)[:, None]
    within = seeds * spread.subject + spread.residual
    subject_draws = within * _chi_square_means(subjects - 1.0, SUBJECT_POINTS)[None, :]
    shape = (SEED_POINTS, SUBJECT_POINTS)
    squares = MeanSquares(
        mean=np.full(shape, goal.effect),
        subjects=np.broadcast_to(subject_draws, shape),
        seeds=np.broadcast_to(seed_draws, shape),
        residual=np.full(shape, spread.residual),
        n_subjects=subjects,
        n_seeds=seeds,
    )
    seen = crossed_error(squares, squares.seeds, goal.df_factor)
    half = t_quantile(1 - goal.alpha / 2, seen.df) * seen.standard_error
    return float(ndtr((goal.effect - half) / error).mean())


@lru_cache(maxsize=256)
def _chi_square_means(df: float, points: int) -> Double:
    """Equally likely values of a chi-square divided by its degrees of freedom."""
    middles = (np.arange(points) + 0.5) / points
    return np.asarray(2.0 * gammaincinv(df / 2, middles) / df, dtype=np.float64)


def subjects_needed(spread: Variances, seeds: int, goal: Goal) -> int | None:
    """Find the fewest subjects that give the power, or None where no number does."""
    if power_at(spread, MOST_SUBJECTS, seeds, goal) < goal.power:
        return None
    few, enough = 1, MOST_SUBJECTS
    while enough - few > 1:
        middle = (few + enough) // 2
        if power_at(spread, middle, seeds, goal) >= goal.power:
            enough = middle
        else:
            few = middle
    return enough


def advise(spread: Variances, subjects: int, seeds: int, goal: Goal) -> Advice:
    """Say what more is needed to find ``goal.effect`` with ``goal.power``.

    More subjects where they suffice. Where the spread between seeds alone hides the effect, the
    fewest seeds with which the present subjects suffice or with which the seeds' part is at most
    half of the variance that can be afforded, and the subjects that go with them. Where the power
    is there already and the verdict still fell between, the number that makes the interval
    narrower than the effect, so that it cannot hold both zero and the effect.

    Nothing here looks at the observed gain.
    """
    needed = subjects_needed(spread, seeds, goal)
    if needed is not None and needed <= subjects:
        goal = Goal(goal.effect, goal.alpha, _decisive(goal), goal.df_factor)
        needed = subjects_needed(spread, seeds, goal)
    if needed is not None:
        # At least one: the caller asks because the verdict is open.
        return Advice(needed, seeds, max(needed - subjects, 1), 0)
    more = _seeds_needed(spread, subjects, seeds, goal)
    needed = subjects_needed(spread, more, goal) or MOST_SUBJECTS
    return Advice(max(needed, subjects), more, max(needed - subjects, 0), more - seeds)


def _decisive(goal: Goal) -> float:
    """Power at which the interval is as wide as the effect: both tails at half of alpha."""
    return max(goal.power, 1.0 - goal.alpha / 2)


def _seeds_needed(spread: Variances, subjects: int, seeds: int, goal: Goal) -> int:
    # Twice the seed variance over endless subjects: the other half is left for the subjects.
    doubled = Variances(spread.subject, 2.0 * spread.seed, spread.residual)
    found = (
        _fewest(spread, subjects, seeds, goal),
        _fewest(doubled, MOST_SUBJECTS, seeds, goal),
    )
    return min((n for n in found if n is not None), default=MOST_SEEDS)


def _fewest(spread: Variances, subjects: int, seeds: int, goal: Goal) -> int | None:
    if power_at(spread, subjects, MOST_SEEDS, goal) < goal.power:
        return None
    few, enough = seeds, MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        if power_at(spread, subjects, middle, goal) >= goal.power:
            enough = middle
        else:
            few = middle
    return enough
