"""The other end of ``WorkerProcess``: run verbs told on standard input, answer on standard output.

Importing the numeric libraries costs seconds; a worker does it once for many short tasks.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien.adapters.executors.rules import attempt
from mien.core.tasks import Task

Call = Callable[[Sequence[str]], int]


def serve(call: Call, *, cancelled: Callable[[], bool], grace_s: float = 60.0) -> int:
    """Run tasks until standard input ends; returns the worker's exit code.

    A verb's output goes to its task's log. When the launcher dies while a task runs, the task
    is asked to stop, as if by SIGTERM, and after ``grace_s`` this process group is killed.

    Args:
        call: runs a mien verb in this process and returns its exit code.
        cancelled: whether the running verb has been asked to stop.
        grace_s: seconds to write a checkpoint.
    """
    faulthandler.enable()  # a crash in native code says where, in the task's log
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)  # a verb must not eat task lines
    os.dup2(2, 1)  # nor may its prints look like answers
    told: queue.Queue[dict[str, Any] | None] = queue.Queue()
    working = threading.Event()
    threading.Thread(
        target=_listen, args=(lines, told, working, grace_s), daemon=True, name="listen"
    ).start()
    while (line := told.get()) is not None:
        answer = _run_one(line, call, cancelled)
        working.clear()
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:  # the launcher has gone; the work is kept all the same
            return 0
    return 0


def _listen(
    lines: Any, told: queue.Queue[dict[str, Any] | None], working: threading.Event, grace_s: float
) -> None:
    for line in lines:
        working.set()
        told.put(json.loads(line))
    told.put(None)
    if working.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        if working.is_set():
            _kill_group()


def _kill_group() -> None:
    """End this process and what it started; others only if this one leads the group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _run_one(line: dict[str, Any], call: Call, cancelled: Callable[[], bool]) -> dict[str, Any]:
    task = Task(line["key"], tuple(line["argv"]), line["done"], line["env"])
    started = time.perf_counter()
    code, found = attempt(task, Path(line["lock"]), Path(line["log"]), call, cancelled)
    return {
        "key": task.key,
        "exit_code": code,
        "found": found,
        "wall_s": round(time.perf_counter() - started, 3),
        "rss_mb": _rss_mb(),
    }


def _rss_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6
