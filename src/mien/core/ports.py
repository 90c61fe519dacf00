"""What the core asks of the world, in its own words. Adapters and clients implement these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mien.core.hooks import Cancelled, OnProgress

if TYPE_CHECKING:  # a launcher of workers needs no NumPy
    from mien.core.arrays import Float, UInt8
    from mien.core.generation import FaceRequest, GeneratedFace
    from mien.core.manifest import Licence, Provenance, VersionInfo
    from mien.core.sample import Item


class Registry(Protocol):
    """Immutable dataset versions, found by name or digest."""

    def create(
        self,
        name: str,
        items: Iterable[Item],
        *,
        provenance: Provenance,
        licences: Mapping[str, Licence],
    ) -> VersionInfo:
        """Freeze items under a name; the same content again is the same version."""
        ...

    def get(self, reference: str) -> VersionInfo:
        """Find a version by name (its latest) or digest; ``NotFound`` otherwise."""
        ...

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first."""
        ...

    def items(self, reference: str) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified; ``Corrupt`` names a bad item."""
        ...


class Engine(Protocol):
    """An algorithm that makes faces; a trained instance of it is a generator."""

    @property
    def name(self) -> str:
        """Name in the engine table."""
        ...

    @property
    def digest(self) -> str:
        """Name of this exact instance: engine, parameters, weights, assets."""
        ...

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order."""
        ...


class Generation(Protocol):
    """Generators by name, in process or remote."""

    def engines(self) -> Sequence[str]:
        """Names of the engines that can be asked for."""
        ...

    def stream_faces(
        self, engine: str, params: Mapping[str, Any], requests: Iterable[FaceRequest]
    ) -> Iterator[GeneratedFace]:
        """Make faces with an engine; ``NotFound`` for an unknown one."""
        ...


class Scorer(Protocol):
    """A teacher or judge, handed to a room that may not import ``recognition``."""

    def probabilities(self, images: UInt8) -> Float:
        """Class probabilities (N, C) of images (N, H, W[, 3])."""
        ...

    def features(self, images: UInt8) -> Float:
        """Features (N, D) of images (N, H, W[, 3])."""
        ...


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


class Tracker(Protocol):
    """Where runs are recorded. Never fails the work it records."""

    def start(self, experiment: str, name: str, *, parent: str | None = None) -> str:
        """Open a run and return its id."""
        ...

    def update(self, run: str, images_seen: int, metrics: Mapping[str, float]) -> None:
        """Record figures of a run that goes on; for long ones, a few times a minute at most."""
        ...

    def finish(self, run: str, data: RunData, *, status: RunStatus = "FINISHED") -> None:
        """Record everything else about a run and close it; KILLED = stopped, to go on later."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait a while for what is under way; returns whether all of it has arrived."""
        ...


TaskState = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work for an executor: a CLI verb over a plan file.

    Attributes:
        key: content digest; the same key is the same work, never done twice.
        argv: the mien verb and its arguments, ``("trial", "<plan>")``.
        done: URI of the marker whose existence means done.
        env: additional environment.
    """

    key: str
    argv: tuple[str, ...]
    done: str
    env: Mapping[str, str] = field(default_factory=dict)


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


class Executor(Protocol):
    """Runs tasks somewhere, a number at a time, with retries by exit code."""

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        ...

    def run(
        self,
        tasks: Sequence[Task],
        *,
        progress: OnProgress,
        cancelled: Cancelled,
        on_done: Callable[[TaskResult], None] | None = None,
    ) -> Sequence[TaskResult]:
        """Run all tasks to their end; results in the order of ``tasks``."""
        ...
