"""One long-lived child process that runs tasks it is told on its standard input."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mien.adapters.executors.rules import ONE_THREAD, tail
from mien.core.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said about its task, or what its death says.

    Attributes:
        key: of the task.
        exit_code: of the verb; 128 + signal when the worker was killed.
        found: the work was found done.
        wall_s: seconds.
        rss_mb: memory of the worker afterwards, 0 when it died.
        last_words: what a worker that died wrote outside its tasks' logs.
    """

    key: str
    exit_code: int
    found: bool = False
    wall_s: float = 0.0
    rss_mb: float = 0.0
    last_words: str = ""


class WorkerProcess:
    """A worker in a session of its own, so that a Ctrl-C reaches only its launcher.

    It ends when its standard input does: a launcher that dies, however it dies, takes its
    workers with it (they write a checkpoint first).
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], own_log: Path, grace_s: float
    ) -> None:
        own_log.parent.mkdir(parents=True, exist_ok=True)
        with own_log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*command, "worker", "--grace-s", str(grace_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **ONE_THREAD, **env},
                start_new_session=True,
            )
        self.own_log = own_log
        self.task: Task | None = None
        self.tasks_done = 0
        self._started = 0.0
        self._buffer = b""

    def fileno(self) -> int:
        """File descriptor that becomes readable when there is an answer, or the worker died."""
        assert self.process.stdout is not None  # noqa: S101  it was asked for
        return self.process.stdout.fileno()

    def give(self, task: Task, log_file: Path, lock: Path) -> None:
        """Hand over a task. A worker that has died is noticed by ``answer``."""
        self.task, self._started = task, time.perf_counter()
        line = json.dumps({**asdict(task), "log": str(log_file), "lock": str(lock)}) + "\n"
        assert self.process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()

    def answer(self) -> Answer | None:
        """Read what is there: an answer, or None when the line is not complete yet."""
        piece = os.read(self.fileno(), 65536)
        self._buffer += piece
        line, newline, rest = self._buffer.partition(b"\n")
        if newline:
            self._buffer = rest
            self.tasks_done += 1
            said = json.loads(line)
            return Answer(**said)
        return None if piece else self._obituary()

    def _obituary(self) -> Answer:
        code = self.process.wait()
        wall_s = time.perf_counter() - self._started
        key = self.task.key if self.task else ""
        exit_code = 128 - code if code < 0 else code or 1
        return Answer(key, exit_code, wall_s=wall_s, last_words=tail(self.own_log))

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def terminate(self) -> None:
        """Ask it, and whatever it started, to stop after a checkpoint."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it started, now."""
        self._signal(signal.SIGKILL)
        self._close()
        self.process.wait()
        with contextlib.suppress(OSError):
            if self.own_log.stat().st_size == 0:
                self.own_log.unlink()

    def dismiss(self) -> None:
        """Tell an idle worker that nothing more will come; it then ends by itself."""
        self._close()

    def see_off(self, timeout_s: float) -> None:
        """Wait for a dismissed worker's end; killed when that takes too long."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("a worker did not end by itself", extra={"pid": self.process.pid})
        self.kill()  # and what it may have left behind in its session

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
