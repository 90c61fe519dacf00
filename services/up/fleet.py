"""Processes that are started together, watched together, and ended together."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mien.core.errors import Unavailable
from services.up.parts import Part

START_S = 60.0
LAST_LINES = 15


@dataclass(slots=True)
class Running:
    """A part that was started.

    Attributes:
        part: what.
        process: leader of its own group.
        log: what it writes to.
        target: host:port, once it is ready.
        metrics: host:port of its metrics, or "".
        started: on the monotonic clock.
        took_s: from its start until it was ready.
    """

    part: Part
    process: subprocess.Popen[str]
    log: Path
    target: str = ""
    metrics: str = ""
    started: float = field(default_factory=time.monotonic)
    took_s: float = 0.0


class Fleet:
    """Everything that runs."""

    def __init__(self, project: Path, logs: Path, stopping: Callable[[], bool]) -> None:
        """Start nothing yet.

        Args:
            project: folder the processes work in.
            logs: folder of what they write.
            stopping: asked while waiting; true ends the wait.
        """
        self._project = project
        self._logs = logs
        self._stopping = stopping
        self.running: list[Running] = []

    def launch(self, part: Part) -> Running:
        """Start a part; ``wait`` waits until it is ready."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{part.name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                part.command,
                cwd=self._project,
                env={**os.environ, **part.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if part.speaks else output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        running = Running(part, process, log)
        self.running.append(running)
        return running

    def wait(self, running: Running) -> Running:
        """Wait until a part says that it is ready.

        Raises:
            Unavailable: ``PART_DIED`` with its last lines, ``PART_SILENT``.
        """
        if running.part.speaks:
            self._wait_for_line(running)
        else:
            self._wait(running, lambda: answers(running.part.url))
            running.target = urlsplit(running.part.url).netloc
        running.took_s = time.monotonic() - running.started
        return running

    def died(self) -> Running | None:
        """Return a part that has ended although nobody asked it to."""
        return next((r for r in self.running if r.process.poll() is not None), None)

    def stop(self, grace_s: float) -> list[str]:
        """End everything, the last one first; returns the names of those that had to be killed."""
        killed = []
        for running in reversed(self.running):
            _signal(running, signal.SIGTERM, group=False)
        until = time.monotonic() + grace_s
        for running in reversed(self.running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.0, until - time.monotonic()))
            if running.process.poll() is None:
                killed.append(running.part.name)
            _signal(running, signal.SIGKILL, group=True)  # whatever it left behind as well
            running.process.wait()
        return killed

    def _wait_for_line(self, running: Running) -> None:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(running, lines), daemon=True).start()
        said: list[str] = []

        def ready() -> bool:
            with contextlib.suppress(queue.Empty):
                said.extend(lines.get(timeout=0.1).split())
            return said[:1] == ["ready"]

        self._wait(running, ready)
        running.target = said[2]
        running.metrics = "" if said[4] == "none" else said[4]

    def _wait(self, running: Running, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + START_S
        while not ready():
            if self._stopping():
                raise KeyboardInterrupt
            if running.process.poll() is not None:
                raise why_it_died(running)
            if time.monotonic() > until:
                raise Unavailable(
                    "PART_SILENT",
                    f"{running.part.name} was not ready within {START_S:g} s",
                    hint=f"see {running.log}",
                )
            time.sleep(0.05)


def why_it_died(running: Running) -> Unavailable:
    """Tell the exit code of a part and its last lines."""
    code = running.process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    lines = running.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    last = "".join(f"\n    {line[:300]}" for line in lines)
    return Unavailable(
        "PART_DIED", f"{running.part.name} {how}", hint=f"its last lines in {running.log}:{last}"
    )


def answers(url: str) -> bool:
    """Whether an HTTP address answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  loopback, our own
            return bool(answer.status == 200)
    except OSError:
        return False


def _read(running: Running, lines: queue.SimpleQueue[str]) -> None:
    """Hand on what a process prints; its pipe never fills."""
    assert running.process.stdout is not None  # noqa: S101  it speaks
    for line in running.process.stdout:
        lines.put(line)


def _signal(running: Running, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(running.process.pid, number)
        elif running.process.poll() is None:
            os.kill(running.process.pid, number)
