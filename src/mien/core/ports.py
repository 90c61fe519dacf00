"""What the core asks of the world, in its own words. Adapters and clients implement these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mien.core.hooks import Cancelled, OnProgress, never_cancelled
from mien.core.tasks import RunData, RunStatus, Task, TaskResult

if TYPE_CHECKING:  # a launcher of workers needs no NumPy
    from mien.core.arrays import Float, UInt8
    from mien.core.catalogue import Alias, Diff, Entry, ItemFilter, Relations, Verification
    from mien.core.expression import Affect, Expression
    from mien.core.generation import (
        EngineInfo,
        FacePlan,
        FaceRequest,
        GeneratedFace,
        GeneratorInfo,
        MadeFace,
        Photo,
        WantedFace,
    )
    from mien.core.jobs import Job, JobLog, JobPage, TrainingWork
    from mien.core.manifest import Licence, Provenance, VersionInfo
    from mien.core.sample import Item
    from mien.core.serving import ModelInfo, Promotion, Query, Recognition, Refusal


class Registry(Protocol):
    """Immutable dataset versions. A reference is a name (its latest), name@alias, or a digest."""

    def create(
        self,
        name: str,
        items: Iterable[Item],
        *,
        provenance: Provenance,
        licences: Mapping[str, Licence],
        request_id: str = "",
        keep_duplicates: bool = False,
    ) -> VersionInfo:
        """Freeze items under a name; the same content again is the same version.

        With a ``request_id`` the call may be repeated: it answers as it did the first time. One
        image under several labels or subjects is refused, unless ``keep_duplicates``: pools may
        hold them.
        """
        ...

    def import_version(self, name: str, folder: Path, *, request_id: str = "") -> VersionInfo:
        """Freeze a version's folder under a name."""
        ...

    def get(self, reference: str) -> VersionInfo:
        """Find a version; ``NotFound`` otherwise."""
        ...

    def entry(self, reference: str) -> Entry:
        """Find the latest entry of the history that a reference means; also ``name@digest``."""
        ...

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first."""
        ...

    def history(
        self, name: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[Entry]:
        """List entries behind a place in the history, oldest first, at most ``limit``."""
        ...

    def items(self, reference: str, where: ItemFilter | None = None) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified; ``Corrupt`` names a bad item."""
        ...

    def diff(self, before: str, after: str, *, max_ids: int = 100) -> Diff:
        """Compare two versions by class, subject, source and quality."""
        ...

    def set_alias(self, name: str, alias: str, reference: str, *, expect: str = "") -> Alias:
        """Point an alias of a name at a version.

        Args:
            name: that the version was registered under.
            alias: lower-case letters, digits, dashes.
            reference: name, name@alias or digest.
            expect: move only if it points at this digest now; ``none`` = only if there is none;
                "" = whatever it is. ``Conflict`` ``ALIAS_MOVED`` otherwise.
        """
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; ``NotFound`` when there is none."""
        ...

    def aliases(
        self, name: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Alias]:
        """List aliases by name and alias, behind a pair of them, at most ``limit``."""
        ...

    def lineage(self, reference: str, *, down: bool = False, depth: int = 0) -> Relations:
        """Follow what a version was made from, or (down) what was made from it; 0 = all steps."""
        ...

    def verify(self, reference: str) -> Verification:
        """Read every byte and compare; damage is in the answer, no error."""
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
    """Faces on request, in process or remote. Generators are named as ``generators`` does."""

    def engines(self) -> Sequence[EngineInfo]:
        """List the algorithms that can be asked for, by name."""
        ...

    def generators(self) -> Sequence[GeneratorInfo]:
        """List the trained instances that lie where this looks, by name."""
        ...

    def stream_faces(self, plan: FacePlan) -> Iterator[MadeFace]:
        """Make a balanced set, identity by identity; wrong plans are errors of the call."""
        ...

    def make_faces(
        self, engine: str, params: Mapping[str, Any], wanted: Iterable[WantedFace]
    ) -> Iterator[MadeFace]:
        """Make exactly these faces, in order; an engine may want a batch before it answers."""
        ...

    def synthesize_affect(
        self,
        photo: Photo,
        *,
        expression: Expression | None = None,
        affect: Affect | None = None,
        intensity: float = 1.0,
    ) -> MadeFace:
        """Deform a photo of a neutral face."""
        ...

    def translate_expression(
        self, photo: Photo, *, expression: Expression, generator: str, intensity: float = 1.0
    ) -> MadeFace:
        """Translate the expression of a photo with a trained generator."""
        ...


class GenerationJobs(Protocol):
    """Jobs that write a version of faces, in shards, and outlive whoever asked for them."""

    def create(
        self, plan: FacePlan, version_name: str, *, shard_identities: int = 0, request_id: str = ""
    ) -> Job:
        """Start a job; the same request id never asks twice. 0 identities a shard = 512.

        Raises:
            Invalid: ``VERSION_NAME``, and as ``Generation.stream_faces``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        ...

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound`` ``UNKNOWN_JOB``."""
        ...

    def jobs(self, *, page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; ``Invalid`` ``PAGE_TOKEN``, ``PAGE_SIZE``."""
        ...

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, its finished shards are kept; ``NotFound`` ``UNKNOWN_JOB``."""
        ...

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed, until it ends or ``stop`` says so."""
        ...


class Scorer(Protocol):
    """A teacher or judge, handed to a room that may not import ``recognition``."""

    def probabilities(self, images: UInt8) -> Float:
        """Class probabilities (N, C) of images (N, H, W[, 3])."""
        ...

    def features(self, images: UInt8) -> Float:
        """Features (N, D) of images (N, H, W[, 3])."""
        ...


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


class Training(Protocol):
    """Training as jobs that outlive whoever asked for them, in process or remote."""

    def create(self, work: TrainingWork, *, request_id: str = "") -> Job:
        """Start a job; the same work is the same job, the same request id never asks twice.

        Work that ended without success, or a sweep or generator that ended, is done again, from
        its checkpoints, when a new request asks for it.

        Raises:
            Invalid: ``JOB_SPEC``. NotFound: ``PLAN_MISSING``. Forbidden: ``PLAN_FORBIDDEN``.
            AlreadyExists: ``REQUEST_ID_REUSED``, ``JOB_NAME_TAKEN`` for a key of other work.
            Exhausted: ``QUEUE_FULL``.
        """
        ...

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound`` ``UNKNOWN_JOB``."""
        ...

    def jobs(self, *, parent: str = "", page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; only children of ``parent`` where given.

        Raises:
            Invalid: ``PAGE_TOKEN``, ``PAGE_SIZE``.
        """
        ...

    def cancel(self, name: str) -> Job:
        """Ask a job and its children to stop within one step; ``NotFound`` ``UNKNOWN_JOB``."""
        ...

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed, until it ends or ``stop`` says so.

        Revisions grow; a slow reader misses some, never the last. ``NotFound`` ``UNKNOWN_JOB``.
        """
        ...

    def log(self, name: str, *, max_bytes: int = 0) -> JobLog:
        """Read the last bytes (0 = 65,536) a job wrote; ``NotFound`` ``UNKNOWN_JOB``."""
        ...


class Models(Protocol):
    """Registered models and their aliases. One record of who is champion, and no other."""

    def register(
        self, name: str, package: Path, *, run: str = "", alias: str = "challenger"
    ) -> ModelInfo:
        """Register a package's folder and point an alias at it; the same digest is kept once.

        ``run`` is the tracker's id of the run that decided for it, or "".
        """
        ...

    def get(self, reference: str) -> ModelInfo:
        """Find ``name/version`` or ``name@alias``; ``NotFound UNKNOWN_MODEL`` otherwise."""
        ...

    def pointed(self, name: str, alias: str) -> str | None:
        """Return the version that an alias points at; None when it points nowhere."""
        ...

    def versions(self, name: str | None = None) -> Sequence[ModelInfo]:
        """List registered models, newest first."""
        ...

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy a model's package into ``folder``, verified; ``Corrupt MODEL_FILES`` otherwise."""
        ...

    def move(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Point an alias at a version; ``Conflict ALIAS_MOVED`` unless it points at ``expected``.

        ``expected`` None means that it points nowhere yet.
        """
        ...

    def note(self, reference: str, notes: Mapping[str, str]) -> None:
        """Write notes on a version, such as each use of the gate."""
        ...


class ModelHost(Protocol):
    """A server of models from a repository folder: Triton, or ONNX Runtime in this process."""

    def load(self, model: str) -> None:
        """Load a model of the repository, or load it anew when its files changed."""
        ...

    def unload(self, model: str) -> None:
        """Unload a model; nothing happens when it is not loaded."""
        ...

    def loaded(self) -> Sequence[str]:
        """Names of the models that can be asked."""
        ...

    def infer(self, model: str, images: UInt8, *, timeout_s: float) -> Mapping[str, Float]:
        """Judge faces (N, S, S[, 3]) uint8: output name → (N, …) float32.

        Raises:
            Exhausted: ``QUEUE_FULL``. Unavailable: ``TRITON_UNAVAILABLE``.
            NotFound: ``MODEL_NOT_LOADED``.
        """
        ...


class Serving(Protocol):
    """Recognises with the champion, and decides who is champion."""

    def recognise(self, query: Query) -> Recognition:
        """Find the faces of a picture and judge each."""
        ...

    def recognise_stream(self, queries: Iterable[Query]) -> Iterator[Recognition | Refusal]:
        """Judge pictures in order; a bad one is refused and does not end the stream."""
        ...

    def promote(self, model: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a registered model the champion, through the gate; any failure changes nothing."""
        ...

    def rollback(self, model: str = "expression", *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again."""
        ...

    def model(self, name: str) -> ModelInfo:
        """Read a registered model."""
        ...

    def models(self) -> Sequence[ModelInfo]:
        """List registered models, newest first."""
        ...
