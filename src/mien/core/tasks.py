"""What is handed to executors and trackers, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class RunData:
    """What is recorded about one run at its end, in one go.

    Attributes:
        params: plain values.
        metrics: final figures.
        series: name → [(images seen, value), …].
        tags: strings.
        inputs: data-set name → digest.
        artifacts: folder to keep, or None.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    artifacts: Path | None = None


RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


TaskState = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work for an executor: a CLI verb over a plan file.

    Attributes:
        key: content digest; the same key is the same work, never done twice.
        argv: the mien verb and its arguments, ``("trial", "<plan>")``.
        done: URI of the marker whose existence means done.
        env: additional environment.
        index: place in an array of tasks that differ in nothing but their last argument, which
            is this number; an executor may hand the array over as one. None = stands alone.
    """

    key: str
    argv: tuple[str, ...]
    done: str
    env: Mapping[str, str] = field(default_factory=dict)
    index: int | None = None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task ended.

    Attributes:
        key: of the task.
        state: SUCCEEDED, FAILED or CANCELLED.
        exit_code: of its last try; None when it never ran.
        tries: how often it was started (0 = found done).
        log: last lines of its output.
        wall_s: seconds of its last try.
    """

    key: str
    state: TaskState
    exit_code: int | None
    tries: int
    log: str = ""
    wall_s: float = 0.0


def verb_of(argv: Sequence[str]) -> str:
    """Name the mien verb of a command line; options before it are written ``--name=value``."""
    return next((each for each in argv if not each.startswith("-")), "")
