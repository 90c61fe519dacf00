"""``dvc repro`` under a retraining: stopped when asked to, ended when left over, its words kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import psutil
import pytest

from mien.adapters.dvc.repro import end_leftover, repro
from mien.core.errors import Corrupt, Interrupted, Unavailable, WrongState

WITHIN_S = 60.0


def project(folder, cmd):
    """A project of one stage."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (folder / "dvc.yaml").write_text(json.dumps({"stages": {"one": {"cmd": cmd, "outs": ["out"]}}}))
    return folder


@pytest.mark.parametrize(("code", "kind"), [(1, Unavailable), (2, WrongState), (42, Corrupt)])
def test_a_failing_stage_is_told_with_what_it_said(tmp_path, code, kind):
    """What will fail again is told from what may be retried."""
    place = project(tmp_path, f"echo 'mien: error: no faces [EMPTY]'; exit {code}")
    with pytest.raises(kind, match=r"no faces \[EMPTY\]"):
        repro(place, {}, tmp_path / "noted.json")
    assert not (tmp_path / "noted.json").exists()


def test_asked_to_stop_it_gives_the_stage_time(tmp_path):
    """SIGTERM reaches the stage; nothing is left running."""
    script = "trap 'sleep 1; touch saved; exit 143' TERM; touch begun; while :; do sleep 0.1; done"
    place = project(tmp_path, script)
    with pytest.raises(Interrupted):
        repro(
            place,
            {},
            tmp_path / "noted.json",
            grace_s=WITHIN_S,
            cancelled=(place / "begun").exists,
        )
    assert (place / "saved").exists()


def test_what_a_killed_retraining_left_running_is_ended(tmp_path):
    """The whole group; and a process of the same number that is another one is left alone."""
    script = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    left = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    noted = tmp_path / "noted.json"
    leader = psutil.Process(left.pid)
    value = {"pid": left.pid, "created": leader.create_time()}
    noted.write_text(json.dumps(value | {"created": value["created"] - 60}))
    end_leftover(noted)
    assert left.poll() is None
    noted.write_text(json.dumps(value))
    until = time.monotonic() + WITHIN_S
    while not leader.children() and time.monotonic() < until:
        time.sleep(0.05)
    (child,) = leader.children()
    end_leftover(noted)
    assert left.poll() is not None
    psutil.wait_procs([child], WITHIN_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not noted.exists()
    end_leftover(noted)
