"""Spread a function over processes, results in the order of the inputs, in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
AHEAD = 4  # inputs in flight a worker


def map_ordered(
    function: Callable[[In], Out], inputs: Iterable[In], *, workers: int
) -> Iterator[Out]:
    """Apply a picklable function to each input; one worker runs it here.

    A fresh interpreter is spawned a worker: forking a process with threads may hang. Workers
    leave Ctrl-C to this process. They end at once, whatever they are at, when it ends, however it
    ends, or when nobody wants the rest: after an error, an interruption, an early stop.
    """
    if workers <= 1:
        yield from map(function, inputs)
        return
    context = multiprocessing.get_context("spawn")
    wanted, here = context.Pipe(duplex=False)  # nothing is sent: its end says all
    with (
        closing(wanted),
        closing(here),
        ProcessPoolExecutor(
            workers, mp_context=context, initializer=_settle, initargs=(wanted,)
        ) as pool,
    ):
        waiting: deque[Future[Out]] = deque()
        try:
            for each in inputs:
                waiting.append(_submit(pool, function, each))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            here.close()  # the pool then gives up what is waiting, too
            raise


def _submit(pool: ProcessPoolExecutor, function: Callable[[In], Out], each: In) -> Future[Out]:
    """Submit with SIGINT blocked: a worker started now inherits that, from its first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, each)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settle(wanted: Connection) -> None:
    """Use one thread, and watch whether the process that started this one wants its work."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(wanted,), daemon=True, name="wanted").start()


def _end_with(wanted: Connection) -> None:
    with suppress(EOFError, OSError):
        wanted.recv_bytes()
    os._exit(1)


def speaks_for_all() -> bool:
    """Whether this process writes what its crew, as ``torchrun`` starts one, has made together."""
    return int(os.environ.get("RANK", "0")) == 0
