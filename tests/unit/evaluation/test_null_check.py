"""r0 against r0: the verdict must stay quiet."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.null_check import null_check


def test_r0_against_r0_is_quiet():
    """Sets that differ by seed alone: few false helps, and the counts add up."""
    rng = np.random.default_rng(4)
    people = rng.normal(0.6, 0.1, 60)
    sets = people + rng.normal(0, 0.02, (40, 3, 1)) + rng.normal(0, 0.1, (40, 3, 60))
    found = null_check(sets)
    assert found.comparisons == 40 == found.helps + found.none + found.undecided
    assert found.helps <= 4
    assert found.covered >= 34
    assert found.help_low <= found.helps / 40 <= found.help_high
    assert sum(found.differences) == pytest.approx(0.0, abs=1e-12)


def test_a_set_that_differs_is_noticed():
    """The check can fail: one set much better than the next counts as help."""
    sets = 0.5 + np.random.default_rng(4).normal(0, 0.02, (20, 3, 60))
    sets[7] += 0.2
    found = null_check(sets)
    assert found.helps >= 1
    assert found.covered <= 18


def test_too_few_sets_are_refused():
    """Two sets are no check."""
    with pytest.raises(Invalid) as caught:
        null_check(np.zeros((2, 3, 9)))
    assert caught.value.reason == "TOO_FEW_SETS"


def test_sets_that_pose_as_ratios_are_selected_and_tested():
    """Selection follows the selection scores; help stays rare though the best of four is tested."""
    rng = np.random.default_rng(6)
    networks = rng.normal(0, 0.02, (40, 3, 1))
    sets, chosen = (0.6 + networks + rng.normal(0, 0.15, (40, 3, n)) for n in (60, 50))
    found = null_check(sets, selection=chosen, candidates=4)
    assert found.comparisons == 40 == found.helps + found.none + found.undecided
    assert found.helps <= 5
    best = [
        1 + int(np.argmax([chosen[(i + k) % 40].mean() for k in range(1, 5)])) for i in range(40)
    ]
    gains = [sets[(i + k) % 40].mean() - sets[i].mean() for i, k in enumerate(best)]
    assert found.differences == pytest.approx(gains)


def test_candidates_need_a_selection_of_the_same_trials():
    """Nothing is chosen on the test set itself."""
    sets = np.zeros((6, 3, 9))
    with pytest.raises(Invalid) as caught:
        null_check(sets, candidates=3)
    assert caught.value.reason == "NO_SELECTION"
    with pytest.raises(Invalid) as caught:
        null_check(sets, selection=np.zeros((6, 2, 9)), candidates=3)
    assert caught.value.reason == "SCORE_SHAPE"
    with pytest.raises(Invalid) as caught:
        null_check(sets, selection=sets, candidates=6)
    assert caught.value.reason == "TOO_FEW_SETS"
