"""The simulation that validates the decision: its truth, its code, and a small run of it."""

import numpy as np
import pytest

from benchmarks.decision_simulation import (
    BLIND,
    FIXED,
    GAINS,
    OWN,
    RATIOS,
    SELECTION,
    World,
    draw_sets,
    judge_sweeps,
    simulate,
)
from mien.core.split import Arm
from mien.evaluation.decision import decide
from mien.evaluation.evidence import Evidence, ScoreSet

ARMS = [Arm()] + [Arm("ratio", k, pool="p") for k in RATIOS[1:]]


def test_the_stated_accuracies_are_the_true_ones():
    """Over many networks and people the mean accuracy is what the world was told."""
    rng = np.random.default_rng(0)
    world = World(seed_arm=0.2, seed=0.2, pool=0.1)
    sets = draw_sets(rng, world, GAINS["peaked"], 3000, 4, 2)
    for database, scores in zip((SELECTION, OWN, *BLIND), sets, strict=True):
        told = world.accuracy + database.shift + database.transfer * np.array(GAINS["peaked"])
        by_sweep = scores.mean(axis=(2, 3))
        error = by_sweep.std(axis=0) / np.sqrt(len(scores))
        assert (np.abs(by_sweep.mean(axis=0) - told) < 4 * error).all()


def test_the_simulation_decides_as_the_library_does():
    """Candidate, interval and blind intervals of each sweep are those of decide()."""
    sets = draw_sets(np.random.default_rng(1), World(), GAINS["linear"], 12, 30, 3)
    picked, _, within = judge_sweeps(sets, "best")
    for i in range(12):
        named = [
            ScoreSet(
                name,
                tuple(f"{name}:{n:03d}" for n in range(30)),
                (0, 1, 2),
                dict(zip(ARMS, scores[i], strict=True)),
            )
            for name, scores in zip(("validation", "test", "a", "b"), sets, strict=True)
        ]
        found = decide(Evidence("steps", named[0], named[1], {"a": named[2], "b": named[3]}))
        assert found.candidate == ARMS[1 + picked[i]].name
        for comparison, limits in zip((found.own, *found.blind), within, strict=True):
            assert comparison.low == pytest.approx(limits.low[i])
            assert comparison.high == pytest.approx(limits.high[i])
            assert comparison.p == pytest.approx(limits.p[i])


@pytest.mark.parametrize(("subjects", "seeds"), [(25, 3), (70, 5)])
def test_a_small_run_covers_and_stays_quiet(subjects, seeds):
    """800 sweeps without any effect: coverage near 95 %, false help rare, verdicts add up."""
    (found,) = simulate(World(), GAINS["flat"], subjects, seeds, 800)
    assert found.sweeps == 800 == found.helps + found.none + found.undecided
    for covered in (found.fixed, found.chosen, found.blind):
        assert 0.93 < covered / 800 < 0.985
    assert found.false == found.helps <= 40


def test_effects_are_found():
    """A large effect is helped far more often than none, and the candidate is a good one."""
    (found,) = simulate(World(), GAINS["peaked"], 70, 5, 300)
    assert found.helps / 300 > 0.5
    assert found.gain / 300 > 0.04
    assert GAINS["peaked"][FIXED + 1] == 0.05
