"""One task of a job on a cluster: carried there if need be, watched, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mien.adapters.executors.artefacts import is_remote, read, store_errors
from mien.adapters.executors.carried_project import bring_generator, carry_training, project_of
from mien.adapters.executors.carried_tasks import CarryingExecutor, bring_back
from mien.adapters.executors.remote_trial import PROGRESS
from mien.adapters.executors.rules import is_done
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.core.errors import EXIT_DONE, MienError
from mien.core.hooks import Cancelled, no_progress
from mien.core.tasks import Task, TaskResult, verb_of

_ELSEWHERE = ("trial", "train-generator")  # planning and gathering stay with who asks for them
_LOOK_S = 2.0  # between two looks at progress that lies elsewhere


@dataclass(frozen=True, slots=True)
class ClusterWork:
    """Runs the verbs that need machines as Jobs.

    Attributes:
        executor: of the cluster.
        slots: Jobs at once.
        store: folder or URI that every machine reaches; "" = all see the same paths.
        cache: of the workers, where all see the same paths.
        log_dir: where what a task wrote is kept, one file a key.
        look_s: seconds between two looks at a task's progress.
    """

    executor: KubernetesJobExecutor
    slots: int
    store: str
    cache: Path
    log_dir: Path
    look_s: float = _LOOK_S
    _running: dict[str, Task] = field(default_factory=dict)

    def takes(self, task: Task) -> bool:
        """Whether this is work for the cluster."""
        return verb_of(task.argv) in _ELSEWHERE

    def run(
        self, task: Task, room: Path, *, on_news: Callable[[bytes], None], cancelled: Cancelled
    ) -> TaskResult:
        """Run a task to its end; where ``cancelled`` raises, it runs on.

        Args:
            task: as for this machine.
            room: of the job; on a disk that all see, unless there is a store.
            on_news: given what the worker says of its progress, as JSON.
            cancelled: asked all the time.

        Raises:
            Unavailable: ``STORE``, ``CLUSTER_UNREACHABLE``. And as the executor.
        """
        if is_done(task.done):
            return TaskResult(task.key, "SUCCEEDED", EXIT_DONE, 0)
        there, told = self._placed(task, room)
        looked = time.monotonic()

        def asked() -> bool:
            nonlocal looked
            if time.monotonic() - looked >= self.look_s:
                looked = time.monotonic()
                _pass_on(told, on_news)
            return cancelled()

        self._running[task.key] = there
        try:
            (result,) = self.executor.run([there], progress=no_progress, cancelled=asked)
        finally:
            self._running.pop(task.key, None)  # one key in two places is two tasks
        _pass_on(told, on_news)
        self._keep_log(result)
        if there.done == task.done or result.state != "SUCCEEDED":
            return result
        if task.argv[0] == "trial":
            return bring_back(task, there, result)
        bring_generator(there.argv[-1], project_of(task), task.argv[-1])
        return result

    def words(self, key: str) -> str:
        """Read what a task under way has written so far; "" for none, or when nobody answers."""
        there = self._running.get(key)
        try:
            return "" if there is None else self.executor.words(there)
        except MienError:
            return ""

    def _placed(self, task: Task, room: Path) -> tuple[Task, str]:
        """Say where the machines of the cluster find a task, and where it tells its progress."""
        if task.argv[0] == "trial" and (self.store or is_remote(task.argv[1])):
            (there,) = CarryingExecutor(self.executor, self.store).carried([task])
            return there, f"{there.argv[1].rpartition('/')[0]}/{PROGRESS}"
        if self.store:
            there, folder = carry_training(task, self.store)
            return there, f"{folder}/{PROGRESS}"
        told = str(room / PROGRESS)
        env = {"MIEN_CACHE": str(self.cache), "MIEN_PROGRESS_FILE": told}
        return replace(task, env={**env, **task.env}), told

    def _keep_log(self, result: TaskResult) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        with (self.log_dir / f"{result.key}.log").open("a", encoding="utf-8") as file:
            file.write(result.log)


def _pass_on(told: str, on_news: Callable[[bytes], None]) -> None:
    """Read progress that lies elsewhere; a store that is away is no news."""
    try:
        with store_errors(told):
            said = read(told)
    except MienError:
        return
    if said is not None:
        on_news(said)
