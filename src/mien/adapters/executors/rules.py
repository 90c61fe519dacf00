"""What every executor agrees on: when a task is done, when it is tried again, who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mien.core.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PERMANENT,
    EXIT_TERMINATED,
    EXIT_USER,
)
from mien.core.hooks import Cancelled
from mien.core.tasks import Task, TaskState

INTERRUPTED = (EXIT_INTERRUPTED, EXIT_TERMINATED)
NEVER_RETRIED = (EXIT_DONE, EXIT_USER, EXIT_PERMANENT, *INTERRUPTED)
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
TAIL_BYTES = 8192
_POLL_S = 0.05


def is_done(uri: str) -> bool:
    """Whether a task's marker exists: a path, a ``file://`` URI, or anything fsspec can read."""
    scheme = urlsplit(uri).scheme
    if scheme == "file":
        return Path(unquote(urlsplit(uri).path)).exists()
    if "://" not in uri:
        return Path(uri).exists()
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    system.invalidate_cache()  # what another machine has written since counts
    return bool(system.exists(path))


def state_of(exit_code: int) -> TaskState:
    """Translate an exit code into how the task ended."""
    if exit_code == EXIT_DONE:
        return "SUCCEEDED"
    return "CANCELLED" if exit_code in INTERRUPTED else "FAILED"


def tail(path: Path, limit: int = TAIL_BYTES) -> str:
    """Read the last lines of a log; "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def held(lock: Path, cancelled: Cancelled) -> Iterator[bool]:
    """Hold a task's lock; the kernel lets go of it when the process dies, however it dies.

    Two launchers given the same task, or a launcher restarted while an orphaned worker still
    writes its checkpoint, therefore never write into one folder at once.

    Yields:
        Whether it is held; False when cancelled while another process held it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _acquire(handle, cancelled)
    finally:
        os.close(handle)


def _acquire(handle: int, cancelled: Cancelled) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if cancelled():
                return False
            time.sleep(_POLL_S)
        else:
            return True


def attempt(
    task: Task,
    lock: Path,
    log: Path,
    call: Callable[[Sequence[str]], int],
    cancelled: Cancelled,
) -> tuple[int, bool]:
    """Run one task once in this process, alone on its key.

    Args:
        task: what to run.
        lock: file that names the key.
        log: file its output is appended to, native code's too.
        call: runs a mien verb and returns its exit code.
        cancelled: asked while another process holds the key.

    Returns:
        The exit code, and whether the work was found done instead of run.
    """
    with held(lock, cancelled) as mine:
        if not mine:
            return EXIT_TERMINATED, False
        if is_done(task.done):
            return EXIT_DONE, True
        with _environment(task), _output_to(log):
            code = call(task.argv)
        if code == EXIT_DONE and not is_done(task.done):
            return EXIT_FAILED, False  # said done, left nothing: never believed
        return code, False


@contextmanager
def _environment(task: Task) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in task.env}
    os.environ.update(task.env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send all output, native code's too, to a file for a while."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    before = os.dup(1), os.dup(2)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            file.flush()
            for target, saved in zip((1, 2), before, strict=True):
                os.dup2(saved, target)
                os.close(saved)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
