"""Subjects and seeds needed, checked by simulation."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.intervals import crossed_error, mean_squares, t_quantile
from mien.evaluation.power import (
    Goal,
    Variances,
    advise,
    power_at,
    standard_error,
    subjects_needed,
)

WIDE = Variances(subject=0.12**2, seed=0.0, residual=0.22**2)
MIXED = Variances(subject=0.12**2, seed=0.008**2, residual=0.22**2)
WILD = Variances(subject=0.12**2, seed=0.05**2, residual=0.22**2)


def observed_power(
    spread: Variances, subjects: int, seeds: int, effect: float, sweeps: int = 3000
) -> float:
    """Share of simulated sweeps whose lower limit lies above zero."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(10):
        size = (sweeps // 10, seeds, subjects)
        table = effect + rng.normal(0, np.sqrt(spread.residual), size)
        table += rng.normal(0, np.sqrt(spread.subject), (size[0], 1, subjects))
        table += rng.normal(0, np.sqrt(spread.seed), (size[0], seeds, 1))
        squares = mean_squares(table)
        error = crossed_error(squares)
        half = t_quantile(0.975, error.df) * error.standard_error
        hits += int((squares.mean - half > 0).sum())
    return hits / sweeps


@pytest.mark.parametrize(
    ("spread", "seeds", "effect"), [(WIDE, 3, 0.05), (WIDE, 5, 0.04), (MIXED, 5, 0.04)]
)
def test_the_number_of_subjects_gives_the_power(spread, seeds, effect):
    """Round trip: n from the formula, then sweeps with n subjects find the effect 4 times of 5."""
    needed = subjects_needed(spread, seeds, Goal(effect=effect))
    assert needed is not None
    assert observed_power(spread, needed, seeds, effect) == pytest.approx(0.8, abs=0.04)


def test_without_seed_variance_and_with_many_seeds_it_is_the_textbook_number():
    """Paired t test: n = (1.96 + 0.84)² σ²/δ²; three seeds pay for not knowing there is none."""
    goal = Goal(df_factor=1.4)
    textbook = (1.959964 + 0.841621) ** 2 * (WIDE.subject + WIDE.residual / 40) / 0.02**2
    assert subjects_needed(WIDE, 40, goal) == pytest.approx(textbook, rel=0.03)
    textbook = (1.959964 + 0.841621) ** 2 * (WIDE.subject + WIDE.residual / 3) / 0.02**2
    assert 1.0 < (subjects_needed(WIDE, 3, goal) or 0) / textbook < 1.35


def test_the_number_is_the_fewest():
    """One subject less has less than the power asked for."""
    goal = Goal(effect=0.03)
    needed = subjects_needed(MIXED, 5, goal)
    assert needed is not None
    assert power_at(MIXED, needed, 5, goal) >= 0.8 > power_at(MIXED, needed - 1, 5, goal)


def test_power_grows_with_everything():
    """More subjects, seeds or effect, more power; at no effect it is about half of alpha."""
    grow = [power_at(MIXED, n, 3, Goal()) for n in (10, 50, 250, 5000)]
    assert grow == sorted(grow)
    assert power_at(MIXED, 100, 3, Goal()) < power_at(MIXED, 100, 5, Goal())
    assert power_at(MIXED, 100, 3, Goal(effect=1e-9)) == pytest.approx(0.025, abs=0.01)
    assert power_at(MIXED, 10_000, 5, Goal(effect=0.9)) == pytest.approx(1.0)


def test_no_variance_needs_the_fewest_subjects():
    """Nothing varies: two subjects show it."""
    still = Variances(0.0, 0.0, 0.0)
    assert power_at(still, 2, 3, Goal()) == 1.0
    assert subjects_needed(still, 3, Goal()) == 2


def test_standard_error_is_the_sum_of_its_parts():
    """σ²_subject/N + σ²_seed/S + σ²_residual/(NS)."""
    assert standard_error(Variances(4.0, 9.0, 12.0), 4, 3) ** 2 == pytest.approx(1 + 3 + 1)


def test_subjects_are_advised_where_they_suffice():
    """As many more as the formula says, and no seeds."""
    needed = subjects_needed(WIDE, 3, Goal())
    assert needed is not None
    found = advise(WIDE, 100, 3, Goal())
    assert (found.more_subjects, found.more_seeds) == (needed - 100, 0)


def test_seeds_are_advised_where_subjects_cannot_suffice():
    """With the advised seeds and subjects the power is there; with the old seeds it never is."""
    goal = Goal()
    assert subjects_needed(WILD, 3, goal) is None
    for subjects in (50, 500, 5000):
        found = advise(WILD, subjects, 3, goal)
        assert found.more_seeds > 0
        assert power_at(WILD, found.subjects, found.seeds, goal) >= 0.8
        assert found.subjects == subjects + found.more_subjects
        assert found.seeds == 3 + found.more_seeds


def test_where_the_power_is_there_the_advice_is_to_narrow_the_interval():
    """An open verdict despite enough power: the interval must become narrower than the effect."""
    needed = subjects_needed(WIDE, 3, Goal())
    assert needed is not None
    found = advise(WIDE, needed, 3, Goal())
    assert found.more_subjects > 0
    assert power_at(WIDE, found.subjects, 3, Goal()) == pytest.approx(0.975, abs=0.001)
    assert 2 * 1.96 * standard_error(WIDE, found.subjects, 3) < 0.02


def test_hopeless_variance_is_bounded():
    """No finite advice: the most seeds considered, not an endless search."""
    found = advise(Variances(0.0, 25.0, 0.0), 50, 3, Goal(effect=1e-4))
    assert found.seeds == 1000


def test_negative_variances_are_refused():
    """A variance below zero is a mistake of the caller."""
    with pytest.raises(Invalid):
        Variances(-1.0, 0.0, 0.0)
