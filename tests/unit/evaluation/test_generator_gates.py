"""The gates: each fails for its own reason, and says so."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mien.evaluation.generator_fidelity import fidelity
from mien.evaluation.generator_gates import GateLimits, balance, judge_generator
from tests.unit.evaluation.generator_example import CLASSES, answers, copied, example, unmeasured

GOOD = example()


def states(figures, limits=None):
    return {g.name: g.state for g in judge_generator(figures, limits).gates}


def test_a_good_generator_is_fit_for_use():
    """Every gate passed: fit, and the sentence says how many."""
    found = judge_generator(GOOD)
    assert found.kind == "fit"
    assert set(states(GOOD).values()) == {"passed"}
    assert found.sentence.startswith("Fit for use: all 8 gates")


@pytest.mark.parametrize(
    ("bad", "gate"),
    [
        (example(right=0.5), "label fidelity"),
        (example(spread=0.02), "coverage"),
        (example(useful=0.18), "classification accuracy score"),
        (example(copies=copied("exact")), "no exact copies"),
        (example(copies=copied("mirrored")), "no exact copies"),
        (example(copies=copied("near", 20)), "near copies"),
    ],
)
def test_each_fault_fails_its_gate_alone(bad, gate):
    """Wrong labels, collapse, uselessness, copies: unfit by that gate, with its name in words."""
    found = judge_generator(bad)
    failed = [g.name for g in found.gates if g.state == "failed"]
    assert gate in failed
    # A collapse also makes identities alike: nothing else may fail with another fault.
    also = {"recall", "distinct identities"} if gate == "coverage" else set()
    assert set(failed) <= {gate, *also}
    assert found.kind == "unfit"
    assert f"{gate}" in found.sentence


def test_failing_classes_are_named_with_their_figures():
    """Only the class that is too low is named in the reason."""
    figures = example()
    worse = replace(
        figures.fidelity.per_class[2],
        fidelity=replace(figures.fidelity.per_class[2].fidelity, estimate=0.4, low=0.35, high=0.45),
    )
    per_class = (*figures.fidelity.per_class[:2], worse, *figures.fidelity.per_class[3:])
    found = judge_generator(
        replace(figures, fidelity=replace(figures.fidelity, per_class=per_class))
    )
    gate = found.gates[0]
    assert gate.state == "failed"
    assert gate.sure
    assert "fear 40.0 %" in gate.words
    assert "anger" not in gate.words


def test_high_fidelity_does_not_excuse_collapse():
    """Fidelity near 1 with everything in one place: unfit."""
    collapsed = example(right=1.0, spread=0.01)
    found = states(collapsed)
    assert found["label fidelity"] == "passed"
    assert found["coverage"] == "failed"
    assert judge_generator(collapsed).kind == "unfit"


def test_half_of_the_spread_is_not_fit_although_it_covers():
    """Faces in the middle of the real ones are near many of them: recall alone tells."""
    narrow = example(spread=0.5)
    found = states(narrow)
    assert (found["coverage"], found["recall"]) == ("passed", "failed")
    assert judge_generator(narrow).kind == "unfit"
    assert states(narrow, GateLimits(recall=0.0))["recall"] == "passed"


def test_too_near_identities_fail_unless_nobody_asks():
    """Identities made twice fail their gate; a translator of real faces has no such gate."""
    alike = replace(GOOD, distinct=replace(GOOD.distinct, alike=0.2))
    assert states(alike)["distinct identities"] == "failed"
    assert "distinct identities" not in states(alike, GateLimits(alike=None))
    assert judge_generator(alike, GateLimits(alike=None)).kind == "fit"


@pytest.mark.parametrize(
    "name", ["fidelity", "coverage", "usefulness", "memorised", "distinct", "balance"]
)
def test_what_was_not_measured_leaves_the_verdict_open(name):
    """Without a figure no generator is called fit, and the sentence names what is missing."""
    found = judge_generator(unmeasured(GOOD, name))
    assert found.kind == "open"
    missing = [g.name for g in found.gates if g.state == "open"]
    assert missing
    assert all(m in found.sentence for m in missing)


def test_a_judge_that_guesses_judges_nobody():
    """Where the judge does not know a class on real faces, its praise and blame are void."""
    guessing = fidelity(answers(100, 1, [0.9] * 6), answers(60, 2, [0.9] * 5 + [0.0]), CLASSES)
    found = judge_generator(replace(GOOD, fidelity=guessing))
    assert found.kind == "open"
    assert "tells surprise no better than chance" in found.gates[0].words


def test_a_fault_counts_although_something_is_missing():
    """A failed gate makes it unfit whatever was not measured."""
    assert judge_generator(unmeasured(example(right=0.4), "usefulness")).kind == "unfit"


def test_a_narrow_pass_says_so():
    """A class whose interval reaches below its limit passes, but not surely."""
    found = judge_generator(GOOD, GateLimits(fidelity=0.93))
    assert found.gates[0].state == "passed"
    assert not found.gates[0].sure
    assert "not surely" in found.sentence
    assert judge_generator(GOOD, GateLimits(fidelity=0.5)).gates[0].sure


def test_balance_counts_every_cell():
    """One face too few in one cell, or an empty cell: not exact."""
    labels, names = np.tile(np.arange(3), 4), [f"i{i // 3}" for i in range(12)]
    found = balance(labels, names, 3)
    assert found.exact
    assert (found.identities, found.least, found.most, found.per_class) == (4, 1, 1, (4, 4, 4))
    short = balance(labels[:-1], names[:-1], 3)
    assert not short.exact
    assert (short.least, short.most, short.per_class) == (0, 1, (4, 4, 3))
    assert states(replace(GOOD, balance=short))["balance"] == "failed"


def test_figures_and_verdict_are_plain_values():
    """Everything becomes JSON and back without loss of finite figures."""
    plain = json.loads(json.dumps({**GOOD.to_json(), **judge_generator(GOOD).to_json()}))
    assert plain["verdict"] == "fit"
    assert plain["coverage"]["synthetic"]["coverage"] == GOOD.coverage.synthetic.coverage
    assert json.loads(json.dumps(unmeasured(GOOD, "kept").to_json()))["kept"] is None
