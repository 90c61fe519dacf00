"""Promotions with kills at random moments, a few of each kind; ``make soak`` does hundreds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.serving.conftest import TRITON

ROOT = Path(__file__).resolve().parents[3]


def test_whenever_it_is_killed_exactly_the_old_or_the_new_model_is_served():
    """State, alias, front and answers name the same model after every kill."""
    command = [sys.executable, "-m", "tests.integration.serving.chaos", "--count", "20"]
    every = "0" if TRITON.missing else "10"
    done = subprocess.run(
        [*command, "--triton-every", every],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failures"] == []
    assert told["rounds"] == 20
    assert told["killed"] > 0
    assert told["triton"] == (0 if TRITON.missing else 2)


@pytest.mark.slow
def test_on_a_cluster_another_replica_settles_what_was_left():
    """Alias, front and every replica name the same model, whenever the promoter was killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.serving.rollout_chaos", "--count", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["rounds"], told["failures"]) == (8, [])
