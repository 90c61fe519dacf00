"""Per-sample correctness becomes paired subject-by-seed scores."""

from collections.abc import Sequence

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.scores import Predictions
from mien.core.split import Arm
from mien.evaluation.evidence import Evidence, Judged, ScoreSet, judge, score_set, subject_scores

R0, R2 = Arm(), Arm("ratio", 2, pool="p")


def judged(arm: Arm, seed: int, fold: int = 0, **scores: float) -> Judged:
    names = tuple(sorted(scores))
    return Judged(arm, seed, fold, names, np.array([scores[n] for n in names]))


def test_every_subject_counts_equally():
    """A subject with many photos weighs no more than one with few."""
    names, scores = subject_scores(np.array([1, 1, 1, 0, 0]), ["b", "b", "b", "b", "a"])
    assert names == ("a", "b")
    assert scores == pytest.approx([0.0, 0.75])


@pytest.mark.parametrize(
    ("correct", "subjects", "reason"),
    [
        ([1, 0], ["a", ""], "NO_SUBJECT"),
        ([], [], "EMPTY_SET"),
        ([1, 0], ["a"], "LENGTH_MISMATCH"),
    ],
)
def test_scores_without_subjects_are_refused(correct, subjects, reason):
    """A sample without subject cannot be counted by subject."""
    with pytest.raises(Invalid) as caught:
        subject_scores(np.array(correct), subjects)
    assert caught.value.reason == reason


def predictions(subjects: Sequence[str] = ("s:1", "s:1", "s:2", "s:2")) -> Predictions:
    logits = np.array([[2, 0], [0, 2], [2, 0], [2, 0]], dtype=np.float32)
    return Predictions(
        ids=("a", "b", "c", "d"),
        subjects=subjects,
        labels=np.array([0, 0, 0, -1]),
        logits=logits,
        classes=(Expression.ANGER, Expression.FEAR),
        affect=np.zeros((4, 0), np.float32),
        affect_true=np.zeros((4, 0), np.float32),
    )


def test_predictions_are_judged_without_the_unlabelled():
    """The most likely class is compared with the label; -1 is left out."""
    found = judge(R0, 3, 1, predictions())
    assert (found.subjects, found.seed, found.fold) == (("s:1", "s:2"), 3, 1)
    assert found.scores == pytest.approx([0.5, 1.0])


def test_a_database_without_subjects_is_judged_by_sample():
    """Only on request is every sample its own subject."""
    none = predictions(subjects=("", "", "", ""))
    with pytest.raises(Invalid):
        judge(R0, 0, 0, none)
    assert judge(R0, 0, 0, none, by="sample").subjects == ("a", "b", "c")


def test_folds_of_the_selection_set_lie_side_by_side():
    """Every subject is judged in one fold; the columns are all of them, sorted."""
    entries = [
        judged(arm, seed, fold, **{name: base + seed / 10})
        for arm, base in ((R0, 0.2), (R2, 0.5))
        for seed in (0, 1)
        for fold, name in ((0, "b"), (1, "a"))
    ]
    found = score_set("validation", entries, once=True)
    assert (found.subjects, found.seeds) == (("a", "b"), (0, 1))
    assert found.scores[R2] == pytest.approx(np.array([[0.5, 0.5], [0.6, 0.6]]))
    assert found.stack([R0, R2]).shape == (2, 2, 2)


def test_folds_on_the_own_test_are_averaged_within_a_seed():
    """Where every fold's model judges everybody, a subject counts with its mean."""
    entries = [judged(R0, 0, 0, a=1.0, b=0.0), judged(R0, 0, 1, a=0.5, b=0.5)]
    assert score_set("test", entries).scores[R0] == pytest.approx(np.array([[0.75, 0.25]]))


def test_a_subject_in_two_folds_cannot_select():
    """Cross-validation judges everybody once."""
    entries = [judged(R0, 0, 0, a=1.0), judged(R0, 0, 1, a=1.0, b=0.0)]
    with pytest.raises(Invalid, match="'a' is judged in folds 0 and 1"):
        score_set("validation", entries, once=True)


def test_arms_that_are_not_paired_are_refused():
    """A missing trial, or one judged on other subjects, names the arm and seed."""
    whole = [judged(R0, s, a=1.0, b=0.0) for s in (0, 1)]
    for other in (
        [judged(R2, 0, a=1.0, b=1.0)],
        [judged(R2, 0, a=1.0, b=1.0), judged(R2, 1, a=1.0, c=1.0)],
    ):
        with pytest.raises(Invalid) as caught:
            score_set("test", [*whole, *other])
        assert caught.value.reason == "UNPAIRED"
        assert "r2@p seed 1" in caught.value.message


def test_a_trial_given_twice_and_nothing_given_are_refused():
    """Neither is guessed about."""
    with pytest.raises(Invalid) as caught:
        score_set("test", [judged(R0, 0, a=1.0)] * 2)
    assert caught.value.reason == "TRIAL_TWICE"
    with pytest.raises(Invalid) as caught:
        score_set("test", [])
    assert caught.value.reason == "EMPTY_SET"


def test_score_sets_check_their_shape_and_arms():
    """A matrix of the wrong shape, a hole in it or an absent arm is named."""
    with pytest.raises(Invalid) as caught:
        ScoreSet("test", ("a", "b"), (0,), {R0: np.zeros((2, 2))})
    assert caught.value.reason == "SCORE_SHAPE"
    with pytest.raises(Invalid) as caught:
        ScoreSet("test", ("a", "b"), (0,), {R0: np.array([[0.0, np.nan]])})
    assert caught.value.reason == "NOT_FINITE"
    with pytest.raises(Invalid, match=r"test has no scores of r2@p"):
        ScoreSet("test", ("a",), (0,), {R0: np.zeros((1, 1))}).stack([R0, R2])


def test_nobody_both_selects_and_judges():
    """A subject in the selection set and in the own test is refused by name."""
    one = ScoreSet("validation", ("a", "b"), (0,), {R0: np.zeros((1, 2))})
    two = ScoreSet("test", ("b", "c"), (0,), {R0: np.zeros((1, 2))})
    with pytest.raises(Invalid, match="'b' both selects and judges"):
        Evidence("steps", one, two)
