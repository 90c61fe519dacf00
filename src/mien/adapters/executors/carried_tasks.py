"""Trials for machines that do not see our disk: carried to a store, and their results back."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mien.adapters.executors.artefacts import (
    exists,
    fetch,
    is_remote,
    local_path,
    names,
    put,
    read,
    remove,
    store_errors,
    write,
)
from mien.adapters.executors.book import TaskBook
from mien.adapters.executors.remote_trial import (
    CHECKPOINT,
    FILES,
    PROGRESS,
    RESULT,
    ROWS,
    SET_FILES,
)
from mien.core.digest import digest_file, digest_of
from mien.core.errors import EXIT_FAILED, EXIT_PERMANENT, Corrupt, MienError
from mien.core.hooks import Cancelled, OnProgress, no_progress
from mien.core.ports import Executor
from mien.core.tasks import Task, TaskResult

log = logging.getLogger(__name__)
_AT_ONCE = 8  # uploads


@dataclass(frozen=True, slots=True)
class CarryingExecutor:
    """Runs tasks of ``mien trial`` where only a store is common; other tasks go as they are.

    What is put there is named by its content, so nothing is carried twice, and a second launcher
    means the same task. Results are brought back, verified, before a task counts as done.

    Attributes:
        inner: runs the tasks elsewhere.
        store: folder or URI that every machine reaches.
    """

    inner: Executor
    store: str
    _sets: dict[tuple[str, int, int], str] = field(default_factory=dict)
    _there: set[str] = field(default_factory=set)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def slots(self) -> int:
        """Tasks at once."""
        return self.inner.slots

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
            Unavailable: ``STORE`` before anything is submitted. And as ``inner``.
        """
        book = TaskBook(tasks, progress, on_done)
        waiting = {task.key: task for task in book.waiting()}
        given = {task.key: task for task in self.carried(waiting.values())}

        def ended(result: TaskResult) -> None:
            task, there = waiting[result.key], given[result.key]
            book.end(bring_back(task, there, result) if there is not task else result)

        self.inner.run(
            list(given.values()), progress=no_progress, cancelled=cancelled, on_done=ended
        )
        return book.results()

    def carried(self, tasks: Iterable[Task]) -> list[Task]:
        """Put what tasks need into the store; returns the tasks for machines elsewhere."""
        with store_errors(self.store), ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._carried, tasks))

    def _carried(self, task: Task) -> Task:
        if task.argv[0] != "trial" or is_remote(task.argv[1]):
            return task
        plan = local_path(task.argv[1])
        try:
            trial: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
            sets = [self._described(each) for each in trial["sets"]]
            rows = digest_file(plan.with_name(ROWS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                "PLAN", f"{plan} cannot be read: {error}", hint="run: mien sweep"
            ) from None
        for here, described in zip(trial["sets"], sets, strict=True):
            if here is not described:
                self._put_set(local_path(here["folder"]), str(described["folder"]))
        described = {**trial, "sets": sets, "rows": rows}
        there = f"{self.store}/trials/{task.key[:40]}-{digest_of(described)[:24]}"
        if not exists(f"{there}/plan.json"):
            put(plan.with_name(ROWS), f"{there}/{ROWS}")
            begun = plan.parent / CHECKPOINT
            if begun.exists() and not exists(f"{there}/{CHECKPOINT}"):
                put(begun, f"{there}/{CHECKPOINT}")  # begun here, it goes on there
            write(f"{there}/plan.json", json.dumps(described, sort_keys=True).encode())
        return replace(task, argv=("trial", f"{there}/plan.json"), done=f"{there}/{RESULT}")

    def _described(self, described: dict[str, Any]) -> dict[str, Any]:
        """Say how the plan shall name a set: by what is in it."""
        if is_remote(described["folder"]):
            return described
        folder = local_path(described["folder"])
        digests = {name: self._digest(folder / name) for name in SET_FILES}
        there = f"{self.store}/sets/{digest_of(digests)[:32]}"
        return {**described, "folder": there, "digests": digests}

    def _put_set(self, folder: Path, there: str) -> None:
        with self._turn:  # the trials of a sweep share their sets
            if there in self._there:
                return
            for name in SET_FILES:
                if not exists(f"{there}/{name}"):
                    put(folder / name, f"{there}/{name}")
            self._there.add(there)

    def _digest(self, file: Path) -> str:
        """Digest a file once as long as it stays as it is: sets are large, and in every plan."""
        found = file.stat()
        key = (str(file), found.st_mtime_ns, found.st_size)
        if key not in self._sets:
            self._sets[key] = digest_file(file)
        return self._sets[key]


def bring_back(task: Task, there: Task, result: TaskResult) -> TaskResult:
    """Fetch what a finished trial left, its marker last; what cannot be brought back failed.

    Args:
        task: as it was given, with its places here.
        there: the same with its places in the store.
        result: how it ended there.
    """
    if result.state != "SUCCEEDED":
        return result
    source, folder = there.done.rpartition("/")[0], local_path(task.argv[1]).parent
    try:
        with store_errors(source):
            digests = _left(source)
            for name in [*(n for n in digests if n != RESULT), RESULT]:
                fetch(f"{source}/{name}", folder / name, digests.get(name, ""))
    except (MienError, ValueError) as error:
        if isinstance(error, Corrupt | ValueError):
            remove(f"{source}/{RESULT}")  # done again, it is put there anew
        log.warning("a result was not brought back", extra={"task": task.key, "why": str(error)})
        code = EXIT_FAILED if not isinstance(error, Corrupt) else EXIT_PERMANENT
        text = f"{result.log}\nmien: error: {error}"
        return TaskResult(task.key, "FAILED", code, result.tries, text, result.wall_s)
    return result


def _left(source: str) -> dict[str, str]:
    """Say what a trial left, with digests; one that ran in a common folder wrote none down."""
    listed = read(f"{source}/{FILES}")
    if listed is not None:
        return dict(json.loads(listed))
    inputs = ("plan.json", ROWS, PROGRESS)
    return {n: "" for n in names(source) if n not in inputs and not n.startswith("checkpoint/")}
