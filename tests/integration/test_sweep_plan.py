"""`mien sweep --plan` says what a sweep costs: trials, images, time, disk; it runs nothing."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.compose import make_context
from mien.params.project import load_params
from mien.stages import sweep
from mien.stages.sweep_cost import wall_seconds

PROTOCOLS = {"steps": {"kimg": 0.05, "batch": 8, "evaluations": 1}, "protocols": ["steps", "paper"]}
PAPER = {"epochs": 2, "patience": 1, "batch": 8}


def estimate(project):
    """What the plan of the project in the current folder says."""
    return sweep.run(make_context(load_params(project.root / "params.yaml")), plan_only=True)


def test_the_time_is_measured_where_nothing_has_run_yet(project):
    """A few steps of each protocol's own loop: figures a protocol, and no trial is begun."""
    project.params(sweep=PROTOCOLS | {"paper": PAPER}).until("ingest", "split", "preprocess")
    said = project.done("sweep", "--plan").out.splitlines()
    steps, paper = said[1].split(), said[2].split()
    assert steps[:4] == ["steps", "4", "0", "0.2"]  # two arms, two seeds, 0.05 kimg each
    assert paper[:3] == ["paper", "4", "0"]
    assert all(re.search(r"[\d,]+ images/s, measured now over \d+ steps", s) for s in said[1:3])
    assert "8 trials, 0 of them done already" in said[3]
    assert "with 1 at once" in said[3]
    assert "at most" in said[3]
    assert not list(project.cache.glob("trials/*"))


def test_the_time_comes_from_trials_that_have_finished(project):
    """Same network, batch and device: its seconds an image, and its seconds besides training."""
    project.until("ingest", "split", "preprocess", "sweep")
    done = estimate(project)
    assert (done.trials, done.cached, done.wall_s) == (4, 4, 0.0)
    for path in project.cache.glob("trials/*/result.json"):
        result = json.loads(path.read_text())
        figures = {"images_seen": 1000, "train_s": 20.0, "wall_s": 23.0}
        path.write_text(json.dumps(result | figures))
    project.params(sweep={"steps": {"kimg": 0.1, "batch": 8, "evaluations": 1}, "seeds": 3})
    longer = estimate(project)
    assert (longer.trials, longer.cached) == (6, 0)
    (cost,) = longer.protocols
    assert cost.work_s == pytest.approx(6 * (100 * 0.020 + 3.0))
    assert longer.wall_s == pytest.approx(cost.work_s)  # inline: one at a time
    assert cost.source == "50 images/s in 4 finished trials on cpu"
    project.params(sweep={"classifier": {"network": "small", "width": 0.5}})
    assert "measured now" in estimate(project).protocols[0].source, "another network"


@given(
    trials=st.lists(st.floats(0, 1e4), max_size=30),
    workers=st.integers(1, 64),
)
def test_more_workers_never_take_longer_nor_less_than_the_longest(trials, workers):
    """The time is at least the longest trial's, and at most one worker's."""
    found = wall_seconds(trials, workers)
    assert max(trials, default=0.0) <= found <= sum(trials) * (1 + 1e-9)
    assert wall_seconds(trials, workers + 1) <= found
