"""Registry services as processes of their own, forked from one that has loaded everything.

A service takes most of its start to import what it needs; who starts fifty in a row does that
once. What is forked is the whole service, ``services.chassis.main.run``, killed like any other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Nursery:
    """Starts services over one data folder, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = 0

    def start(self) -> str:
        """Start a service; returns its address once it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("start\n")
        self._process.stdin.flush()
        target = ""
        self.pid = 0
        while not (target and self.pid):
            words = self._process.stdout.readline().split()
            assert words, "the nursery ended"
            if words[0] == "pid":
                self.pid = int(words[1])
            if words[0] == "ready":
                target = words[2]
        return target

    def kill(self) -> None:
        """End the service as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def nursery(data: Path, **environ: str) -> Iterator[Nursery]:
    """Open a nursery; what it started is killed at the end."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(("src", ".")),
        "MIEN_SERVER_DATA": str(data),
        "MIEN_SERVER_LOG_LEVEL": "error",
        **environ,
    }
    command = [sys.executable, "-m", "tests.integration.registry.nursery"]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    opened = Nursery(process)
    try:
        yield opened
    finally:
        if opened.pid:
            with suppress(ProcessLookupError):
                opened.kill()  # first: it holds the other end of the pipe
        process.kill()
        process.communicate()


def _main() -> None:
    import mien.registry.write  # noqa: F401  so that the first commit is not the slow one
    from services.chassis.main import run
    from services.registry.mount import mount

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no burial
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            flags = ["--address", "127.0.0.1:0", "--metrics-address", "none"]
            os._exit(run("registry", mount, flags))
        sys.stdout.write(f"pid {pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
