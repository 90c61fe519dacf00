"""The gate: who passes and who does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX
from mien.evaluation.gate import GateFaces, GateRule, judge_challenger, macro_f1

PEOPLE, EACH = 60, 6


def faces():
    labels = np.tile(np.arange(6), PEOPLE)
    return GateFaces(labels, [f"p{i // EACH}" for i in range(len(labels))], EKMAN_SIX)


def answers(right, seed, *, confidence=None):
    """Calibrated answers that are right so often, drawn face by face."""
    rng = np.random.default_rng(seed)
    labels = faces().labels
    hit = rng.random(len(labels)) < right
    called = np.where(hit, labels, (labels + 1 + rng.integers(0, 5, len(labels))) % 6)
    sure = right if confidence is None else confidence
    found = np.full((len(labels), 6), (1 - sure) / 5, np.float32)
    found[np.arange(len(labels)), called] = sure
    return found


def verdicts(*given, **named):
    checks = judge_challenger(faces(), *given, rule=GateRule(), **named)
    return {c.check: c.passed for c in checks}


def test_the_champion_itself_passes():
    """No difference is no loss, to the last digit."""
    same = answers(0.7, 0)
    passed = verdicts(same, champion=same, baseline=None)
    assert passed == {"macro_f1": True, "recall": True, "ece": True}


def test_a_clearly_better_one_passes_and_a_clearly_worse_one_does_not():
    """Lower bound over people, and the recall of every class."""
    good, bad = answers(0.9, 1), answers(0.5, 2)
    assert all(verdicts(good, champion=bad, baseline=None).values())
    back = verdicts(bad, champion=good, baseline=None)
    assert (back["macro_f1"], back["recall"]) == (False, False)


def test_one_lost_class_is_found_behind_a_better_whole():
    """A challenger that gives up one expression for the others does not pass."""
    before, after = answers(0.7, 1), answers(0.97, 1, confidence=0.8)
    lost = faces().labels == 2
    after[lost] = np.roll(np.eye(6, dtype=np.float32)[2], 1) * 0.5 + 0.5 / 6
    passed = verdicts(after, champion=before, baseline=None)
    assert not passed["recall"]


def test_confidence_that_means_nothing_does_not_pass():
    """Right as before, but far too sure."""
    before = answers(0.7, 1)
    passed = verdicts(answers(0.7, 1, confidence=0.999), champion=before, baseline=None)
    assert passed == {"macro_f1": True, "recall": True, "ece": False}


def test_a_first_champion_must_beat_chance_and_hog():
    """Without a champion, both are held against it."""
    hog = answers(0.5, 3).argmax(axis=1)
    assert verdicts(answers(0.8, 4), champion=None, baseline=hog) == {
        "chance": True,
        "hog": True,
        "ece": True,
    }
    assert not verdicts(answers(0.3, 4), champion=None, baseline=hog)["hog"]
    assert not verdicts(answers(1 / 6, 4), champion=None, baseline=hog)["chance"]
    assert not verdicts(answers(0.8, 4), champion=None, baseline=None)["hog"]


def test_the_same_question_has_the_same_answer():
    """Resampling is seeded: a gate asked twice says the same."""
    asked = (answers(0.71, 5),)
    named = {"champion": answers(0.7, 6), "baseline": None, "rule": GateRule()}
    assert judge_challenger(faces(), *asked, **named) == judge_challenger(faces(), *asked, **named)


def test_people_are_the_units():
    """The same faces of ten people say less than those of sixty: the lower bound is lower."""
    few = GateFaces(faces().labels, [f"p{i % 5}" for i in range(360)], EKMAN_SIX)
    challenger, champion = answers(0.74, 8), answers(0.70, 9)

    def low(who):
        checks = judge_challenger(
            who, challenger, champion=champion, baseline=None, rule=GateRule()
        )
        return checks[0].finding

    assert "over 60 people" in low(faces())
    assert "over 5 people" in low(few)


def test_a_set_without_labels_is_refused():
    """There is nothing to judge by."""
    with pytest.raises(Invalid, match="GATE_SET"):
        GateFaces(np.array([-1]), [""], EKMAN_SIX)


@given(st.integers(0, 2**31))
def test_macro_f1_is_that_of_a_known_library(seed):
    """Over the classes present in the truth."""
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    counts = np.zeros((1, 4, 4))
    np.add.at(counts[0], (truth, said), 1)
    present = np.unique(truth)
    want = f1_score(truth, said, labels=present, average="macro", zero_division=0)
    assert macro_f1(counts)[0] == pytest.approx(want)
