"""The runner, played whole: `mien retrain` as a process, with the real pipeline in small."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.integration.retrain.runner import PARAMS, git, set_scene

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "4"))
WITHIN_S = 600.0
WORSE = ("--set", "gate.margin=0.0", "--set", "sweep.steps.kimg=0.032")


@pytest.fixture
def play(tmp_path):
    """A project on a remote, and a challenger that knows nothing."""
    scene = set_scene(tmp_path, PARAMS)
    scene.weak_challenger()
    return scene


def nothing_half_done(play, weak):
    """The challenger moves after the data and the commit, never before."""
    if play.challenger() == weak:
        return
    lock = play.shown("retrain/main", "dvc.lock")
    clone = play.clone(f"look{time.monotonic_ns()}")
    (clone / "dvc.lock").write_text(lock + "\n")
    mien(play, clone, "pull")


def mien(play, clone, *argv):
    """Run another verb in a clone."""
    done = subprocess.run(
        [sys.executable, "-m", "mien", *argv],
        cwd=clone,
        env=play.env(clone.name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_at_random_the_next_run_completes(play):
    """Whenever SIGKILL comes; what it left running is ended, and a fresh runner agrees."""
    weak = play.challenger()
    clone = play.clone()
    rng = random.Random(5)
    code = None
    for _ in range(KILLS):
        process = play.start(clone)
        try:
            process.wait(rng.uniform(1.0, 60.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=WITHIN_S)
        code = process.returncode
        assert code in (0, -signal.SIGKILL), out + err
        nothing_half_done(play, weak)
    if code != 0:
        code, said = play.retrain(clone)
        assert code == 0, said
    assert play.challenger() == "2"
    tip = play.tip()
    assert play.models.get("expression@challenger").lineage.model_digest
    code, said = play.retrain(play.clone("fresh"))
    assert (code, play.tip(), play.challenger()) == (0, tip, "2"), said


def test_a_worse_model_is_refused_and_a_change_promoted(play):
    """Exit 3 and the report says why; then another change goes through, on top of the first."""
    clone = play.clone()
    code, said = play.retrain(clone)
    assert (code, play.challenger()) == (0, "2"), said
    first = play.tip()
    code, said = play.retrain(clone, *WORSE)
    assert code == 3, said
    assert "refused by the gate: macro_f1" in said
    (report,) = [w for w in said.split() if w.endswith("report.md")]
    text = (clone / report).read_text()
    assert "**refused**" in text
    assert "`sweep.steps.kimg=0.032`" in text
    assert (play.tip(), play.challenger()) == (first, "2")
    changed = {"RETRAIN_SET": "decide.alpha=0.1 sweep.first_seed=7", "RETRAIN_RATIO": ""}
    code, said = play.retrain(clone, env=changed)
    assert (code, play.challenger()) == (0, "3"), said
    assert git(play.origin, "rev-parse", "retrain/main^2") == first
    shown = play.shown("retrain/main", "params.yaml")
    assert "alpha: 0.1" in shown
    assert "first_seed: 7" in shown
    assert "kimg: 1.0" in shown
    mien(play, clone, "registry", "push", "data/ingest/lab", "--name", "lab")
    code, said = play.retrain(clone, env={"RETRAIN_DATASET": "lab=lab"})
    assert code == 0, said
    assert "root: data/given/" in play.shown("retrain/main", "params.yaml")


def test_two_at_once_one_yields_and_one_waits(play):
    """In one working copy; asked to stop, the first says so and the second takes over."""
    clone = play.clone()
    first = play.start(clone)
    lock = clone / "runs" / "retrain" / "who"
    until = time.monotonic() + WITHIN_S
    while not lock.exists():
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    code, said = play.retrain(clone)
    assert code == 1
    assert "RETRAINING_RUNS" in said
    second = play.start(clone, "--wait", str(WITHIN_S))
    journals = clone / "runs" / "retrain"
    while not list(journals.glob("*/journal.jsonl")):
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    first.terminate()
    out, err = first.communicate(timeout=WITHIN_S)
    assert first.returncode == 143, out + err
    out, err = second.communicate(timeout=WITHIN_S)
    assert (second.returncode, play.challenger()) == (0, "2"), out + err
