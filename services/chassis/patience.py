"""End calls whose caller keeps a worker waiting: announced requests that never come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_S = 1.0


class Patience:
    """Watches waits for callers; a wait that lasts too long ends the call.

    gRPC's keepalive finds dead peers; this finds living ones that keep silent.
    """

    def __init__(self) -> None:
        self._waits: dict[int, tuple[float, Callable[[], object]]] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="patience", daemon=True)
        self._thread.start()

    @contextmanager
    def wait(self, most_s: float, give_up: Callable[[], object]) -> Iterator[None]:
        """Call ``give_up`` when the block takes longer than ``most_s`` seconds."""
        with self._lock:
            self._next += 1
            number = self._next
            self._waits[number] = (time.monotonic() + most_s, give_up)
        try:
            yield
        finally:
            with self._lock:
                self._waits.pop(number, None)

    def close(self) -> None:
        """Watch no longer."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            now = time.monotonic()
            with self._lock:
                late = [n for n, (until, _) in self._waits.items() if until < now]
                give_ups = [self._waits.pop(number)[1] for number in late]
            for give_up in give_ups:
                give_up()
