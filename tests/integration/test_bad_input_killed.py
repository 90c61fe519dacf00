"""Killed at any moment: outputs are whole or absent, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

FEW_S = 60


def start(project, *argv):
    """Start a command as a user does, leader of its own group."""
    return subprocess.Popen(
        [sys.executable, "-m", "mien", "--quiet", *argv],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process):
    """End it as the kernel does when memory runs out; its children are left to themselves."""
    process.kill()
    process.wait(FEW_S)


def wait_for(condition, process):
    """Wait until something is there, or the process has ended."""
    until = time.monotonic() + FEW_S
    while not condition() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(group):
    """Whether any process of a group still lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def versions(project):
    """The folders a reader could take for versions."""
    return sorted(p.name for p in (project.root / "data/ingest").glob("[!.]*"))


@pytest.fixture
def forty(project):
    """Forty rendered people to ingest, two small pictures each."""
    params = {"subjects": 40, "size_px": 32, "expressions": ["anger", "happiness"]}
    return project.params(
        ingest={"lab": {"reader": "demo_lab", "params": params}},
        preprocess={"sets": {"faces": "ingest/lab"}},
        sweep={"pools": ["faces"]},
    )


def test_an_ingest_killed_at_any_moment(forty):
    """Kills at drawn moments: never half a version; then it runs through, leaving no rest."""
    rng = np.random.default_rng(0)
    for delay_s in rng.uniform(0.3, 3.0, 3):
        process = start(forty, "ingest", "lab")
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            kill(process)
        process.communicate()
        for name in versions(forty):
            forty.done("verify", f"data/ingest/{name}")
    forty.done("ingest", "lab")
    assert "80 images" in forty.done("verify", "data/ingest/lab").out
    assert [p.name for p in (forty.root / "data/ingest").iterdir()] == ["lab"]


def test_an_ingest_killed_while_it_writes(forty):
    """Killed with faces already on the disk: they lie beside the place, and are swept up."""
    process = start(forty, "ingest", "lab")
    folder = forty.root / "data/ingest"
    wait_for(lambda: list(folder.glob(".lab.*.tmp")), process)
    kill(process)
    process.communicate()
    assert versions(forty) == []
    forty.done("ingest", "lab")
    assert [p.name for p in folder.iterdir()] == ["lab"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_ingesting(forty, monkeypatch, number, code):
    """Ctrl-C reaches the workers that render too: one sentence, its code, nothing left."""
    monkeypatch.setenv("MIEN_WORKERS", "2")
    process = start(forty, "ingest", "lab")
    folder = forty.root / "data/ingest"
    wait_for(lambda: list(folder.glob(".lab.*.tmp")), process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT) if code == 130 else process.send_signal(number)
    _, err = process.communicate(timeout=FEW_S)
    assert process.returncode == code, err
    assert err == "mien: interrupted; the same command goes on where it can\n"
    assert list(folder.iterdir()) == []


def test_workers_do_not_outlive_a_killed_launcher(forty, monkeypatch):
    """Who renders for a process that was killed ends by itself."""
    monkeypatch.setenv("MIEN_WORKERS", "2")
    process = start(forty, "ingest", "lab")
    wait_for(lambda: list((forty.root / "data/ingest").glob(".lab.*.tmp")), process)
    time.sleep(1.0)
    kill(process)
    until = time.monotonic() + FEW_S
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(process.pid)


def test_a_sweep_killed_at_any_moment_goes_on(project):
    """Finished trials are kept, the others are run."""
    project.params(sweep={"seeds": 3, "steps": {"kimg": 0.2, "batch": 8, "evaluations": 3}})
    project.until("ingest", "split", "preprocess")
    process = start(project, "sweep")
    wait_for(lambda: results(project), process)
    time.sleep(np.random.default_rng(1).uniform(0, 0.4))
    kill(process)
    process.communicate()
    kept = results(project)
    assert not (project.root / "data/sweep/trials.json").exists()
    project.until("sweep")
    assert kept.items() <= results(project).items()
    trials = json.loads((project.root / "data/sweep/trials.json").read_text())
    assert len(trials) == 6


def results(project):
    """When each finished trial was finished."""
    found = project.cache.glob("trials/*/result.json")
    return {str(p): p.stat().st_mtime_ns for p in found}
