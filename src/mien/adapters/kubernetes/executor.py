"""Run tasks as Jobs of a cluster: submit, watch, collect; nothing is kept here that matters."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.adapters.executors.book import TaskBook
from mien.adapters.executors.rules import INTERRUPTED, is_done, state_of
from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.jobs import (
    JOB_NAME,
    WORK,
    condition,
    job_name,
    parse_indexes,
    render_job,
    work_digest,
)
from mien.adapters.kubernetes.pods import (
    end_reason,
    exit_code,
    index_of,
    seconds,
    waits,
    why_not_started,
)
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.adapters.kubernetes.watch import Ear, JobWatcher
from mien.core.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TERMINATED,
    AlreadyExists,
    Exhausted,
)
from mien.core.hooks import Cancelled, OnProgress
from mien.core.tasks import Task, TaskResult

log = logging.getLogger(__name__)

_POLL_S = 0.2
_QUOTA_S = 15.0
_STUCK_S = 120.0  # an image may be pushed a moment later; after that it is missing


class KubernetesJobExecutor:
    """The ``Executor`` port on ``batch/v1``.

    The cluster is the record: Jobs are named by what they do, so a launcher that was killed, or a
    second one, joins the Jobs of the first. Preempted Pods start again from their checkpoint.

    Args:
        profile: of the cluster.
        api: calls to it.
        stuck_s: seconds a Pod may wait for its image before its Job is failed.
    """

    def __init__(
        self,
        profile: KubernetesProfile,
        api: KubernetesApi | None = None,
        *,
        stuck_s: float = _STUCK_S,
    ) -> None:
        self.profile = profile
        self._api = api
        self._stuck_s = stuck_s
        self._watcher: JobWatcher | None = None
        self._begins = threading.Lock()

    @property
    def slots(self) -> int:
        """Jobs at once."""
        return self.profile.slots

    def run(
        self,
        tasks: Sequence[Task],
        *,
        progress: OnProgress,
        cancelled: Cancelled,
        on_done: Callable[[TaskResult], None] | None = None,
    ) -> Sequence[TaskResult]:
        """Run all tasks to their end; results in the order of ``tasks``.

        When cancelled, our Jobs are deleted: their Pods get SIGTERM and the profile's grace. Where
        ``cancelled`` raises instead, they run on, for the next run to join. Threads may run tasks
        at the same time: they share one watch and one pace.

        Raises:
            Unavailable: ``CLUSTER_UNREACHABLE``; what was submitted goes on.
            Forbidden, NotFound, Exhausted, Invalid, WrongState: the cluster takes no Job of this
                kind; nothing has been submitted.
        """
        book = TaskBook(tasks, progress, on_done)
        waiting = list(book.waiting())
        if not waiting:
            return book.results()
        works = _works(waiting)
        watcher = self._opened(works[0])
        launch = _Launch(self.profile, watcher, book, works, self._stuck_s)
        with watcher.listening() as ear:
            launch.run(ear, cancelled)
        return book.results()

    def words(self, task: Task) -> str:
        """Read the last lines that the newest Pod of a task has written so far; "" for none.

        Raises:
            MienError: as calls to the cluster.
        """
        if self._watcher is None:
            return ""
        api, name = self._watcher.api, job_name([task])
        pods = api.pods(name)[name]
        return api.log(pods[-1]["metadata"]["name"]) if pods else ""

    def _opened(self, first: _Work) -> JobWatcher:
        """See once that the cluster would take our Jobs; returns what watches them."""
        with self._begins:
            if self._watcher is None:
                api = self._api or KubernetesApi(self.profile)
                api.check(render_job(first.tasks, self.profile))
                self._watcher = JobWatcher(api)
            return self._watcher


@dataclass
class _Work:
    """One Job: a task, or an array of them.

    Attributes:
        tasks: one, or those of an array.
        name: of the Job.
        uid: of the Job: another one of this name is not ours.
        waits: none of its Pods has started.
        told: indexes that have ended.
    """

    tasks: list[Task]
    name: str = ""
    uid: str = ""
    waits: bool = True
    told: set[int] = field(default_factory=set)

    def task_of(self, index: int) -> Task | None:
        return next((t for t in self.tasks if t.index == index), None)


def _works(tasks: Iterable[Task]) -> list[_Work]:
    arrays: dict[tuple[str, ...], _Work] = {}
    works: list[_Work] = []
    for task in tasks:
        if task.index is None:
            works.append(_Work([task]))
        elif (stem := task.argv[:-1]) in arrays:
            arrays[stem].tasks.append(task)
        else:
            works.append(arrays.setdefault(stem, _Work([task])))
    for work in works:
        work.name = job_name(work.tasks)
    return works


class _Launch:
    """The Jobs of one run."""

    def __init__(
        self,
        profile: KubernetesProfile,
        watcher: JobWatcher,
        book: TaskBook,
        works: list[_Work],
        stuck_s: float,
    ) -> None:
        self.profile = profile
        self.watcher = watcher
        self.api = watcher.api
        self.book = book
        self.pending = deque(works)
        self.active: dict[str, _Work] = {}
        self.submitted = 0
        self.not_before = 0.0
        self.stuck_s = stuck_s
        self.looked = time.monotonic()
        self.suspects: dict[str, float] = {}
        self.ended: list[tuple[_Work, Mapping[str, Any]]] = []

    def run(self, ear: Ear, cancelled: Cancelled) -> None:
        while (self.pending or self.active or self.ended) and not cancelled():
            self.submit()
            for job, gone in ear.news(_POLL_S):
                self.hear(job, gone=gone)
            self.collect()
            self.look_for_stuck_pods()
        self.collect()
        if self.active:
            self.stop(ear)

    def submit(self) -> None:
        """Keep as many Jobs on the cluster as there are slots."""
        while self.pending and len(self.active) < self.profile.slots:
            if time.monotonic() < self.not_before:
                return
            work = self.pending.popleft()
            try:
                work.uid = self.api.create_job(render_job(work.tasks, self.profile))
                self.active[work.name] = work
                self.submitted += 1
            except AlreadyExists:
                self.join(work)
            except Exhausted:
                self.pending.appendleft(work)
                if not self.submitted:
                    raise
                self.not_before = time.monotonic() + _QUOTA_S  # ours will end and make room

    def join(self, work: _Work) -> None:
        """Go on with a Job that is there already; one that failed, or did other work, is redone."""
        job = self.api.get_job(work.name)
        if job is None:
            self.pending.append(work)
            return
        same = job["metadata"].get("annotations", {}).get(WORK) == work_digest(
            work.tasks, self.profile
        )
        ended = condition(job, "Complete", "Failed") is not None
        if job["metadata"].get("deletionTimestamp"):
            self.pending.append(work)
            self.not_before = time.monotonic() + 1.0
        elif ended or not same:
            self.api.delete_job(work.name)
            self.pending.append(work)
        else:
            log.info("joined a Job that was there", extra={"job": work.name})
            work.uid = str(job["metadata"].get("uid", ""))
            self.active[work.name] = work
            self.hear(job, gone=False)

    def hear(self, job: Mapping[str, Any], *, gone: bool) -> None:
        """Take in what happened to a Job."""
        name = job["metadata"]["name"]
        work = self.active.get(name)
        if work is None or self.is_another(work, job):
            return
        failed = condition(job, "Failed")
        if gone and not condition(job, "Complete", "Failed"):
            del self.active[name]
            done = all(is_done(t.done) for t in work.tasks)  # cleaned up while nobody watched
            self.end(work, EXIT_DONE if done else EXIT_FAILED, "its Job was deleted", tries=1)
            return
        work.waits = waits(job)
        if work.tasks[0].index is not None:
            self.hear_array(work, job)
        if condition(job, "Complete") or failed:
            del self.active[name]
            self.suspects.pop(name, None)
            if work.tasks[0].index is None:
                self.ended.append((work, job))
            elif failed is not None:
                self.end(work, EXIT_FAILED, str(failed.get("message", "")), tries=1)

    def is_another(self, work: _Work, job: Mapping[str, Any]) -> bool:
        """Whether this is old news, of a Job that had the same name."""
        if "uid" in job["metadata"]:
            return bool(job["metadata"]["uid"] != work.uid)
        now = self.api.get_job(work.name)  # a list no longer had it
        return now is not None and now["metadata"].get("uid") == work.uid

    def hear_array(self, work: _Work, job: Mapping[str, Any]) -> None:
        """End the tasks of indexes that have ended."""
        status = job.get("status", {})
        done = parse_indexes(status.get("completedIndexes") or "") - work.told
        failed = parse_indexes(status.get("failedIndexes") or "") - work.told
        work.told |= done | failed
        for index in sorted(done):
            if task := work.task_of(index):
                self.tell(task, EXIT_DONE, "", 1)
        if not failed:
            return
        pods = self.api.pods(work.name)[work.name]
        for index in sorted(failed):
            mine = [p for p in pods if index_of(p) == index]
            if task := work.task_of(index):
                text = "\n".join(filter(None, (self._log(mine), end_reason(mine))))
                self.tell(task, exit_code(mine), text, max(1, len(mine)))

    def collect(self) -> None:
        """Read how single tasks ended: exit code and log of the last Pod of each."""
        found = self.api.pods(*(work.name for work, _ in self.ended)) if self.ended else {}
        while self.ended:
            work, job = self.ended[0]
            pods = found[work.name]
            failed = condition(job, "Failed")
            tries = max(1, len(pods), int(job.get("status", {}).get("failed") or 0))
            code = EXIT_DONE if failed is None else exit_code(pods)
            text = self._log(pods)
            if failed is not None:
                code = EXIT_FAILED if code in INTERRUPTED else code  # nobody here asked it to stop
                said = f"{failed.get('reason', '')}: {failed.get('message', '')}"
                text = "\n".join(filter(None, (text, end_reason(pods), said)))
            del self.ended[0]
            self.tell(work.tasks[0], code, text, tries, seconds(job))

    def _log(self, pods: list[dict[str, Any]]) -> str:
        return self.api.log(pods[-1]["metadata"]["name"]) if pods else ""

    def end(self, work: _Work, code: int, text: str, tries: int) -> None:
        for task in work.tasks:
            if task.key not in self.book.ended:
                self.tell(task, code, text, tries)

    def tell(self, task: Task, code: int, text: str, tries: int, wall_s: float = 0.0) -> None:
        if code == EXIT_DONE and not is_done(task.done):
            code, text = EXIT_FAILED, f"{text}\nit ended well and left no {task.done}"
        result = TaskResult(task.key, state_of(code), code, tries, text, wall_s)
        self.book.end(result)

    def look_for_stuck_pods(self) -> None:
        """Fail Jobs whose Pods cannot start: a missing image would wait for ever."""
        every_s = min(30.0, self.stuck_s / 4)
        waiting = {name: work for name, work in self.active.items() if work.waits}
        if not waiting or time.monotonic() - self.looked < every_s:
            return
        self.looked = time.monotonic()
        why = self.why_stuck(waiting, every_s)
        self.suspects = {n: at for n, at in self.suspects.items() if n in why}
        for name, words in why.items():
            since = self.suspects.setdefault(name, self.looked)
            if self.looked - since >= self.stuck_s:
                work = self.active.pop(name)
                self.api.delete_job(name)
                self.end(work, EXIT_FAILED, f"its Pod cannot start: {words}", tries=1)

    def why_stuck(self, waiting: Mapping[str, _Work], age_s: float) -> dict[str, str]:
        """Say why Jobs wait for what will not come; what only waits for quota is left alone."""
        pending, refused = self.watcher.stuck(age_s)
        there = {str(p["metadata"].get("labels", {}).get(JOB_NAME, "")) for p in pending}
        why = {n: said for n, said in why_not_started(pending).items() if n in waiting}
        for name, work in waiting.items():
            if name in there or work.uid not in refused:
                continue
            if "exceeded quota" in (said := refused[work.uid]):
                extra = {"job": name, "why": said, "hint": "free some, or ask for more"}
                log.warning("a Job waits for quota", extra=extra)
            else:
                why[name] = f"{said} (service_account, labels and shapes in the cluster profile)"
        return why

    def stop(self, ear: Ear) -> None:
        """Delete our Jobs and wait until their Pods have had their grace."""
        for name in self.active:
            self.api.delete_job(name)
        until = time.monotonic() + self.profile.grace_s + 30.0
        left = set(self.active)
        while left and time.monotonic() < until:
            left -= {j["metadata"]["name"] for j, gone in ear.news(_POLL_S) if gone}
        for work in self.active.values():
            self.end(work, EXIT_TERMINATED, "cancelled; its checkpoint is kept", tries=1)
