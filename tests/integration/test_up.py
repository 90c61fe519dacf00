"""`make up`: everything starts, is found, and ends together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mien.cli.doctor_services import look
from mien.settings import Settings
from mien.wire.health import probe

ROOT = Path(__file__).resolve().parents[2]
UP = [sys.executable, "-m", "services.up", "--free-ports", "--without", "prometheus"]
LEAN = [*UP, "--without", "mlflow", "--without", "generation", "--without", "serving"]


@contextmanager
def up(folder, command=LEAN, **environ):
    """Start it; yields the process and the parts, once all of them are up."""
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "MIEN_CACHE": str(folder / "cache"),
        "MIEN_TRITON": "none",
        "MIEN_SERVER_GRACE_S": "5",
        **environ,
    }
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("up."):
                break
        else:
            pytest.fail("".join(said))
        yield process, json.loads((folder / "server" / "up.json").read_text())["parts"]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def family(parts):
    """Return every process of the parts."""
    found = [psutil.Process(part["pid"]) for part in parts.values()]
    return [*found, *(child for p in found for child in p.children(recursive=True))]


def gone(processes, timeout_s=60.0):
    """Whether all of them end in time."""
    until = time.monotonic() + timeout_s
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_it_starts_serves_and_leaves_nothing(tmp_path):
    """Each part answers; SIGTERM ends all of them and the note; doctor agrees all the while."""
    assert look(Settings(), tmp_path) == []
    with up(tmp_path) as (process, parts):
        assert set(parts) == {"registry", "training"}
        for part in parts.values():
            assert probe(part["target"], Settings()).ready
        assert [(f.name, f.good) for f in look(Settings(), tmp_path)] == [
            ("registry", True),
            ("training", True),
        ]
        second = subprocess.run(
            LEAN,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            check=False,
        )
        assert second.returncode == 2
        assert "ALREADY_UP" in second.stdout
        processes = family(parts)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "killed" not in out
        assert gone(processes, 0.0)
    assert not (tmp_path / "server" / "up.json").exists()
    assert look(Settings(), tmp_path) == []


def test_it_says_which_part_died_and_ends_the_rest(tmp_path):
    """The name, how, and its last lines; exit code 1."""
    with up(tmp_path) as (process, parts):
        processes = family(parts)
        os.kill(parts["training"]["pid"], signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "training was killed by SIGKILL" in out
        assert "readiness" in out  # of its log
        assert gone(processes, 0.0)


def test_nothing_outlives_it_however_it_dies(tmp_path):
    """SIGKILL: the parts end by themselves, and doctor says what happened meanwhile."""
    with up(tmp_path) as (process, parts):
        processes = family(parts)
        process.kill()
        process.wait()
        assert gone(processes)
        found = {f.name: f for f in look(Settings(), tmp_path)}
        assert not found["registry"].good
        assert "it died" in found["registry"].what
        assert "registry.log" in found["registry"].hint
        assert "up" in found
    with up(tmp_path) as (process, parts):  # and it can be started again
        assert probe(parts["registry"]["target"], Settings()).ready
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_part_that_cannot_start_is_named(tmp_path):
    """What it wrote is shown, and what had started is ended."""
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "MIEN_SERVER_TOKENS_FILE": "nowhere",
    }
    done = subprocess.run(
        LEAN, cwd=tmp_path, capture_output=True, text=True, env=env, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "registry ended with code 2" in done.stdout
    assert "TOKENS_FILE" in done.stdout


@pytest.mark.slow
def test_everything_at_once(tmp_path):
    """All parts, MLflow and Triton (where it is installed) included; nothing is left."""
    command = [*UP]
    triton = ROOT / ".triton"
    environ = {"MIEN_TRITON": "wheel", "MIEN_TRITON_HOME": str(triton)}
    with up(tmp_path, command, **environ) as (process, parts):
        assert set(parts) == {"mlflow", "registry", "generation", "training", "serving"}
        found = {f.name: f for f in look(Settings(), tmp_path)}
        assert all(found[n].good for n in ("mlflow", "registry", "generation", "training"))
        assert "champion" in found["serving"].what
        processes = family(parts)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert gone(processes, 5.0)


@pytest.mark.slow
def test_mlflow_and_its_workers_do_not_outlive_it_either(tmp_path):
    """Its pages are a family of processes, which ends as well."""
    pages = [*UP, "--without", "generation", "--without", "serving", "--without", "training"]
    with up(tmp_path, pages) as (process, parts):
        processes = family(parts)
        assert len(processes) > len(parts)
        process.kill()
        process.wait()
        assert gone(processes)
