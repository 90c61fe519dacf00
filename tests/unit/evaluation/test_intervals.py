"""Mean squares, crossed intervals, accuracies and proportions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mien.core.errors import Invalid
from mien.evaluation.accuracy import accuracy_interval, accuracy_intervals, proportion_interval
from mien.evaluation.intervals import (
    crossed_error,
    mean_interval,
    mean_squares,
    share_seeds_square,
    spread,
)

# Two seeds by three subjects: margins 2, 4, 6 and 3, 5; one of the cells is off by what is left.
TABLE = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])

tables = arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(2, 9)),
    elements=st.floats(-1, 1, width=32),
)


def test_mean_squares_of_a_table_done_by_hand():
    """The two-way analysis of variance gives the sums worked out with pencil and paper."""
    found = mean_squares(TABLE)
    assert found.mean == pytest.approx(4.0)
    assert found.subjects == pytest.approx(2 * ((2 - 4) ** 2 + 0 + (6 - 4) ** 2) / 2)  # 8
    assert found.seeds == pytest.approx(3 * ((3 - 4) ** 2 + (5 - 4) ** 2) / 1)  # 6
    # total 9+4+4+1+4+4 = 26; 26 - 16 - 6 = 4 on (3-1)(2-1) = 2
    assert found.residual == pytest.approx(2.0)


def test_components_equate_mean_squares_to_their_expectations():
    """From the table above: subject (8-2)/2, seed (6-2)/3, residual 2."""
    found = spread(mean_squares(TABLE))
    assert found.subject == pytest.approx(3.0)
    assert found.seed == pytest.approx(4 / 3)
    assert found.residual == pytest.approx(2.0)


def test_interval_of_a_table_done_by_hand():
    """Standard error and Satterthwaite degrees of freedom follow the stated formula."""
    found = mean_interval(TABLE)
    assert found.standard_error == pytest.approx(np.sqrt((8 + 6 - 2) / 6))
    assert found.df == pytest.approx(12**2 / (8**2 / 2 + 6**2 / 1 + 2**2 / 2))
    assert found.low < found.estimate < found.high


def test_without_seeds_and_residual_it_is_the_t_interval_over_subjects():
    """Seeds that agree exactly leave Student's interval over the subjects' means."""
    scores = np.array([0.1, 0.4, 0.2, 0.9, 0.3])
    found = mean_interval(np.stack([scores, scores, scores]))
    se = scores.std(ddof=1) / np.sqrt(5)
    assert found.standard_error == pytest.approx(se)
    assert found.df == pytest.approx(4)
    assert found.high - found.estimate == pytest.approx(2.7764451 * se)


def test_without_subjects_it_is_the_t_interval_over_seeds():
    """Subjects that agree exactly leave Student's interval over the seeds' means."""
    seeds = np.array([0.1, 0.2, 0.4])
    found = mean_interval(np.repeat(seeds[:, None], 500, axis=1))
    assert found.standard_error == pytest.approx(seeds.std(ddof=1) / np.sqrt(3))
    assert found.df == pytest.approx(2)


@settings(max_examples=60, deadline=None)
@given(tables, st.floats(-3, 3), st.randoms(use_true_random=False))
def test_interval_moves_with_a_shift_and_ignores_order(table, shift, random):
    """A constant moves the interval; the order of subjects and seeds is nothing."""
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    one = mean_interval(table)
    two = mean_interval(table[rows][:, columns] + shift)
    assert two.low == pytest.approx(one.low + shift, abs=1e-6)
    assert two.high == pytest.approx(one.high + shift, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_interval_mirrors_with_the_sign(table):
    """Swapping the arms mirrors the interval."""
    one, two = mean_interval(table), mean_interval(-table)
    assert two.low == pytest.approx(-one.high, abs=1e-9)
    assert two.high == pytest.approx(-one.low, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_degrees_of_freedom_stay_between_the_margins_and_the_whole(table):
    """Never fewer than the smaller margin, and the standard error is a number."""
    found = mean_interval(table)
    seeds, subjects = table.shape
    assert found.df >= min(seeds, subjects) - 1 - 1e-9
    assert np.isfinite(found.standard_error)
    assert np.isfinite([found.low, found.high]).all()


def test_stacked_tables_give_what_each_gives():
    """Leading axes are independent."""
    table = np.random.default_rng(0).normal(size=(4, 3, 10))
    together = crossed_error(mean_squares(table))
    alone = [crossed_error(mean_squares(one)) for one in table]
    assert together.standard_error == pytest.approx([e.standard_error for e in alone])
    assert together.df == pytest.approx([e.df for e in alone])


def test_one_comparison_shares_its_seeds_with_nobody():
    """Sharing is the identity for one comparison, and raises the degrees of freedom for more."""
    square, factor = share_seeds_square(np.array([[0.3], [0.1]]))
    assert square.ravel() == pytest.approx([0.3, 0.1])
    assert factor == 1.0
    square, factor = share_seeds_square(np.array([0.1, 0.3]))
    assert square == pytest.approx([0.15, 0.25])
    assert 1.0 < factor < 2.0


def test_no_difference_at_all_is_an_interval_of_zero_width():
    """Identical arms: the interval is [0, 0]."""
    found = mean_interval(np.zeros((3, 20)))
    assert (found.low, found.estimate, found.high) == (0.0, 0.0, 0.0)


def test_two_subjects_give_a_wide_interval_not_an_error():
    """The smallest data there can be still answers, with next to no certainty."""
    found = mean_interval(np.array([[0.0, 1.0], [0.2, 0.8], [0.1, 0.9]]))
    assert found.low < -1.0
    assert found.high > 2.0


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.zeros((1, 9)), "ONE_SEED"),
        (np.zeros((3, 1)), "ONE_SUBJECT"),
        (np.full((3, 4), np.nan), "NOT_FINITE"),
    ],
)
def test_tables_that_show_no_spread_are_refused(table, reason):
    """One seed or one subject cannot bound anything; the hint says what to run."""
    with pytest.raises(Invalid) as caught:
        mean_interval(table)
    assert caught.value.reason == reason
    if reason != "NOT_FINITE":
        assert caught.value.hint


def test_accuracy_of_independent_subjects_is_wilsons_interval():
    """Subjects that are all right or all wrong are binomial trials: 30 of 40, Student for z."""
    scores = np.array([1.0] * 30 + [0.0] * 10)
    found = accuracy_interval(scores)
    assert found.estimate == 0.75
    # Wilson's interval with z = 1.96 is 0.5980..0.8581; t(39) and n - 1 make it a little wider.
    assert found.low == pytest.approx(0.5980, abs=0.012)
    assert found.high == pytest.approx(0.8581, abs=0.008)
    assert found.low < 0.5980


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_accuracy_without_any_error_still_has_width(value):
    """Forty subjects without a mistake do not prove perfection."""
    found = accuracy_interval(np.full((3, 40), value))
    assert found.high - found.low == pytest.approx(0.09, abs=0.015)
    assert 0.0 <= found.low <= found.estimate == value <= found.high <= 1.0


def test_accuracies_of_several_arms_lie_in_their_intervals():
    """Each arm keeps its own estimate; all stay inside [0, 1]."""
    scores = np.random.default_rng(1).binomial(6, 0.97, size=(4, 3, 12)) / 6
    found = accuracy_intervals(scores)
    assert [f.estimate for f in found] == pytest.approx(list(scores.mean(axis=(1, 2))))
    assert all(0.0 <= f.low <= f.estimate <= f.high <= 1.0 for f in found)


def test_accuracies_outside_the_unit_interval_are_refused():
    """Percentages in place of fractions are caught."""
    with pytest.raises(Invalid) as caught:
        accuracy_interval(np.array([50.0, 60.0]))
    assert caught.value.reason == "SCORE_RANGE"


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 20, 0.0, 0.1684), (5, 10, 0.1871, 0.8129), (20, 20, 0.8316, 1.0), (1, 20, 0.0013, 0.2487)],
)
def test_clopper_pearson_against_published_values(hits, trials, low, high):
    """The exact interval of a proportion."""
    assert proportion_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_proportions_are_refused(hits, trials):
    """More hits than trials, or no trial."""
    with pytest.raises(Invalid):
        proportion_interval(hits, trials)
