"""Paired contrasts, selection, Holm and the price of selecting with the same seeds."""

from collections.abc import Sequence

import numpy as np
import pytest

from mien.core.arrays import Double
from mien.evaluation.contrasts import (
    contrasts,
    holm,
    limits,
    select,
    selection_stretch,
)


def scores(
    seed: int = 0,
    sweeps: int = 6,
    gains: Sequence[float] = (0.0, 0.0, 0.02, 0.05),
    seeds: int = 3,
    subjects: int = 30,
    seed_sd: float = 0.02,
) -> Double:
    rng = np.random.default_rng(seed)
    level: Double = 0.6 + np.array(gains)[None, :, None, None]
    networks = rng.normal(0, seed_sd, (sweeps, len(gains), seeds, 1))
    people = rng.normal(0, 0.15, (sweeps, 1, 1, subjects))
    return level + networks + people + rng.normal(0, 0.1, (sweeps, len(gains), seeds, subjects))


def test_contrasts_are_paired_differences():
    """What all arms share, people and common levels, cancels."""
    table = scores()
    people = np.random.default_rng(9).normal(size=(1, 1, 1, 30))
    one = contrasts(table, 0, [1, 2, 3])
    two = contrasts(table + people, 0, [1, 2, 3])
    assert two.estimate == pytest.approx(one.estimate)
    assert two.error.standard_error == pytest.approx(one.error.standard_error)
    assert one.estimate == pytest.approx((table[:, 1:] - table[:, :1]).mean(axis=(2, 3)))


def test_many_sweeps_at_once_give_what_one_gives():
    """Leading axes never mix."""
    table = scores()
    together = contrasts(table, 0, [1, 2, 3])
    for i, one in enumerate(table):
        alone = contrasts(one, 0, [1, 2, 3])
        assert alone.error.df == pytest.approx(together.error.df[i])
        assert limits(alone, 0.05).low == pytest.approx(limits(together, 0.05).low[i])


def test_best_takes_the_largest_and_one_se_the_first_as_good():
    """Within one standard error of the best the cheaper ratio wins, if asked for."""
    found = contrasts(scores(gains=(0, 0.049, 0.02, 0.05), sweeps=200, subjects=100), 0, [1, 2, 3])
    best, cheap = select(found, "best"), select(found, "one_se")
    assert (best == found.estimate.argmax(axis=1)).all()
    assert (cheap <= best).all()
    assert np.isin(best, [0, 2]).mean() > 0.9
    assert (cheap == 0).mean() > (best == 0).mean()


def test_p_value_and_interval_agree():
    """The interval excludes zero exactly when p is below alpha, stretched or not."""
    found = contrasts(scores(sweeps=300, gains=(0, 0, 0.02, 0.03)), 0, [1, 2, 3])
    for stretch in (1.0, 1.2):
        within = limits(found, 0.05, stretch)
        outside = (within.low > 0) | (within.high < 0)
        assert (outside == (within.p < 0.05)).all()
        assert 0.02 < outside.mean() < 0.98


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2], [0.2]),
        ([0.6, 0.9, 0.5], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.001, 0.8, 0.01], [0.003, 0.8, 0.02]),
        ([], []),
    ],
)
def test_holm_against_values_worked_out_by_hand(p, adjusted):
    """Smallest p times M, the next times M - 1, never falling, at most 1."""
    assert holm(np.array(p)) == pytest.approx(adjusted)


def stretch_for(table: Double, arms: Sequence[int]) -> Double:
    found = contrasts(table, 0, arms)
    picked = np.zeros(table.shape[0], int)
    return selection_stretch(found, found, picked, 0.05)


def test_one_candidate_needs_no_allowance_for_selection():
    """Nothing was chosen, so nothing is paid."""
    assert stretch_for(scores(seed_sd=0.3), [1]) == pytest.approx(1.0, abs=1e-3)


def test_allowance_grows_with_seed_variance_and_with_candidates():
    """Without seed variance it is 1; with nothing else it is Dunnett's quotient."""
    calm = stretch_for(scores(sweeps=200, seed_sd=0.0), [1, 2, 3])
    wild = stretch_for(scores(sweeps=200, seed_sd=0.5), [1, 2, 3])
    few = stretch_for(scores(sweeps=200, seed_sd=0.5), [1, 2])
    assert np.median(calm) < 1.02
    assert (calm >= 1.0).all()
    # One-sided 5 % Dunnett, many degrees of freedom: 2.06 for three arms, 1.92 for two.
    assert np.median(wild) == pytest.approx(2.06 / 1.96, abs=0.01)
    assert np.median(few) == pytest.approx(1.0, abs=0.01)


def test_allowance_for_many_candidates_is_dunnetts():
    """Nine candidates, nothing but seeds: one-sided 5 % critical value 2.42."""
    wild = stretch_for(scores(sweeps=50, seed_sd=0.5, gains=(0.0,) * 10), range(1, 10))
    assert np.median(wild) == pytest.approx(2.42 / 1.96, abs=0.015)
