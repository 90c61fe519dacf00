"""Classification accuracy score: figures by hand, intervals that cover, pairing that helps."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.generator_usefulness import accuracy_score


def answers(people, seed, *, synthetic=0.6, real=0.8, classes=3, seeds=1, ease=0.0):
    """Answers on people who differ in ease alike for both classifiers."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), people)
    shift = np.repeat(rng.uniform(-ease, ease, people), classes)
    mine = rng.random((seeds, len(labels))) < np.clip(synthetic + shift, 0, 1)
    own = rng.random((seeds, len(labels))) < np.clip(real + shift, 0, 1)
    return mine, own, labels, [f"p{i // classes}" for i in range(len(labels))]


def test_figures_done_by_hand():
    """Balanced accuracies, ratio and difference of six faces of two people."""
    labels = np.array([0, 0, 1, 1, 1, 1])
    mine = np.array([True, False, True, True, True, True])  # recalls 1/2 and 1
    own = np.array([True, True, True, True, True, False])  # recalls 1 and 3/4
    found = accuracy_score(mine, own, labels, list("ababab"), classes=2)
    assert found.synthetic.estimate == pytest.approx(0.75)
    assert found.real.estimate == pytest.approx(0.875)
    assert found.ratio.estimate == pytest.approx(0.75 / 0.875)
    assert found.difference.estimate == pytest.approx(-0.125)
    assert (found.chance, found.faces, found.subjects, found.seeds) == (0.5, 6, 2, 1)
    assert found.to_json()["ratio"][0] == found.ratio.estimate


def test_guessing_is_not_above_chance():
    """A classifier that guesses lies within three sigmas of chance, a good one far above."""
    guess = accuracy_score(*answers(200, 0, synthetic=1 / 3), classes=3)
    assert abs(guess.sigmas) < 3
    assert accuracy_score(*answers(200, 0, synthetic=0.6), classes=3).sigmas > 6


def test_perfect_answers_have_finite_sigmas():
    """Where nobody is called wrong the bootstrap has no spread; guessing has."""
    found = accuracy_score(*answers(20, 0, synthetic=1.0), classes=3)
    assert found.synthetic.estimate == 1.0
    assert 3 < found.sigmas < 50


def test_one_answer_for_everything_is_chance_on_unequal_classes():
    """Balanced: naming the commonest class gets 1/C, not its share."""
    labels = np.array([0] * 80 + [1] * 20)
    mine = labels == 0
    found = accuracy_score(mine, mine, labels, (), classes=2)
    assert found.synthetic.estimate == pytest.approx(0.5)
    assert abs(found.sigmas) < 1e-9


@pytest.mark.parametrize("seeds", [1, 4])
def test_intervals_cover_the_truth(seeds):
    """Of 150 samples the intervals of score and difference hold the truth about 95 %."""
    inside = np.zeros(2)
    for seed in range(150):
        found = accuracy_score(
            *answers(60, seed, synthetic=0.6, real=0.75, seeds=seeds, ease=0.2),
            classes=3,
            draws=400,
        )
        inside += [
            found.synthetic.low <= 0.6 <= found.synthetic.high,
            found.difference.low <= -0.15 <= found.difference.high,
        ]
    assert (inside / 150 > 0.9).all()


def test_pairing_by_person_sharpens_the_difference():
    """People who are easy for both leave the difference surer than the two scores apart."""
    found = accuracy_score(*answers(80, 0, synthetic=0.5, real=0.5, seeds=6, ease=0.5), classes=3)
    apart = np.hypot(found.synthetic.standard_error, found.real.standard_error)
    assert found.difference.standard_error < 0.85 * apart


@pytest.mark.parametrize(
    ("labels", "subjects", "reason"),
    [
        ([0, 1], (), "UNEQUAL_LENGTHS"),
        ([0, 1, 1], (), "MISSING_CLASS"),
        ([0, 1, 2], ["a", "a", "a"], "ONE_SUBJECT"),
    ],
)
def test_answers_that_do_not_fit_are_refused(labels, subjects, reason):
    """Other lengths, missing classes, one person."""
    right = np.ones((1, 3), bool)
    with pytest.raises(Invalid) as caught:
        accuracy_score(right, right, np.array(labels), subjects, classes=3)
    assert caught.value.reason == reason
