"""Run ``dvc repro`` as a process that stops when it is asked to, and never outlives its project.

It is given a session of its own. Who it is, is noted: where a retraining was killed and left it
running, the next one ends it before it begins, for DVC lets only one work in a project.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from mien.core.errors import (
    EXIT_PERMANENT,
    EXIT_USER,
    Corrupt,
    Interrupted,
    MienError,
    Unavailable,
    WrongState,
)
from mien.core.hooks import Cancelled, never_cancelled

log = logging.getLogger(__name__)

POLL_S = 0.2
_KINDS: dict[int | None, type[MienError]] = {EXIT_USER: WrongState, EXIT_PERMANENT: Corrupt}
TAIL = 4000


def repro(
    project: Path,
    env: Mapping[str, str],
    noted: Path,
    *,
    grace_s: float = 60.0,
    cancelled: Cancelled = never_cancelled,
    start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> None:
    """Run the pipeline of a project; what has not changed is skipped.

    Args:
        project: folder with ``dvc.yaml``.
        env: of the stages, on top of this process's.
        noted: file that says which process does it while it runs; its log lies beside it.
        grace_s: a stopped stage has so long to write its checkpoint.
        cancelled: asked regularly.
        start: starts the process.

    Raises:
        MienError: ``PIPELINE`` when a stage failed, with its exit code: WrongState is the user's,
            Corrupt will fail again, Unavailable may be retried.
        Interrupted: when cancelled.
    """
    end_leftover(noted)
    noted.parent.mkdir(parents=True, exist_ok=True)
    logged = noted.with_suffix(".log")
    # Stages are called by name: those of this interpreter go before others on the path.
    here = Path(sys.executable).parent
    path = f"{here}{os.pathsep}{os.environ.get('PATH', '')}"
    with logged.open("wb") as out:
        process = start(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=project,
            env={**os.environ, "PATH": path, **env},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _note(noted, process.pid)
            while process.poll() is None:
                if cancelled():
                    raise Interrupted("the pipeline was stopped; run the same again to go on")
                time.sleep(POLL_S)
        except BaseException:
            _end(process, grace_s)
            noted.unlink(missing_ok=True)
            raise
    noted.unlink(missing_ok=True)
    if process.returncode:
        raise _failed(logged)


def end_leftover(noted: Path) -> None:
    """End the pipeline that a killed retraining left running, with all it started."""
    try:
        left = json.loads(noted.read_text(encoding="utf-8"))
        leader = psutil.Process(left["pid"])
        same = abs(leader.create_time() - left["created"]) < 1.0
    except (FileNotFoundError, ValueError, KeyError, psutil.Error):
        return
    if same:
        log.warning("ending what a killed retraining left running", extra={"pid": left["pid"]})
        _signal(left["pid"], signal.SIGKILL)
        with contextlib.suppress(psutil.Error):
            leader.wait(60)
    noted.unlink(missing_ok=True)


def _note(noted: Path, pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        value = {"pid": pid, "created": psutil.Process(pid).create_time()}
        noted.write_text(json.dumps(value), encoding="utf-8")


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Stop the whole group; DVC itself dies at once, its stage has until then to save its state."""
    _signal(process.pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while time.monotonic() < until and (process.poll() is None or _members(process.pid)):
        time.sleep(POLL_S)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _members(group: int) -> bool:
    """Whether anybody lives in a process group; one that only nobody has buried yet does not."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(each.pid) == group and each.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _failed(logged: Path) -> MienError:
    """Say what the failing stage said; DVC passes on no exit code but in words."""
    text = logged.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line.lower()] or lines[-1:]
    said = " | ".join(dict.fromkeys(errors))[-900:] or "it said nothing"
    codes = re.findall(r"exited with (\d+)", text)
    kind = _KINDS.get(int(codes[-1]) if codes else None, Unavailable)
    return kind(
        "PIPELINE",
        f"dvc repro failed: {said}",
        hint=f"mend the cause and run the same again; finished stages are kept; log: {logged}",
    )
