"""The workflow calls what a laptop calls, and can do no more than it must."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.integration.retrain.runner import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RETRAIN = yaml.safe_load((ROOT / ".github" / "workflows" / "retrain.yml").read_text())
STEPS = [
    pytest.param(step, id=f"{job}-{number}")
    for job, body in RETRAIN["jobs"].items()
    for number, step in enumerate(body["steps"])
]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_action_is_pinned_by_its_commit(file):
    """A tag can be moved; forty hex digits cannot."""
    used = re.findall(r"uses:\s*(\S+)", file.read_text())
    assert used
    assert [u for u in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", u)] == []


def test_all_workflows_pin_the_same_commits():
    """One version of each action."""
    used = {u for f in FILES for u in re.findall(r"uses:\s*(\S+)", f.read_text())}
    assert len({u.partition("@")[0] for u in used}) == len(used)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_calls_make_or_an_action(step):
    """All logic is in `mien retrain`; nothing of the event ever reaches a shell as text."""
    if "uses" in step:
        return
    assert re.fullmatch(r"(make|mien) [\w -]+", step["run"].strip()), step["run"]
    assert "${{" not in step["run"]


def test_no_event_reaches_a_run_line():
    """Neither here nor in the other workflows."""
    for file in FILES:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                assert "github.event" not in step.get("run", ""), file
                assert "inputs." not in step.get("run", ""), file


def test_it_is_started_by_data_parameters_schedule_hand_and_registry():
    """The triggers that were asked for."""
    triggers = RETRAIN["on"]
    assert set(triggers) == {"push", "schedule", "workflow_dispatch", "repository_dispatch"}
    assert "params.yaml" in triggers["push"]["paths"]
    assert {"ratio", "dataset"} <= set(triggers["workflow_dispatch"]["inputs"])
    from services.registry.webhook import EVENT

    assert triggers["repository_dispatch"]["types"] == [EVENT]


def test_one_retraining_a_branch_and_least_permissions():
    """Never two at once, never cancelled in the middle; each job says what it may."""
    for name, job in RETRAIN["jobs"].items():
        assert job["concurrency"] == {
            "group": name + "-${{ github.ref_name }}",
            "cancel-in-progress": False,
        }
    assert "concurrency" not in RETRAIN  # a champion that waits for its yes holds nobody up
    assert RETRAIN["permissions"] == {}
    assert RETRAIN["env"]["CHECK_STRICT"] == "1"
    jobs = RETRAIN["jobs"]
    assert jobs["retrain"]["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert jobs["champion"]["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in jobs.values())


def test_the_champion_needs_a_protected_environment_and_a_promoted_challenger():
    """Somebody has to say yes."""
    champion = RETRAIN["jobs"]["champion"]
    assert champion["environment"] == "champion"
    assert champion["needs"] == "retrain"
    assert champion["if"] == "needs.retrain.outputs.state == 'promoted'"


def test_what_is_asked_by_environment_is_no_shell_text(tmp_path):
    """`make retrain` and `make promote` run nothing that a value names."""
    venv = tmp_path / ".venv" / "bin"
    venv.mkdir(parents=True)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / ".installed").touch()
    (venv / "mien").write_text('#!/bin/sh\nprintf "%s|" "$@" >> called\n')
    (venv / "mien").chmod(0o755)
    evil = "x; touch bad $(touch bad) `touch bad` \" ' $$"
    env = {"PATH": "/usr/bin:/bin", "RETRAIN_SET": evil, "RETRAIN_RATIO": evil}
    subprocess.run(
        ["make", "retrain", "promote"],
        cwd=tmp_path,
        env=env | {"PROMOTE_MODEL": evil},
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "called").read_text() == f"retrain|pull|promote|{evil}|"
    assert not (tmp_path / "bad").exists()
