"""Ctrl-C and SIGTERM: the first lets long work save its state, the second ends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from mien.core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

ASKS_REGULARLY_S = 15.0


class Stopped(KeyboardInterrupt):
    """Work was stopped by a signal.

    Not a plain KeyboardInterrupt: one that has passed through code run from a string (dataclasses
    are made so) marks CPython to die of SIGINT in the end, whatever exit code is asked for.
    """


class Stop:
    """Remembers that somebody asked to stop.

    Work that asks ``cancelled`` regularly is left to save its state. Work that does not, and
    anything at the second signal, is ended at once: outputs are whole or absent anyway.
    """

    def __init__(self) -> None:
        self.number = 0
        self._asked = -ASKS_REGULARLY_S
        self._code: int | None = None

    def cancelled(self) -> bool:
        """Whether a signal has asked to stop; the ``cancelled`` hook of all verbs."""
        self._asked = time.monotonic()
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, otherwise 130."""
        return EXIT_TERMINATED if self.number == signal.SIGTERM else EXIT_INTERRUPTED

    def over(self, code: int) -> None:
        """Say that the work has ended with this code: signals that come now change nothing."""
        self._code = code

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Stopped: when the work does not ask, or was asked before.
        """
        if self._code is not None:
            os._exit(self._code)  # whoever is that impatient need not wait for the interpreter
        again, self.number = self.number != 0, number
        if again or time.monotonic() - self._asked > ASKS_REGULARLY_S:
            raise Stopped
        print("mien: stopping after a checkpoint; once more to stop at once", file=sys.stderr)


STOP = Stop()


def listen(stop: Stop) -> None:
    """Let ``stop`` handle SIGINT and SIGTERM from now to the end of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop.on_signal)
