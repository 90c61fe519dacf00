"""Workers between two runs of an executor: importing the numeric libraries costs seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from mien.adapters.executors.worker import WorkerProcess

KEEP_S = 60.0
_LEAVE_S = 10.0


class WorkerShelf:
    """Keeps idle workers for a while; shared by threads.

    Args:
        keep_s: seconds after which an idle worker is let go, with the memory it holds.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self.keep_s = keep_s
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Mapping[str, str], WorkerProcess]] = []
        self._closed = False

    def take(self, env: Mapping[str, str]) -> WorkerProcess | None:
        """Take a living worker that was started with this environment, the last used first."""
        with self._lock:
            for place in reversed(range(len(self._idle))):
                _, its, worker = self._idle[place]
                if its == env and not worker.dead:
                    del self._idle[place]
                    return worker
        return None

    def put(self, env: Mapping[str, str], worker: WorkerProcess) -> None:
        """Keep an idle worker for the next one who needs it."""
        with self._lock:
            if not self._closed:
                self._idle.append((time.monotonic(), env, worker))
                timer = threading.Timer(self.keep_s, self._retire)
                timer.daemon = True
                timer.start()
                return
        _let_go([worker])

    def close(self) -> None:
        """Let all go; what is put there from now on is let go, too."""
        with self._lock:
            self._closed = True
            leaving, self._idle = self._idle, []
        _let_go([worker for _, _, worker in leaving])

    def __len__(self) -> int:
        return len(self._idle)

    def _retire(self) -> None:
        with self._lock:
            until = time.monotonic() - self.keep_s
            leaving = [each for each in self._idle if each[0] <= until]
            self._idle = [each for each in self._idle if each[0] > until]
        _let_go([worker for _, _, worker in leaving])


def _let_go(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.dismiss()
    deadline = time.monotonic() + _LEAVE_S
    for worker in workers:
        worker.see_off(max(0.0, deadline - time.monotonic()))
