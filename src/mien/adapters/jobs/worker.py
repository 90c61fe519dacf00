"""Do a job's work by a mien verb in a process of its own, and tell how it goes."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.adapters.executors.local import LocalExecutor
from mien.adapters.executors.shelf import WorkerShelf
from mien.adapters.jobs.runner import JobFailed, JobHooks
from mien.adapters.kubernetes.work import ClusterWork
from mien.core.errors import EXIT_PERMANENT, EXIT_USER, Interrupted
from mien.core.hooks import no_progress
from mien.core.jobs import Failure, Job
from mien.core.tasks import Task, TaskResult

_KINDS = {EXIT_USER: "Invalid", EXIT_PERMANENT: "Corrupt"}
_ERROR = re.compile(r"^mien: error: (?P<message>.*) \[(?P<reason>[A-Z][A-Z0-9_]*)\]$", re.DOTALL)
_KILLED = 128
_HERE: Mapping[str, str] = {  # the worker does the work itself, whatever this process delegates
    "MIEN_REGISTRY_TARGET": "",
    "MIEN_GENERATION_TARGET": "",
    "MIEN_TRAINING_TARGET": "",
    "MIEN_SERVING_TARGET": "",
}


@dataclass(frozen=True, slots=True)
class JobWorker:
    """Runs verbs for jobs.

    Attributes:
        command: how a mien is started; ``worker`` is appended.
        cache: of the workers (``MIEN_CACHE``); their logs and locks are in ``logs`` there, the
            same as those of sweeps in process: both never write into one trial at once.
        scratch: folder for what a job needs while it runs; gone when it does not.
        retries: how often a failed verb is started again.
        grace_s: seconds a stopped worker has to write its checkpoint.
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them, one a slot in turn; empty = none set.
        env: additional environment of the workers.
        shelf: where workers wait for the next job.
        cluster: runs trials and generators' trainings instead; None = all is done here.
    """

    command: Sequence[str]
    cache: Path
    scratch: Path
    retries: int = 2
    grace_s: float = 60.0
    gpus: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    shelf: WorkerShelf = field(default_factory=WorkerShelf)
    cluster: ClusterWork | None = None

    def close(self) -> None:
        """Let idle workers go."""
        self.shelf.close()

    def log_file(self, key: str) -> Path:
        """Say where the verbs under a key write."""
        return self.cache / "logs" / f"{key}.log"

    def words(self, key: str) -> str:
        """Read what a verb that runs elsewhere has written so far; "" where it runs here."""
        return "" if self.cluster is None else self.cluster.words(key)

    @contextmanager
    def room(self, job: Job) -> Iterator[Path]:
        """Give a job a folder until it ends; a Job of a cluster may need it longer than we live."""
        folder = self.scratch / job.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except Interrupted:
            if self.cluster is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, runs: Callable[[str], bool]) -> None:
        """Remove the folders that a process which was killed left, of jobs that are over."""
        for folder in self.scratch.glob("*"):
            if not runs(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def run(
        self, task: Task, room: Path, hooks: JobHooks, *, gpu: bool = True, fresh: bool = False
    ) -> TaskResult:
        """Run a task to its end, its progress told as the job's.

        On a cluster it runs on when only this process stops, and is joined by the next.

        Args:
            task: what to run.
            room: of the job.
            hooks: of the job.
            gpu: whether it is given the GPU of its slot, where there are any.
            fresh: whether it needs a process of its own.

        Raises:
            JobFailed: with what the worker said. Interrupted: when the job was asked to stop.
        """
        news = _News(hooks)
        if self.cluster is not None and self.cluster.takes(task):
            given = Task(task.key, task.argv, task.done, {**_HERE, **self.env, **task.env})
            result = self.cluster.run(given, room, on_news=news.tell, cancelled=news.stops_there)
            return _judged(result, hooks)
        told = room / "progress.json"
        executor = LocalExecutor(
            slots=1,
            command=self.command,
            log_dir=self.cache / "logs",
            retries=self.retries,
            mode="process" if fresh else "persistent",
            grace_s=self.grace_s,
            env={
                **_HERE,
                "MIEN_CACHE": str(self.cache),
                **self._gpu(hooks.slot if gpu else None),
                **self.env,
            },
            shelf=self.shelf,
        )
        given = Task(task.key, task.argv, task.done, {"MIEN_PROGRESS_FILE": str(told), **task.env})
        (result,) = executor.run(
            [given], progress=no_progress, cancelled=lambda: news.stops_here(told)
        )
        news.read(told)
        return _judged(result, hooks)

    def _gpu(self, slot: int | None) -> dict[str, str]:
        if not self.gpus:
            return {}
        mine = "" if slot is None else self.gpus[slot % len(self.gpus)]
        return {"CUDA_VISIBLE_DEVICES": mine}


def _judged(result: TaskResult, hooks: JobHooks) -> TaskResult:
    """Hand on a success; say what anything else was."""
    if result.state == "SUCCEEDED":
        return result
    if hooks.cancelled():
        raise Interrupted("asked to stop")
    raise JobFailed(failure_of(result))


class _News:
    """What the worker says of its progress, looked at whenever the executor asks."""

    def __init__(self, hooks: JobHooks) -> None:
        self.hooks = hooks
        self.seen: object = None

    def stops_here(self, told: Path) -> bool:
        """Pass on what is new in a file; say whether to stop."""
        self.read(told)
        return self.hooks.cancelled()

    def stops_there(self) -> bool:
        """Say whether to cancel what runs elsewhere.

        Raises:
            Interrupted: when only this process shall stop: the next one joins it.
        """
        if not self.hooks.cancelled():
            return False
        if self.hooks.left():
            raise Interrupted("its Job runs on, for the next process to join")
        return True

    def read(self, told: Path) -> None:
        """Pass on what a file says, if it is new."""
        try:
            written = told.stat().st_mtime_ns
            if written != self.seen:
                self.tell(told.read_bytes())
                self.seen = written
        except OSError:  # none yet
            return

    def tell(self, text: bytes) -> None:
        """Pass on what the worker says."""
        try:
            said = json.loads(text)
            metrics = {str(k): float(v) for k, v in said["metrics"].items()}
            total = said["total"] or 0.0
            self.hooks.progress(said["done"], total, said["unit"], said["stage"], metrics)
        except (ValueError, KeyError, TypeError, AttributeError):  # half of it, or nonsense
            return


def failure_of(result: TaskResult) -> Failure:
    """Read from a failed worker's last words what went wrong."""
    code = result.exit_code
    lines = result.log.strip().splitlines()
    said = [i for i, line in enumerate(lines) if _ERROR.match(line)]
    if said and code is not None and code < _KILLED:
        found = _ERROR.match(lines[said[-1]])
        after = lines[said[-1] + 1 : said[-1] + 2]
        hints = [a.removeprefix("mien: hint: ") for a in after if a.startswith("mien: hint: ")]
        words: dict[str, Any] = found.groupdict() if found else {}
        kind = _KINDS.get(code, "Unavailable")
        return Failure(kind, **words, hint="".join(hints), exit_code=code)
    last = lines[-1] if lines else "it said nothing"
    if code is not None and code > _KILLED:
        reason, what = "WORKER_KILLED", f"the worker was killed by signal {code - _KILLED}"
    else:
        reason, what = "WORKER_FAILED", f"the worker ended with exit code {code}"
    hint = "read the job's log; ask for it again to go on"
    return Failure("Unavailable", reason, f"{what}: {last}", hint, {}, code)


def visible_gpus() -> tuple[str, ...]:
    """Name the GPUs that workers may use, without loading a numeric library."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name for each in given.split(",") if (name := each.strip()) not in ("", "-1"))
    found = Path("/proc/driver/nvidia/gpus")
    return tuple(str(i) for i, _ in enumerate(found.iterdir())) if found.is_dir() else ()
