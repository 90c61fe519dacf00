"""Label fidelity beside the judge's own error, on answers that are planted."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX
from mien.evaluation.clusters import clustered_proportion, difference
from mien.evaluation.generator_fidelity import Judged, fidelity
from mien.evaluation.intervals import Interval

THREE = EKMAN_SIX[:3]


def said(called, classes=3, sure=0.8):
    """Probabilities of a judge that calls faces so."""
    called = np.asarray(called)
    found = np.full((len(called), classes), (1 - sure) / (classes - 1), np.float32)
    found[np.arange(len(called)), called] = sure
    return found


def judged(people, right, seed, classes=3):
    """Each person shows every class once; the judge is right with the class's probability."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), people)
    hit = rng.random(len(labels)) < np.asarray(right)[labels]
    called = np.where(hit, labels, (labels + 1) % classes)
    names = [f"p{i // classes}" for i in range(len(labels))]
    return Judged(said(called, classes), labels, names)


def test_figures_done_by_hand():
    """Shares by class, their gap to the judge's own, and both confusions, counted by hand."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    names = ["a", "b", "a", "b", "a", "b"]
    synthetic = Judged(said([0, 0, 1, 2, 0, 0]), labels, names)
    real = Judged(said([0, 1, 1, 1, 2, 2]), labels, names)
    found = fidelity(synthetic, real, THREE)
    assert [c.fidelity.estimate for c in found.per_class] == [1.0, 0.5, 0.0]
    assert [c.judge.estimate for c in found.per_class] == [0.5, 1.0, 1.0]
    assert [c.gap for c in found.per_class] == [0.5, -0.5, -1.0]
    assert [c.ratio for c in found.per_class] == [2.0, 0.5, 0.0]
    assert found.fidelity.estimate == pytest.approx(0.5)
    assert found.judge.estimate == pytest.approx(5 / 6)
    assert found.confusion == ((2, 0, 0), (0, 1, 1), (2, 0, 0))
    assert found.judge_confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 2))
    assert found.to_json()["per_class"][1]["gap"][0] == -0.5


def test_all_right_is_not_certain():
    """Twenty of twenty people right leaves an interval that reaches below 0.9."""
    found = fidelity(judged(20, [1, 1, 1], 0), judged(20, [1, 1, 1], 1), THREE)
    assert found.per_class[0].fidelity.estimate == 1.0
    assert found.per_class[0].fidelity.low < 0.9
    assert found.per_class[0].gap_low < 0 < found.per_class[0].gap_high


@pytest.mark.parametrize("right", [0.55, 0.8, 0.95])
def test_intervals_cover_the_truth(right):
    """Of 300 samples the intervals of fidelity and gap hold the truth about 95 % of the time."""
    inside = np.zeros(3)
    for seed in range(300):
        found = fidelity(
            judged(60, [right, 0.7, 0.6], 2 * seed),
            judged(50, [0.9, 0.9, 0.9], 2 * seed + 1),
            THREE,
        )
        one, whole = found.per_class[0], (right + 0.7 + 0.6) / 3
        inside += [
            one.fidelity.low <= right <= one.fidelity.high,
            one.gap_low <= right - 0.9 <= one.gap_high,
            found.fidelity.low <= whole <= found.fidelity.high,
        ]
    assert (inside / 300 > 0.91).all()


def test_faces_of_one_identity_count_as_one():
    """Clusters that agree within themselves: coverage stays, as if each were one observation."""
    inside, narrow = 0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        hits = np.repeat(rng.random(40) < 0.7, 8)
        names = [f"p{i // 8}" for i in range(320)]
        found = clustered_proportion(hits, names)
        inside += found.low <= 0.7 <= found.high
        blind = clustered_proportion(hits, ())
        narrow += blind.low <= 0.7 <= blind.high
    assert inside > 0.91 * 300
    assert narrow < 0.75 * 300


def test_difference_of_estimates_keeps_their_skew():
    """Limits of a difference done by hand from each estimate's own limits."""
    first = Interval(0.9, 0.8, 0.95, 0.0, 1.0)
    second = Interval(0.7, 0.6, 0.78, 0.0, 1.0)
    low, high = difference(first, second)
    assert low == pytest.approx(0.2 - np.hypot(0.1, 0.08))
    assert high == pytest.approx(0.2 + np.hypot(0.05, 0.1))


@pytest.mark.parametrize(
    ("probabilities", "labels", "reason"),
    [
        (said([0, 1, 2]), [0, 1], "PROBABILITIES"),
        (said([0, 1, 2], classes=4), [0, 1, 2], "PROBABILITIES"),
        (said([0, 1, 2]) * 3, [0, 1, 2], "PROBABILITIES"),
        (said([0, 1, 1, 0]), [0, 1, 1, 0], "MISSING_CLASS"),
        (said([0, 1, 2, 1]), [0, 1, 2, -1], "MISSING_CLASS"),
    ],
)
def test_what_no_judge_said_is_refused(probabilities, labels, reason):
    """Wrong shapes, rows that are no distribution, classes without a face."""
    good = judged(5, [1, 1, 1], 0)
    bad = Judged(probabilities, np.array(labels))
    for synthetic, real in ((bad, good), (good, bad)):
        with pytest.raises(Invalid) as caught:
            fidelity(synthetic, real, THREE)
        assert caught.value.reason == reason
