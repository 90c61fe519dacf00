"""Become another program that ends when its parent dies, however it dies (Linux).

Run as ``python -S bound_launch.py <parent's pid> <signal> program [argument …]``: KILL, or TERM for
a program that has children of its own to end. No part of mien is imported. It works without
``preexec_fn``, which must not be used in a process with threads.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def bound(program: Sequence[str], ending: str = "KILL") -> tuple[str, ...]:
    """Return the command that starts a program bound to this process.

    Args:
        program: with its arguments; its file with the path.
        ending: the signal it gets at our death.
    """
    return (sys.executable, "-S", __file__, str(os.getpid()), ending, *program)


def main(parent: int, ending: str, command: list[str]) -> None:
    """Ask the kernel for a signal at the parent's death, then become the command."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.Signals["SIG" + ending])
    if os.getppid() != parent:  # it died before it was asked
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
