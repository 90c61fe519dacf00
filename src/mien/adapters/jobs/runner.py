"""Run the jobs of a book in threads, some at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.adapters.jobs.book import POLL_S, JobBook
from mien.adapters.jobs.owners import new_owner
from mien.core.errors import Conflict, Interrupted
from mien.core.jobs import Failure, Job

log = logging.getLogger(__name__)
TOLD_EVERY_S = 0.25
_WAIT_S = 5.0  # a slot is woken when there is something


@dataclass(slots=True)
class JobHooks:
    """What the work of a job is handed.

    Attributes:
        slot: number of the thread it runs in, from 0: which GPU is its own.
    """

    slot: int
    _book: JobBook
    _job: Job
    _owner: str
    _stop: threading.Event
    _told: float = field(default=float("-inf"))

    def progress(
        self,
        done: float,
        total: float = 0.0,
        unit: str = "",
        message: str = "",
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Say how far it is; written down at most every ``TOLD_EVERY_S``, and at the end."""
        now = time.monotonic()
        if now - self._told < TOLD_EVERY_S and not 0 < total <= done:
            return
        self._told = now
        fields = {"done": done, "total": total, "unit": unit, "message": message}
        self._book.change(self._job.name, owner=self._owner, **fields, metrics=dict(metrics or {}))

    def result(self, so_far: Mapping[str, Any]) -> None:
        """Keep what has come of it so far; a later try finds it in ``job.result``."""
        self._book.change(self._job.name, owner=self._owner, result=dict(so_far))

    def cancelled(self) -> bool:
        """Whether it shall save its state and raise ``Interrupted``."""
        return self._stop.is_set()

    def left(self) -> bool:
        """Whether it is only this process that shall stop: what runs elsewhere may run on.

        That is so when the process drains, or when another has taken the job over.
        """
        return self._stop.is_set() and self._book.get(self._job.name).state != "CANCELLING"


Work = Callable[[Job, JobHooks], Mapping[str, Any]]


class JobRunner:
    """Takes up jobs, also those that a dead process left behind.

    The work of a job returns its result; raises ``Interrupted`` when asked to stop, its state
    saved; a domain error is why the job FAILED.

    Args:
        book: where the jobs are.
        work: kind → what does it.
        slots: jobs at once.
    """

    def __init__(self, book: JobBook, work: Mapping[str, Work], slots: int) -> None:
        self.book = book
        self.work = dict(work)
        self.slots = slots
        self.owner = new_owner()
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._slot, args=(i,), name=f"job-{i}", daemon=True)
            for i in range(slots)
        ]
        self._heart = threading.Thread(target=self._beat, name="job-leases", daemon=True)

    def start(self) -> JobRunner:
        """Begin to take up jobs; returns itself."""
        for thread in (*self._threads, self._heart):
            thread.start()
        return self

    def cancel(self, name: str) -> Job:
        """Ask a job and its children to stop; ``NotFound`` ``UNKNOWN_JOB``."""
        job = self.book.cancel(name)
        self.look()
        return job

    def drain(self, timeout_s: float) -> bool:
        """Take up nothing more, let running jobs save their state and queue again.

        Returns:
            Whether all have stopped; what has not is taken up by the next process after its end.
        """
        deadline = time.monotonic() + timeout_s
        self.ask_to_stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        stopped = not any(thread.is_alive() for thread in self._threads)
        if stopped:
            self._ended.set()
        return stopped

    def ask_to_stop(self) -> None:
        """Begin to drain, without waiting."""
        self._draining.set()
        with self._lock:
            for stop in self._stops.values():
                stop.set()
        self.book.tell()

    @property
    def running(self) -> int:
        """How many jobs it is at."""
        return len(self._stops)

    def _slot(self, slot: int) -> None:
        while True:
            changes = self.book.changes  # first: what comes from now on wakes it
            if self._draining.is_set():
                return
            try:
                job = self.book.claim(self.work, self.owner)
            except Exception:
                log.exception("the job book does not answer")
                self._draining.wait(1.0)
                continue
            if job is None:
                self.book.wait(changes, _WAIT_S)
                continue
            self._run(job, slot)

    def _run(self, job: Job, slot: int) -> None:
        stop = threading.Event()
        with self._lock:
            self._stops[job.name] = stop
            if self._draining.is_set() or job.state == "CANCELLING":
                stop.set()
        self.look()  # it may have been cancelled before it could be heard
        try:
            self._end(job, JobHooks(slot, self.book, job, self.owner, stop))
        except Conflict:
            log.warning("a job was taken over by another process", extra={"job": job.name})
        except Exception:
            log.exception("a job's end could not be written down", extra={"job": job.name})
        finally:
            with self._lock:
                self._stops.pop(job.name, None)

    def _end(self, job: Job, hooks: JobHooks) -> None:
        """Do the work of a job and write down how it ended."""
        started = time.perf_counter()
        fields: dict[str, Any]
        try:
            if hooks.cancelled():
                raise Interrupted("asked to stop before it began")
            result = self.work[job.kind](job, hooks)
            fields = {"state": "SUCCEEDED", "result": dict(result), "message": ""}
        except Interrupted:
            ended = self.book.release(job.name, owner=self.owner)
            _say(ended, time.perf_counter() - started)
            return
        except Conflict:
            raise
        except Exception as error:
            failure = error.failure if isinstance(error, JobFailed) else Failure.of(error)
            if not failure.kind:
                log.exception("a job failed, unforeseen", extra={"job": job.name})
            fields = {"state": "FAILED", "failure": failure, "message": failure.message}
        _say(self.book.change(job.name, owner=self.owner, **fields), time.perf_counter() - started)

    def _beat(self) -> None:
        """Renew the leases; hear of what other processes were asked to do, and to stop."""
        renewed = time.monotonic()
        while not self._ended.wait(POLL_S):
            try:
                if time.monotonic() - renewed > self.book.lease_s / 4:
                    self.book.renew(self.owner)
                    renewed = time.monotonic()
                self.look()
                if self.running < self.slots and self.book.waits(self.work, self.owner):
                    self.book.tell()
            except Exception:
                log.exception("the job book does not answer")

    def look(self) -> None:
        """Pass on what was written about the jobs at hand: stop, or let go of one lost."""
        with self._lock:
            at_hand = dict(self._stops)
        if not at_hand:
            return
        states = self.book.held(self.owner)
        for name, stop in at_hand.items():
            if states.get(name) in (None, "CANCELLING"):
                stop.set()


class JobFailed(Exception):
    """The work of a job failed in another process, which said how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _say(job: Job, seconds: float) -> None:
    extra = {"job": job.name, "state": job.state, "tries": job.tries, "wall_s": round(seconds, 3)}
    log.info("job", extra=extra)
