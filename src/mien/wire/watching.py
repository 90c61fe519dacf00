"""Follow a job until it ends, over restarts of its service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from mien.core.errors import Exhausted, MienError, Unavailable
from mien.core.hooks import Cancelled
from mien.core.jobs import Job
from mien.wire.errors import error_of, retry_after_s

PATIENCE_S = 60.0  # a service is waited for when it goes away
_ASK_S = 0.2  # how often ``stop`` is asked
_FIRST_S = 5.0  # a channel tries again every second
_BROKEN = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


def watched(
    open_watch: Callable[[int], Any],
    read: Callable[[Any], Job],
    look: Callable[[], Job],
    after_revision: int,
    stop: Cancelled,
) -> Iterator[Job]:
    """Yield a job's changes until it has ended or ``stop`` says so.

    A watch that breaks off is opened again behind the last change that was seen: no change is
    told twice.

    Args:
        open_watch: starts the call, behind a revision.
        read: turns a message into a job.
        look: reads the job; an unknown one is an error at once.
        after_revision: only what is newer.
        stop: asked a few times a second.

    Raises:
        MienError: as the service; ``Unavailable`` when it stays away.
    """
    _look_at_first(look, stop)
    return _changes(open_watch, read, look, after_revision, stop)


def _look_at_first(look: Callable[[], Job], stop: Cancelled) -> None:
    """Look; a service that has just come back is met again within the channel's pause."""
    patient_until = time.monotonic() + _FIRST_S
    while True:
        try:
            look()
            return
        except Unavailable:
            if stop() or time.monotonic() > patient_until:
                raise
            time.sleep(_ASK_S)


def _changes(
    open_watch: Callable[[int], Any],
    read: Callable[[Any], Job],
    look: Callable[[], Job],
    seen: int,
    stop: Cancelled,
) -> Iterator[Job]:
    patient_until = time.monotonic() + PATIENCE_S
    while not stop():
        call = open_watch(seen)
        try:
            for message in _until(call, stop):
                job = read(message)
                if job.revision <= seen:
                    continue
                seen, patient_until = job.revision, time.monotonic() + PATIENCE_S
                yield job
                if job.over:
                    return
            last = look()  # a service that stops ends its watches, too
            if last.over and last.revision <= seen:
                return
            time.sleep(_ASK_S)
        except grpc.RpcError as failed:
            _wait(_passing(failed, stop), patient_until)
        except Unavailable as error:
            _wait(error, patient_until)
        finally:
            call.cancel()


def _until(call: Any, stop: Cancelled) -> Iterator[Any]:
    """Read a stream; ``stop`` is asked even while nothing comes, and then cancels the call."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_ASK_S):
            if stop():
                call.cancel()
                return

    threading.Thread(target=look, daemon=True, name="watch").start()
    try:
        yield from call
    finally:
        over.set()


def _passing(failed: grpc.RpcError, stop: Cancelled) -> MienError | None:
    """Return what may pass, None for a watch that was stopped or broke; raise what will not."""
    error = error_of(failed)
    if isinstance(error, Unavailable | Exhausted):
        return error
    if error is not None:
        raise error from None
    call: object = failed
    if stop() or (isinstance(call, grpc.Call) and call.code() in _BROKEN):
        return None
    raise failed


def _wait(error: MienError | None, until: float) -> None:
    if error is not None and time.monotonic() > until:
        raise error
    time.sleep(min(_ASK_S if error is None else retry_after_s(error) or 1.0, 5.0))
