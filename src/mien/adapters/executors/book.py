"""Who is done, and how: what every executor keeps of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mien.adapters.executors.rules import is_done
from mien.core.errors import EXIT_DONE
from mien.core.hooks import OnProgress, Progress
from mien.core.tasks import Task, TaskResult


class TaskBook:
    """Who is done, and how; tells about it once a key.

    Attributes:
        unique: the tasks by key: the same key is the same work.
        ended: results so far, by key.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        progress: OnProgress,
        on_done: Callable[[TaskResult], None] | None,
    ) -> None:
        self.order = [t.key for t in tasks]
        self.unique = {t.key: t for t in tasks}
        self.ended: dict[str, TaskResult] = {}
        self.unit = f"{tasks[0].argv[0]}s" if tasks else "tasks"
        self.progress = progress
        self.on_done = on_done

    def waiting(self) -> Iterable[Task]:
        """Yield what has to run; what is found done ends at once."""
        for task in self.unique.values():
            if is_done(task.done):
                self.end(TaskResult(task.key, "SUCCEEDED", EXIT_DONE, 0))
            else:
                yield task

    def end(self, result: TaskResult) -> None:
        """Keep how a task ended, and tell about it."""
        self.ended[result.key] = result
        if self.on_done:
            self.on_done(result)
        done, total = len(self.ended), len(self.unique)
        self.progress(Progress(done, total, unit=self.unit, stage=self.unit))

    def results(self) -> list[TaskResult]:
        """In the order of the tasks; what never ran is CANCELLED."""
        never = {k: TaskResult(k, "CANCELLED", None, 0) for k in self.unique}
        return [{**never, **self.ended}[key] for key in self.order]
