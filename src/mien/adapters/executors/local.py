"""Run tasks on this machine: in this process, or in one-thread worker processes."""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mien.adapters.executors.book import TaskBook
from mien.adapters.executors.rules import INTERRUPTED, NEVER_RETRIED, attempt, state_of, tail
from mien.adapters.executors.shelf import WorkerShelf
from mien.adapters.executors.worker import Answer, WorkerProcess
from mien.core.errors import EXIT_DONE, EXIT_TERMINATED
from mien.core.hooks import Cancelled, OnProgress
from mien.core.tasks import Task, TaskResult

log = logging.getLogger(__name__)

Mode = Literal["persistent", "process"]
_POLL_S = 0.1
_RETIRE_S = 10.0


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """Runs tasks one after the other in this process.

    Attributes:
        call: runs a mien verb and returns its exit code.
        log_dir: one log file a task, and the locks.
        retries: how often a failed task is started again.
    """

    call: Callable[[Sequence[str]], int]
    log_dir: Path
    retries: int = 2

    @property
    def slots(self) -> int:
        """One: tasks run one after the other."""
        return 1

    def run(
        self,
        tasks: Sequence[Task],
        *,
        progress: OnProgress,
        cancelled: Cancelled,
        on_done: Callable[[TaskResult], None] | None = None,
    ) -> Sequence[TaskResult]:
        """Run all tasks to their end; results in the order of ``tasks``."""
        book = TaskBook(tasks, progress, on_done)
        for task in book.waiting():
            if cancelled():
                break
            book.end(self._run_one(task, cancelled))
        return book.results()

    def _run_one(self, task: Task, cancelled: Cancelled) -> TaskResult:
        for tries in range(1, self.retries + 2):
            started = time.perf_counter()
            log_file = _log_file(self.log_dir, task)
            code, found = attempt(task, _lock(self.log_dir, task), log_file, self.call, cancelled)
            if found:
                return TaskResult(task.key, "SUCCEEDED", EXIT_DONE, tries - 1)
            if code in NEVER_RETRIED or cancelled():
                break
        wall_s = time.perf_counter() - started
        return TaskResult(task.key, state_of(code), code, tries, tail(log_file), wall_s)


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs tasks in worker processes of this machine, ``slots`` at a time.

    A worker that dies fails only the task it was at, which is tried again in a fresh one.
    Workers use one thread each, so results do not depend on ``slots``.

    Attributes:
        slots: workers at once.
        command: how a mien is started; ``worker`` is appended.
        log_dir: one log file a task, and the locks.
        retries: how often a failed task is started again.
        mode: ``persistent`` workers import the libraries once; ``process`` gives every task a
            fresh one.
        grace_s: seconds a stopped worker has to write its checkpoint.
        tasks_per_worker: a persistent worker is replaced after so many.
        worker_mb: or when it has grown to so many megabytes; 0 = never.
        env: additional environment of the workers.
        shelf: where persistent workers wait for the next run; None = they end with this one.
    """

    slots: int
    command: Sequence[str]
    log_dir: Path
    retries: int = 2
    mode: Mode = "persistent"
    grace_s: float = 60.0
    tasks_per_worker: int = 200
    worker_mb: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    shelf: WorkerShelf | None = None

    def run(
        self,
        tasks: Sequence[Task],
        *,
        progress: OnProgress,
        cancelled: Cancelled,
        on_done: Callable[[TaskResult], None] | None = None,
    ) -> Sequence[TaskResult]:
        """Run all tasks to their end; results in the order of ``tasks``.

        When cancelled, running tasks get ``grace_s`` to write a checkpoint; the others are
        CANCELLED without having run.
        """
        book = TaskBook(tasks, progress, on_done)
        pool = _Pool(self, book)
        try:
            while pool.busy() and not cancelled():
                pool.step()
            if cancelled():
                pool.stop()
        finally:
            pool.close()
        return book.results()


class _Pool:
    """The workers of one run."""

    def __init__(self, executor: LocalExecutor, book: TaskBook) -> None:
        self.executor = executor
        self.book = book
        self.queue = deque((task, 1) for task in book.waiting())
        self.tries: dict[str, int] = {}
        self.idle: list[WorkerProcess] = []
        self.working: list[WorkerProcess] = []
        self.leaving: list[WorkerProcess] = []
        self.selector = selectors.DefaultSelector()
        self.started = 0
        self.stopping = False

    def busy(self) -> bool:
        return bool(self.queue or self.working)

    def step(self) -> None:
        """Keep every slot busy, and tell about what has ended while they are."""
        self._fill()
        ended = self._collect(_POLL_S)
        self._fill()
        for each in ended:
            self.book.end(each)

    def stop(self) -> None:
        """Ask the working ones to stop; kill those that need longer than the grace."""
        self.stopping = True
        for worker in self.working:
            worker.terminate()
        deadline = time.monotonic() + self.executor.grace_s
        while self.working and time.monotonic() < deadline:
            for ended in self._collect(_POLL_S, retry=False):
                self.book.end(ended)
        for worker in self.working:
            if worker.task:
                worker.kill()
                self.book.end(self._result(worker.task, Answer(worker.task.key, EXIT_TERMINATED)))

    def close(self) -> None:
        """Leave nobody behind, whatever happened."""
        self.selector.close()
        for worker in self.working:
            worker.kill()
        e = self.executor
        if e.shelf is not None:
            for worker in self.idle:
                e.shelf.put(e.env, worker)
            self.idle = []
        for worker in self.idle:
            worker.dismiss()
        deadline = time.monotonic() + _RETIRE_S
        for worker in (*self.idle, *self.leaving):
            worker.see_off(max(0.0, deadline - time.monotonic()))

    def _fill(self) -> None:
        while self.queue and len(self.working) < self.executor.slots:
            self._give(*self.queue.popleft())

    def _give(self, task: Task, tries: int) -> None:
        alive = [w for w in self.idle if not w.dead]
        worker, self.idle = (alive[-1], alive[:-1]) if alive else (self._taken(), [])
        self.tries[task.key] = tries
        self.working.append(worker)
        self.selector.register(worker, selectors.EVENT_READ)
        worker.give(
            task, _log_file(self.executor.log_dir, task), _lock(self.executor.log_dir, task)
        )

    def _taken(self) -> WorkerProcess:
        """Take a worker from the shelf, or start one."""
        e = self.executor
        kept = e.shelf.take(e.env) if e.shelf is not None and e.mode == "persistent" else None
        return kept or self._start()

    def _start(self) -> WorkerProcess:
        self.started += 1
        e = self.executor
        own_log = e.log_dir / f"worker-{os.getpid()}-{self.started}.log"
        return WorkerProcess(e.command, e.env, own_log, e.grace_s)

    def _collect(self, timeout_s: float, *, retry: bool = True) -> list[TaskResult]:
        """Take in answers; a task that may be tried again goes to the end of the queue."""
        ended = []
        for key, _ in self.selector.select(timeout_s):
            worker: WorkerProcess = key.fileobj  # type: ignore[assignment]
            answer = worker.answer()
            if answer is None or worker.task is None:
                continue
            task, worker.task = worker.task, None
            self._release(worker, answer)
            tries = self.tries[task.key]
            failed = answer.exit_code not in NEVER_RETRIED
            if failed and retry and tries <= self.executor.retries:
                extra = {"task": task.key, "exit_code": answer.exit_code, "tries": tries}
                log.warning("task failed and is tried again", extra=extra)
                self.queue.append((task, tries + 1))
            else:
                ended.append(self._result(task, answer))
        return ended

    def _release(self, worker: WorkerProcess, answer: Answer) -> None:
        """Keep a worker for the next task, or let it go."""
        self.working.remove(worker)
        self.selector.unregister(worker)
        e = self.executor
        grown = 0 < e.worker_mb < answer.rss_mb
        spent = e.mode == "process" or worker.tasks_done >= e.tasks_per_worker
        if worker.dead:
            worker.kill()  # what it started may have outlived it
        elif grown or spent or self.stopping or answer.exit_code in INTERRUPTED:
            worker.dismiss()
            self.leaving.append(worker)
        else:
            self.idle.append(worker)

    def _result(self, task: Task, answer: Answer) -> TaskResult:
        tries = self.tries[task.key] - (1 if answer.found else 0)
        return TaskResult(
            key=task.key,
            state=state_of(answer.exit_code),
            exit_code=answer.exit_code,
            tries=tries,
            log=tail(_log_file(self.executor.log_dir, task)) + answer.last_words,
            wall_s=answer.wall_s,
        )


def _lock(folder: Path, task: Task) -> Path:
    return folder / "locks" / task.key


def _log_file(folder: Path, task: Task) -> Path:
    return folder / f"{task.key}.log"
