"""Run trials as jobs of a training service, wherever it is."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from mien.adapters.executors.book import TaskBook
from mien.adapters.executors.rules import TAIL_BYTES, is_done, state_of
from mien.core.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TERMINATED,
    Exhausted,
    Invalid,
    NotFound,
    Unavailable,
)
from mien.core.hooks import Cancelled, OnProgress
from mien.core.jobs import Job, TrialWork
from mien.core.ports import Training
from mien.core.tasks import Task, TaskResult

log = logging.getLogger(__name__)
_LOOK_S = 0.2  # between two looks at the jobs that are asked for
_PATIENCE_S = 60.0  # a service that goes away is waited for; its jobs go on when it is back


@dataclass(frozen=True, slots=True)
class ServiceExecutor:
    """Runs tasks of ``mien trial`` as training jobs. Plans and markers are on a common disk.

    The service tries failed ones again, by exit code. What was asked for goes on when this
    process dies: the next run finds it done, or takes it up.

    Attributes:
        training: the port of the service.
        slots: how many it is thought to run at once; only said, and asked for ahead of need.
        grace_s: how long cancelled jobs are waited for.
    """

    training: Training
    slots: int
    grace_s: float = 60.0

    def run(
        self,
        tasks: Sequence[Task],
        *,
        progress: OnProgress,
        cancelled: Cancelled,
        on_done: Callable[[TaskResult], None] | None = None,
    ) -> Sequence[TaskResult]:
        """Run all tasks to their end; results in the order of ``tasks``.

        Raises:
            Invalid: ``TASK_VERB`` for a verb that is no trial.
            Unavailable: when the service stays away. Forbidden: ``PLAN_FORBIDDEN``.
        """
        for task in tasks:
            if task.argv[0] != "trial" or len(task.argv) != 2 or task.env:
                raise Invalid(
                    "TASK_VERB",
                    f"the training service runs trials, not `mien {' '.join(task.argv)}`",
                    hint="unset MIEN_TRAINING_TARGET to run it here",
                )
        book = TaskBook(tasks, progress, on_done)
        run = _Run(self, book, deque(book.waiting()))
        while run.busy() and not cancelled():
            if not run.step():
                time.sleep(_LOOK_S)
        if run.busy():
            run.stop()
        return book.results()


@dataclass(slots=True)
class _Run:
    """The jobs of one run.

    Attributes:
        asked: name of a job → its task; those that are not over.
        waits_until: no more is asked for before, on the monotonic clock: its queue is full.
        patient_until: when a service that does not answer is given up.
    """

    executor: ServiceExecutor
    book: TaskBook
    waiting: deque[Task]
    asked: dict[str, Task] = field(default_factory=dict)
    waits_until: float = 0.0
    patient_until: float = field(default_factory=lambda: time.monotonic() + _PATIENCE_S)

    def busy(self) -> bool:
        return bool(self.waiting or self.asked)

    def step(self) -> bool:
        """Ask for as much as is sensible and look at what was asked; tell if anything ended."""
        try:
            self._ask()
            ended = self._look()
        except Unavailable as error:
            if time.monotonic() > self.patient_until:
                raise
            log.warning("the training service does not answer", extra={"error": str(error)})
            return False
        self.patient_until = time.monotonic() + _PATIENCE_S
        return ended

    def stop(self) -> None:
        """Cancel what is asked for, and wait for its checkpoints; service or not."""
        try:
            for name in self.asked:
                self.executor.training.cancel(name)
            deadline = time.monotonic() + self.executor.grace_s
            while self.asked and time.monotonic() < deadline:
                if not self._look():
                    time.sleep(_LOOK_S)
        except Unavailable as error:
            log.warning("jobs could not be cancelled", extra={"error": str(error)})

    def _ask(self) -> None:
        ahead = 2 * self.executor.slots + 2
        while self.waiting and len(self.asked) < ahead and time.monotonic() >= self.waits_until:
            task = self.waiting[0]
            work = TrialWork(plan=task.argv[1], done=task.done, key=task.key)
            try:
                job = self.executor.training.create(work, request_id=uuid4().hex)
            except Exhausted as error:
                wait_s = float(error.details.get("retry_after_s", "1"))
                self.waits_until = time.monotonic() + wait_s
                return
            self.waiting.popleft()
            self.asked[job.name] = task

    def _look(self) -> bool:
        ended = False
        for name, task in list(self.asked.items()):
            try:
                job = self.executor.training.get(name)
            except NotFound:  # the service lost its book: the work is asked for anew
                del self.asked[name]
                self.waiting.append(task)
                continue
            if job.over:
                del self.asked[name]
                self.book.end(self._result(task, job))
                ended = True
        return ended

    def _result(self, task: Task, job: Job) -> TaskResult:
        """Say how a task ended; what was said done and left nothing is not believed."""
        if job.state == "SUCCEEDED":
            code = EXIT_DONE if is_done(task.done) else EXIT_FAILED
        elif job.state == "CANCELLED":
            code = EXIT_TERMINATED
        else:
            told = None if job.failure is None else job.failure.exit_code
            code = EXIT_FAILED if told is None else told
        words = "" if code == EXIT_DONE else self._words(job)
        wall_s = 0.0
        if job.started is not None and job.ended is not None:
            wall_s = (job.ended - job.started).total_seconds()
        return TaskResult(task.key, state_of(code), code, max(1, job.tries), words, wall_s)

    def _words(self, job: Job) -> str:
        said = self.executor.training.log(job.name, max_bytes=TAIL_BYTES).text
        return said if said or job.failure is None else job.failure.message
