"""Filtering: thresholds by class, planted wrong labels, balance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX
from mien.evaluation.filtering import (
    Filter,
    asked_probability,
    filter_figures,
    filter_pool,
    fit_filter,
    passes,
    plant_wrong,
)
from mien.evaluation.generator_fidelity import Judged

FOUR = EKMAN_SIX[:4]


def judged(people, seed, sure=3.0, classes=4):
    """A judge whose logits favour the true class by ``sure``, by less for later classes."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), people)
    logits = rng.standard_normal((len(labels), classes))
    logits[np.arange(len(labels)), labels] += sure - 0.5 * labels
    exp = np.exp(logits)
    said = (exp / exp.sum(1, keepdims=True)).astype(np.float32)
    return Judged(said, labels, [f"p{i // classes}" for i in range(len(labels))])


def test_each_class_keeps_the_share_asked_for():
    """Nine tenths of the real faces of every class pass, also of those the judge is unsure of."""
    real = judged(400, 0)
    chosen = fit_filter(real, FOUR, keep=0.9)
    passed = passes(chosen, judged(400, 1))
    shares = [passed[np.arange(4 * 400) % 4 == c].mean() for c in range(4)]
    assert shares == pytest.approx([0.9] * 4, abs=0.05)
    assert chosen.thresholds[3] < chosen.thresholds[0]
    assert chosen.to_json()["anger"] == chosen.thresholds[0]


def test_planted_labels_are_wrong_and_as_many_as_said():
    """Every planted label differs from the true one; about the share is planted."""
    labels = np.random.default_rng(0).integers(0, 4, 5000)
    given, wrong = plant_wrong(labels, 4, share=0.2)
    assert np.array_equal(given != labels, wrong)
    assert wrong.mean() == pytest.approx(0.2, abs=0.02)
    again, _ = plant_wrong(labels, 4, share=0.2)
    assert np.array_equal(given, again)


def test_figures_are_the_counts():
    """Precision, recall and what is kept, counted from the planted labels themselves."""
    real, chosen = judged(300, 2), fit_filter(judged(300, 3), FOUR)
    found = filter_figures(chosen, real, share=0.3, seed=7)
    labels, wrong = plant_wrong(real.labels, 4, share=0.3, seed=7)
    kept = passes(chosen, Judged(real.probabilities, labels))
    assert found.precision.estimate == pytest.approx(wrong[~kept].mean())
    assert found.recall.estimate == pytest.approx((~kept)[wrong].mean())
    assert found.right_kept.estimate == pytest.approx(kept[~wrong].mean())
    assert found.kept_right.estimate == pytest.approx((~wrong)[kept].mean())
    assert (found.removed, found.faces) == ((~kept).sum(), 1200)
    assert found.recall.low < found.recall.estimate < found.recall.high
    assert found.to_json()["planted"] == pytest.approx(wrong.mean())


def test_a_good_judge_filters_well_and_a_blind_one_by_chance():
    """A sure judge finds the wrong labels; one that knows nothing removes them like any other."""
    good = filter_figures(fit_filter(judged(300, 0, sure=8), FOUR), judged(300, 1, sure=8))
    assert good.recall.low > 0.95
    rng = np.random.default_rng(0)
    blind = [Judged(rng.dirichlet(np.ones(4), 1200).astype(np.float32), np.arange(1200) % 4)] * 2
    chance = filter_figures(fit_filter(blind[0], FOUR), blind[1])
    assert chance.recall.low < 0.1 < chance.recall.high
    assert chance.precision.estimate == pytest.approx(chance.planted, abs=0.1)


def test_a_filter_that_removes_nothing_has_no_precision():
    """Nothing removed: precision is undefined, not perfect."""
    found = filter_figures(Filter(FOUR, (0.0,) * 4), judged(50, 0))
    assert found.precision is None
    assert found.recall.estimate == 0.0
    assert found.to_json()["precision"] is None


def test_empty_cells_are_named():
    """An identity whose fear never passes is named with it and left out of the balanced pool."""
    pool = judged(3, 0, sure=9)
    said = pool.probabilities.copy()
    said[6] = [0.97, 0.01, 0.01, 0.01]  # p1, class 2
    found = filter_pool(Filter(FOUR, (0.5,) * 4), Judged(said, pool.labels, pool.people))
    assert found.empty == (("p1", FOUR[2]),)
    assert found.kept_per_class == (3, 3, 2, 3)
    assert found.asked_per_class == (3, 3, 3, 3)
    assert {pool.people[i] for i in np.flatnonzero(found.balanced)} == {"p0", "p2"}
    assert found.to_json()["empty_cells"] == [["p1", str(FOUR[2])]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_what_is_kept_is_balanced(seed, threshold):
    """Every identity keeps as many of each class as its rarest has, the surest of those."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 120))
    labels, who = rng.integers(0, 4, n), rng.integers(0, 6, n)
    said = rng.dirichlet(np.ones(4), n).astype(np.float32)
    pool = Judged(said, labels, [f"p{w}" for w in who])
    found = filter_pool(Filter(FOUR, (threshold,) * 4), pool)
    assert not (found.balanced & ~found.keep).any()
    sure = asked_probability(pool)
    for identity in range(6):
        own = who == identity
        passed = [int((found.keep & own & (labels == c)).sum()) for c in range(4)]
        kept = [int((found.balanced & own & (labels == c)).sum()) for c in range(4)]
        assert kept == [min(passed)] * 4
        for c in range(4):
            cell = own & (labels == c) & found.keep
            left, right = cell & ~found.balanced, cell & found.balanced
            if left.any() and right.any():
                assert sure[left].max() <= sure[right].min()
            if (own & (labels == c)).any():
                assert ((f"p{identity}", FOUR[c]) in found.empty) == (not cell.any())


@pytest.mark.parametrize("keep", [0.0, 1.0, 1.5])
def test_a_share_that_is_none_is_refused(keep):
    """Keeping nothing or everything is no filter."""
    with pytest.raises(Invalid) as caught:
        fit_filter(judged(5, 0), FOUR, keep=keep)
    assert caught.value.reason == "FILTER_KEEP"


def test_another_label_space_is_refused():
    """A filter of four classes does not judge six."""
    other = judged(5, 0, classes=6)
    with pytest.raises(Invalid) as caught:
        passes(Filter(FOUR, (0.5,) * 4), other)
    assert caught.value.reason == "PROBABILITIES"
    with pytest.raises(Invalid) as caught:
        filter_pool(Filter(FOUR, (0.5,) * 4), Judged(judged(2, 0).probabilities, np.arange(8) % 4))
    assert caught.value.reason == "UNEQUAL_LENGTHS"
