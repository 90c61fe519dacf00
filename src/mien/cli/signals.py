"""Ctrl-C and SIGTERM: the first lets long work save its state, the second ends it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mien.core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

ASKS_REGULARLY_S = 15.0


class Stop:
    """Remembers that somebody asked to stop.

    Work that asks ``cancelled`` regularly is left to save its state. Work that does not, and
    anything at the second signal, is ended at once: outputs are whole or absent anyway.
    """

    def __init__(self) -> None:
        self.number = 0
        self._asked = -ASKS_REGULARLY_S

    def cancelled(self) -> bool:
        """Whether a signal has asked to stop; the ``cancelled`` hook of all verbs."""
        self._asked = time.monotonic()
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, otherwise 130."""
        return EXIT_TERMINATED if self.number == signal.SIGTERM else EXIT_INTERRUPTED

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: when the work does not ask, or was asked before.
        """
        again, self.number = self.number != 0, number
        if again or time.monotonic() - self._asked > ASKS_REGULARLY_S:
            raise KeyboardInterrupt
        print("mien: stopping after a checkpoint; once more to stop at once", file=sys.stderr)


STOP = Stop()


@contextmanager
def handled(stop: Stop) -> Iterator[None]:
    """Let ``stop`` handle SIGINT and SIGTERM; give back the handlers that were there."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop.on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
