"""Does the verdict stay quiet where nothing can help? r0 against r0 with other seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Int
from mien.core.errors import Invalid
from mien.evaluation.accuracy import proportion_interval
from mien.evaluation.contrasts import (
    contrasts,
    limits,
    select,
    selection_stretch,
    verdict_masks,
)


@dataclass(frozen=True, slots=True)
class NullCheck:
    """How often r0 seemed to beat r0.

    Attributes:
        comparisons: number made.
        helps: falsely called helpful.
        none: a gain of ``min_effect`` ruled out.
        undecided: neither.
        covered: intervals that hold the true difference, zero.
        help_low: lower Clopper–Pearson limit of the false-help rate.
        help_high: upper limit.
        coverage_low: lower Clopper–Pearson limit of the coverage.
        coverage_high: upper limit.
        differences: estimated differences, fractions.
    """

    comparisons: int
    helps: int
    none: int
    undecided: int
    covered: int
    help_low: float
    help_high: float
    coverage_low: float
    coverage_high: float
    differences: tuple[float, ...]


def null_check(
    scores: Double,
    *,
    selection: Double | None = None,
    candidates: int = 1,
    min_effect: float = 0.02,
    alpha: float = 0.05,
) -> NullCheck:
    """Let each set of r0 trials be the baseline once, and the next ones pose as ratios.

    Args:
        scores: (sets, S, N) accuracy of r0 on one test set; every set has seeds of its own.
        selection: (sets, S, M) accuracy of the same networks on the selection set; chooses among
            several candidates as the decision does.
        candidates: sets that pose as ratios in each comparison; above 1 needs ``selection``.
        min_effect: smallest gain worth having, a fraction.
        alpha: error rate of the intervals, and of the Clopper–Pearson limits.

    Returns:
        Counts over ``sets`` comparisons. Each set takes part in several of them, so they are not
        independent and the limits are a guide.

    Raises:
        Invalid: ``TOO_FEW_SETS`` below three or below ``candidates`` + 1; ``NO_SELECTION``;
            ``SCORE_SHAPE``; ``ONE_SEED``, ``ONE_SUBJECT``, ``NOT_FINITE``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check(scores, selection, candidates)
    arms = range(1, candidates + 1)
    found = contrasts(_posed(scores, candidates), 0, arms)
    if selection is None:
        picked: Int = np.zeros(len(scores), dtype=np.int64)
        within = limits(found.at(picked), alpha)
    else:
        seen = contrasts(_posed(np.asarray(selection, np.float64), candidates), 0, arms)
        picked = select(seen)
        within = limits(found.at(picked), alpha, selection_stretch(seen, found, picked, alpha))
    helps, none = verdict_masks(within, min_effect)
    count = len(scores)
    n_helps, n_none = int(helps.sum()), int(none.sum())
    covered = int(((within.low <= 0.0) & (within.high >= 0.0)).sum())
    help_low, help_high = proportion_interval(n_helps, count, alpha)
    coverage_low, coverage_high = proportion_interval(covered, count, alpha)
    return NullCheck(
        comparisons=count,
        helps=n_helps,
        none=n_none,
        undecided=count - n_helps - n_none,
        covered=covered,
        help_low=help_low,
        help_high=help_high,
        coverage_low=coverage_low,
        coverage_high=coverage_high,
        differences=tuple(float(v) for v in found.at(picked).estimate),
    )


def _posed(scores: Double, candidates: int) -> Double:
    """Stack every set with those that follow it, around the end: (sets, 1 + candidates, S, N)."""
    return np.stack([np.roll(scores, -i, axis=0) for i in range(candidates + 1)], axis=1)


def _check(scores: Double, selection: Double | None, candidates: int) -> None:
    if scores.ndim != 3 or len(scores) < max(3, candidates + 1):
        raise Invalid(
            "TOO_FEW_SETS",
            f"scores {scores.shape} are not at least {max(3, candidates + 1)} sets of "
            "(seeds, subjects)",
            hint="train r0 again with other seeds; twenty sets say something",
        )
    if selection is None and candidates > 1:
        raise Invalid("NO_SELECTION", f"{candidates} candidates need scores that select one")
    if selection is not None and np.shape(selection)[:2] != scores.shape[:2]:
        raise Invalid(
            "SCORE_SHAPE",
            f"selection {np.shape(selection)} and scores {scores.shape} are not of the same trials",
        )
