"""Training as jobs on this machine: trials, sweeps of them, generators."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mien.adapters.executors.rules import is_done
from mien.adapters.jobs.book import UNSUCCESSFUL, JobBook
from mien.adapters.jobs.roots import WorkRoots, read_plan
from mien.adapters.jobs.runner import JobFailed, JobHooks, JobRunner
from mien.adapters.jobs.worker import JobWorker
from mien.core.digest import digest_bytes, digest_of
from mien.core.errors import Exhausted, Interrupted, Invalid, NotFound
from mien.core.hooks import Cancelled, never_cancelled
from mien.core.jobs import (
    ENDED,
    Failure,
    GeneratorWork,
    Job,
    JobLog,
    JobPage,
    JobState,
    SweepWork,
    TrainingWork,
    TrialWork,
    work_of,
)
from mien.core.tasks import Task

KINDS = ("trial", "sweep", "generator")
SWEEPS = 8  # at once; they only wait for their trials
LOG_BYTES = 65_536
_MOST_LOG_BYTES = 8 << 20
_MOST_PARAMS = 1 << 20
_MOST_OVERRIDES = 1000
_MOST_REQUEST_ID = 200
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class LocalTraining:
    """The port ``Training`` on this machine; jobs survive the process.

    Args:
        book: where the jobs are kept.
        roots: where plans and projects may lie.
        worker: runs the verbs.
        slots: trials and generators at once.
        most_queued: asked for and waiting at once; more are refused.
    """

    def __init__(
        self,
        book: JobBook,
        *,
        roots: WorkRoots,
        worker: JobWorker,
        slots: int,
        most_queued: int = 1000,
    ) -> None:
        self.book = book
        self.roots = roots
        self.worker = worker
        self.most_queued = most_queued
        self._trials = JobRunner(book, {"trial": self._trial, "generator": self._generator}, slots)
        self._sweeps = JobRunner(book, {"sweep": self._sweep}, SWEEPS)
        self._planning = threading.Lock()

    def start(self) -> LocalTraining:
        """Begin to run jobs, also those that a dead process left behind; returns itself."""
        self.worker.tidy(self._runs)
        self._trials.start()
        self._sweeps.start()
        return self

    def drain(self, timeout_s: float) -> bool:
        """Let all jobs save their state and queue again; returns whether all have stopped."""
        deadline = time.monotonic() + timeout_s
        self._sweeps.ask_to_stop()
        stopped = self._trials.drain(timeout_s)
        stopped &= self._sweeps.drain(max(0.0, deadline - time.monotonic()))
        self.worker.close()
        return stopped

    def counts(self) -> dict[str, int]:
        """Count jobs by state."""
        return {str(state): number for state, number in self.book.count(KINDS).items()}

    def _runs(self, name: str) -> bool:
        try:
            return not self.book.get(name).over
        except NotFound:
            return False

    # the port

    def create(self, work: TrainingWork, *, request_id: str = "") -> Job:
        """Start a job, as the port says."""
        if len(request_id) > _MOST_REQUEST_ID or not (request_id + "x").isprintable():
            raise _wrong(f"a request_id has at most {_MOST_REQUEST_ID} printable characters")
        kind, name, located, again = self._asked(work)
        self._room_left(name)
        job, _ = self.book.create(
            kind, asdict(located), name=name, request_id=request_id, again=again
        )
        return job

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound`` ``UNKNOWN_JOB``."""
        return self.book.get(name)

    def jobs(self, *, parent: str = "", page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; ``Invalid`` ``PAGE_TOKEN``, ``PAGE_SIZE``."""
        return self.book.jobs(
            parent=parent, kinds=KINDS, page_size=page_size, page_token=page_token
        )

    def cancel(self, name: str) -> Job:
        """Ask a job and its children to stop; ``NotFound`` ``UNKNOWN_JOB``."""
        job = self.book.cancel(name)
        self._sweeps.look()
        self._trials.look()
        return job

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed; ``NotFound`` ``UNKNOWN_JOB``."""
        return self.book.watch(name, after_revision, stop)

    def log(self, name: str, *, max_bytes: int = 0) -> JobLog:
        """Read the end of what a job wrote; ``NotFound`` ``UNKNOWN_JOB``."""
        job = self.book.get(name)
        wanted = min(max_bytes if max_bytes > 0 else LOG_BYTES, _MOST_LOG_BYTES)
        key = job.spec["key"] if job.kind == "trial" else job.name
        before, size = b"", 0
        with suppress(FileNotFoundError), self.worker.log_file(key).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - wanted))
            before = file.read()
        text = before.decode(errors="replace") + self.worker.words(key)
        return JobLog(text[-wanted:], size > wanted or len(text) > wanted)

    # what is asked

    def _asked(self, work: TrainingWork) -> tuple[str, str, TrainingWork, Collection[JobState]]:
        """Check what is asked; returns kind, name, the work resolved, when it is done again."""
        if isinstance(work, TrialWork):
            trial = self._located(work)
            return "trial", self._trial_name(trial), trial, again_if_missing(trial.done)
        project = self._project(work)
        if isinstance(work, SweepWork):
            sweep = SweepWork(*project)
            return "sweep", f"sweep-{digest_of(asdict(sweep))[:32]}", sweep, ENDED
        if not _NAME.fullmatch(work.generator):
            raise _wrong(f"{work.generator[:100]!r} is no name of a generator")
        folder, params, overrides = project
        generator = GeneratorWork(folder, work.generator, params, overrides)
        return "generator", f"generator-{digest_of(asdict(generator))[:32]}", generator, ENDED

    def _trial_name(self, trial: TrialWork) -> str:
        """Name a trial by its key; a second place for the same key is told apart."""
        name = f"trial-{trial.key}"
        try:
            known = work_of(self.book.get(name))
        except NotFound:
            return name
        return name if known == trial else f"{name}-{digest_of(asdict(trial))[:12]}"

    def _located(self, work: TrialWork) -> TrialWork:
        if not work.plan:
            raise _wrong("a trial needs the URI of its plan")
        plan = self.roots.locate(work.plan)
        beside = f"{plan.rpartition('/')[0]}/result.json"
        done = self.roots.locate(work.done) if work.done else beside
        key = work.key or digest_bytes(read_plan(plan))
        if not _KEY.fullmatch(key):
            raise _wrong(f"{key[:200]!r} is no key: letters, digits, _ and - only")
        if work.key and not is_done(plan):
            read_plan(plan)
        return TrialWork(plan, done, key)

    def _project(self, work: SweepWork | GeneratorWork) -> tuple[str, str, tuple[str, ...]]:
        """Locate a project; its parameters are those of now, whenever the job runs."""
        if not work.project:
            raise _wrong("name the folder of the project")
        folder = Path(self.roots.locate(work.project))
        if not folder.is_dir():
            raise NotFound("PLAN_MISSING", f"there is no folder {folder}", hint="name a project")
        text = work.params_yaml
        if not text:
            try:
                text = (folder / "params.yaml").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise NotFound(
                    "PLAN_MISSING",
                    f"{folder} has no params.yaml that can be read",
                    hint="give the parameters with the request",
                ) from None
        if len(text) > _MOST_PARAMS or len(work.overrides) > _MOST_OVERRIDES:
            raise _wrong("the parameters are far too long")
        return str(folder), text, tuple(work.overrides)

    def _room_left(self, name: str) -> None:
        waiting = self.book.count(KINDS, asked=True).get("QUEUED", 0)
        if waiting < self.most_queued:
            return
        try:
            self.book.get(name)
        except NotFound:
            raise Exhausted(
                "QUEUE_FULL",
                f"{waiting} jobs wait already",
                hint="wait for some to end",
                details={"retry_after_s": "10"},
            ) from None

    # how it is done

    def _trial(self, job: Job, hooks: JobHooks) -> Mapping[str, Any]:
        with self.worker.room(job) as room:
            spec = job.spec
            task = Task(spec["key"], ("trial", spec["plan"]), spec["done"])
            result = self.worker.run(task, room, hooks)
        return {"done": spec["done"], "tries": result.tries, "wall_s": result.wall_s}

    def _generator(self, job: Job, hooks: JobHooks) -> Mapping[str, Any]:
        work = work_of(job)
        assert isinstance(work, GeneratorWork)  # noqa: S101  _asked made it
        with self.worker.room(job) as room:
            self._verb(job, room, hooks, "train-generator", work.generator, gpu=True)
        return {"folder": f"{work.project}/data/train_generator/{work.generator}"}

    def _sweep(self, job: Job, hooks: JobHooks) -> Mapping[str, Any]:
        """Plan, run the trials as children, gather: what ``mien sweep`` does, piece by piece."""
        with self.worker.room(job) as room:
            if "trials" not in job.result:
                self._plan(job, room, hooks)
            children = self._wait_for_children(job, hooks)
            _check(children)
            hooks.progress(len(children), len(children), "trials", "gathering")
            with self._one_at_a_time(hooks):
                self._verb(job, room, hooks, "sweep")
        return {"trials": len(children), "folder": f"{job.spec['project']}/data/sweep"}

    def _plan(self, job: Job, room: Path, hooks: JobHooks) -> None:
        hooks.progress(0, 0, "trials", "planning")
        plans = room / f"{job.tries}-plans.json"
        with self._one_at_a_time(hooks):
            self._verb(job, room, hooks, "sweep", "--write-plans", str(plans))
        planned = json.loads(plans.read_text(encoding="utf-8"))
        for trial in planned:
            plan, done = (str(Path(trial[each]).resolve()) for each in ("plan", "done"))
            work = TrialWork(plan, done, trial["key"])
            self.book.create(
                "trial",
                asdict(work),
                name=self._trial_name(work),
                parent=job.name,
                again=again_if_missing(done),
            )
        hooks.result({"trials": len(planned)})

    def _wait_for_children(self, job: Job, hooks: JobHooks) -> list[Job]:
        while True:
            changes = self.book.changes
            counts = self.book.count(parent=job.name)
            total = sum(counts.values())
            ended = sum(counts.get(state, 0) for state in ENDED)
            running = counts.get("RUNNING", 0)
            hooks.progress(ended, total, "trials", "training", {"running": float(running)})
            if counts.get("CANCELLED"):
                self._sweeps.look()  # by whom: its trials end before it hears of it
            if hooks.cancelled():
                raise Interrupted("asked to stop")
            if ended == total:
                break
            self.book.wait(changes, 0.25)
        return [self.book.get(name) for name in self.book.get(job.name).children]

    def _verb(self, job: Job, room: Path, hooks: JobHooks, *verb: str, gpu: bool = False) -> None:
        """Run a verb in the project of a job, with the parameters it was asked with."""
        (room / "params.yaml").write_text(job.spec["params_yaml"], encoding="utf-8")
        # A Job of a cluster goes on under its name, and with it its marker; here one of an
        # earlier try says nothing.
        marker = room / ("trained.done" if gpu else f"{job.tries}-{len(verb)}.done")
        options = [f"--set={each}" for each in job.spec["overrides"]]
        where = (f"--project={job.spec['project']}", f"--params={room / 'params.yaml'}")
        argv = (*where, *options, f"--done={marker}", *verb)
        task = Task(job.name, argv, str(marker))
        self.worker.run(task, room, hooks, gpu=gpu, fresh=gpu)

    @contextmanager
    def _one_at_a_time(self, hooks: JobHooks) -> Iterator[None]:
        """Planning and gathering hold all sets in memory: never two of them."""
        while not self._planning.acquire(timeout=0.1):
            if hooks.cancelled():
                raise Interrupted("asked to stop")
        try:
            yield
        finally:
            self._planning.release()


def again_if_missing(done: str) -> Collection[JobState]:
    """Say in which states a trial is run again when asked for: also when its result is gone."""
    return UNSUCCESSFUL if is_done(done) else ENDED


def _check(children: Sequence[Job]) -> None:
    """Refuse to gather unless every trial succeeded."""
    bad = [job for job in children if job.state != "SUCCEEDED"]
    if not bad:
        return
    first = next((job for job in bad if job.failure), bad[0])
    why = first.failure or Failure("WrongState", "CANCELLED", "it was cancelled")
    raise JobFailed(
        Failure(
            why.kind,
            "TRIALS_FAILED",
            f"{len(bad)} of {len(children)} trials failed; first: {first.name}: {why.message}",
            "mend the cause and ask for the sweep again; finished trials are kept",
            {"trial": first.name, "reason": why.reason},
            why.exit_code,
        )
    )


def _wrong(what: str) -> Invalid:
    return Invalid("JOB_SPEC", what, hint="correct it and ask again")
