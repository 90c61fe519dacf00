"""Lanes: threads that answer one sort of call, and how many calls may wait for them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from mien.core.errors import Exhausted

LEAST_RETRY_S = 0.1
MOST_RETRY_S = 30.0


class Lane:
    """So many calls at work, so many waiting; whoever comes then is told when to come back.

    A call enters on the thread that accepts calls, so that a refusal costs no worker, begins
    when a worker takes it up, and leaves when it has been answered.
    """

    def __init__(self, name: str, workers: int, queue: int) -> None:
        self.name = name
        self.workers = workers
        self.queue = queue
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix=f"lane-{name}")
        self._lock = threading.Lock()
        self._inside = 0
        self._running = 0
        self._usual_s = 0.0

    @property
    def running(self) -> int:
        """Calls at work."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls that have entered and not begun."""
        return max(0, self._inside - self._running)

    def enter(self) -> Exhausted | None:
        """Take a place; returns why there is none."""
        with self._lock:
            if self._inside < self.workers + self.queue:
                self._inside += 1
                return None
            retry_s = self._usual_s * self._inside / self.workers
        retry_s = min(MOST_RETRY_S, max(LEAST_RETRY_S, retry_s))
        return Exhausted(
            "SERVER_BUSY",
            f"all {self.workers} workers for {self.name} are busy and {self.queue} calls wait",
            hint=f"try again in {retry_s:.1f} s",
            details={"retry_after_s": f"{retry_s:.3f}", "lane": self.name},
        )

    def begin(self) -> float:
        """Count a call as at work; returns when it began."""
        with self._lock:
            self._running += 1
        return time.monotonic()

    def leave(self, began: float) -> None:
        """Give the place back."""
        with self._lock:
            self._inside -= 1
            self._running -= 1
            self._usual_s += 0.1 * (time.monotonic() - began - self._usual_s)

    def close(self) -> None:
        """Let no more calls begin; those at work end by themselves."""
        self.pool.shutdown(wait=False, cancel_futures=True)
