"""The entry point: run a verb, turn whatever went wrong into a sentence and an exit code.

Nothing but the standard library is imported before signals are heard.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien.cli.signals import STOP, listen
from mien.core.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    Exhausted,
    Forbidden,
    Interrupted,
    Invalid,
    MienError,
)


def main() -> None:
    """Run the command line and exit with its code."""
    listen(STOP)
    try:
        code = run(sys.argv[1:])
        _flush_or_hide()
    except KeyboardInterrupt:  # one more while the last one was being answered
        code = STOP.exit_code
    STOP.over(code)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command line in this process and return its exit code.

    0 done · 1 failed, may be retried · 2 the user's mistake · 3 done, and refused by the gate ·
    42 will fail again · 130/143 interrupted, state saved where there is any. The working folder is
    afterwards what it was.
    """
    here = None
    with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
        here = Path.cwd()
    try:
        return _run(argv)
    finally:
        if here is not None:
            with contextlib.suppress(OSError):
                os.chdir(here)


def _run(argv: Sequence[str]) -> int:
    debug = "--debug" in argv
    try:
        from mien.cli.app import app

        result = app(args=list(argv), prog_name="mien", standalone_mode=False)
    except (Interrupted, KeyboardInterrupt):
        return _interrupted()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except Exception as error:  # noqa: BLE001  the last line of defence
        if _is_a(error, "Abort"):
            return _interrupted()
        if debug and not _is_a(error, "ClickException"):
            traceback.print_exc()
        return _explain(error)
    if result == EXIT_INTERRUPTED:  # Typer may turn a KeyboardInterrupt into this
        return _interrupted()
    return result if isinstance(result, int) else EXIT_DONE


def _interrupted() -> int:
    _print("interrupted; the same command goes on where it can")
    return STOP.exit_code


def _is_a(error: Exception, kind: str) -> bool:
    """Tell one of click's: Typer brings its own copy, or uses the one installed, by release."""
    return any(each.__name__ == kind for each in type(error).__mro__)


def _explain(error: Exception) -> int:
    """Say what went wrong and what to do; returns the exit code."""
    if _is_a(error, "ClickException"):
        shown: Any = error  # click's own, of either kind
        shown.show()
        return int(shown.exit_code)
    known = _as_ours(error)
    if known is None:
        _print(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
        return EXIT_FAILED
    _print(f"error: {known}")
    if known.hint:
        _print(f"hint: {known.hint}")
    return known.exit_code


def _as_ours(error: Exception) -> MienError | None:
    """Translate what the machine refuses into one of our errors."""
    if isinstance(error, MienError):
        return error
    if _is_a(error, "RpcError"):
        from mien.wire.errors import last_words

        failed: Any = error
        return last_words(failed)
    if isinstance(error, MemoryError):
        return Exhausted("OUT_OF_MEMORY", "there is not enough memory", hint="lower MIEN_WORKERS")
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return None
    kind, reason, hint = _REFUSALS[error.errno]
    where = f": {error.filename}" if error.filename else ""
    return kind(reason, f"{error.strerror}{where}", hint=hint)


_FULL = (
    Exhausted,
    "DISK_FULL",
    "free some space, or set MIEN_CACHE to a larger disk; finished work is kept",
)
_FILES = (Exhausted, "OPEN_FILES", "raise `ulimit -n`, or lower MIEN_WORKERS")
_CLOSED = (Forbidden, "NO_PERMISSION", "change its owner or mode, or choose another folder")
_PATH = (
    Invalid,
    "BAD_PATH",
    "a path in the parameters, the options or a MIEN_* variable is not what it should be",
)
_REFUSALS: dict[int | None, tuple[type[MienError], str, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: _CLOSED,
    errno.ENOTDIR: _PATH,
    errno.EISDIR: _PATH,
    errno.ENAMETOOLONG: _PATH,
}


def _print(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"mien: {line}", file=sys.stderr, flush=True)


def _flush_or_hide() -> None:
    """Flush stdout; when its reader has gone, keep the interpreter from complaining at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
