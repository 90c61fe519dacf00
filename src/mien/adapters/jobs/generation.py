"""Jobs that make a version of faces: shards by workers, then one commit to the registry."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mien
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.generation_shards import (
    News,
    ShardPlace,
    carried_generators,
    check_shard,
    items,
)
from mien.adapters.jobs.runner import JobFailed, JobHooks, JobRunner
from mien.adapters.jobs.worker import failure_of
from mien.core.digest import digest_of
from mien.core.errors import (
    Corrupt,
    Interrupted,
    Invalid,
    MienError,
    NotFound,
    Unavailable,
    WrongState,
    invalid_fields,
)
from mien.core.generation import FacePlan
from mien.core.hooks import Cancelled, never_cancelled, no_progress
from mien.core.jobs import Job, JobPage
from mien.core.manifest import Provenance, VersionInfo
from mien.core.ports import Executor, Registry
from mien.core.shards import ShardPlan
from mien.generators.local import LocalGeneration

KIND = "generation"
SHARD_IDENTITIES = 512
_MOST_SHARDS = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REGISTRY_S = 120.0  # a registry that does not answer is waited for
_AGAIN_S = 1.0
_ROUNDS = 3  # a damaged shard is made again so often


class LocalGenerationJobs:
    """The ``GenerationJobs`` port: a book, one job at a time, its shards by an executor.

    A job's folder holds its plan and its finished shards, so that it goes on after them whoever
    was killed: a worker, this process, or the machine. Once its version is in the registry the
    folder is removed.

    Args:
        book: where the jobs are written down.
        generation: checks what is asked, and knows the generators.
        executor: runs ``mien shard``.
        registry: opened when there is something to write.
        folder: for the shards.
        assets: folder of open assets that the workers use; None = as they are told otherwise.
        store: folder or URI that the workers reach, for the shards instead; "" = ``folder``.
        outlives: whether what the executor began goes on when this process ends.
    """

    def __init__(
        self,
        book: JobBook,
        generation: LocalGeneration,
        executor: Executor,
        registry: Callable[[], Registry],
        folder: Path,
        *,
        assets: Path | None = None,
        store: str = "",
        outlives: bool = False,
    ) -> None:
        self.book = book
        self.runner = JobRunner(book, {KIND: self._work}, slots=1)
        self._generation = generation
        self._executor = executor
        self._registry = registry
        self._folder = folder
        self._assets = assets
        self._store = store
        self._outlives = outlives

    def start(self) -> LocalGenerationJobs:
        """Begin to take up jobs; returns itself."""
        self.runner.start()
        return self

    def drain(self, timeout_s: float) -> None:
        """Take up nothing more; the job at hand stops, keeps its shards and queues again."""
        self.runner.drain(timeout_s)

    def create(
        self, plan: FacePlan, version_name: str, *, shard_identities: int = 0, request_id: str = ""
    ) -> Job:
        """Start a job; the same work is the same job, the same request id never asks twice.

        A job that failed or was cancelled goes on, after its finished shards, when a new request
        asks for it.

        Raises:
            Invalid: ``VERSION_NAME``; ``FACE_PLAN`` for too many shards; and, with NotFound and
                Corrupt, as ``LocalGeneration.planned``.
            AlreadyExists: ``REQUEST_ID_REUSED``. Exhausted: ``QUEUE_FULL``.
        """
        each = shard_identities or SHARD_IDENTITIES
        _check(plan, version_name, each)
        spec = {
            "plan": plan.to_json(),
            "version_name": version_name,
            "shard_identities": each,
            "engine_digest": self._generation.planned(plan).engine.digest,
        }
        name = f"{KIND}-{digest_of(spec)[:32]}"
        return self.book.create(KIND, spec, name=name, request_id=request_id)[0]

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound`` ``UNKNOWN_JOB``."""
        job = self.book.get(name)
        if job.kind != KIND:
            raise _unknown(name)
        return job

    def jobs(self, *, page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; ``Invalid`` ``PAGE_TOKEN``, ``PAGE_SIZE``."""
        return self.book.jobs(kinds=[KIND], page_size=page_size, page_token=page_token)

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, its finished shards are kept; ``NotFound`` ``UNKNOWN_JOB``."""
        self.get(name)
        return self.runner.cancel(name)

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed, until it ends or ``stop`` says so.

        Raises:
            NotFound: ``UNKNOWN_JOB``, at once.
        """
        self.get(name)
        return self.book.watch(name, after_revision, stop)

    def _work(self, job: Job, hooks: JobHooks) -> Mapping[str, Any]:
        """Make what is missing of a job; called again after whatever stopped it."""
        home = f"{self._store}/{KIND}/{job.name}" if self._store else str(self._folder / job.name)
        place = ShardPlace(home, self._folder / "fetched")
        if "version" in job.result:  # it was stopped between the commit and its end
            place.clear()
            return job.result
        planned = self._plan(job)
        place.write_plan(planned)
        shards = self._shards(planned, place, hooks)
        info = self._commit(job, planned, place, hooks)
        result = {"version": info.to_json(), "shards": shards}
        hooks.result(result)
        place.clear()
        return result

    def _plan(self, job: Job) -> ShardPlan:
        try:
            faces = FacePlan.from_json(job.spec["plan"])
            each, digest = int(job.spec["shard_identities"]), str(job.spec["engine_digest"])
        except (KeyError, TypeError, ValueError, Invalid) as error:
            raise Corrupt(
                "JOB_SPEC", f"{job.name} cannot be read: {error}", hint="ask for it anew"
            ) from None
        params = self._generation.placed(faces.params)
        if self._store:
            params = carried_generators(params, self._store)
        return ShardPlan(faces, params, digest, each)

    def _shards(self, planned: ShardPlan, place: ShardPlace, hooks: JobHooks) -> dict[str, str]:
        """Have all shards made and check each; returns their digests by number."""
        checked: dict[str, str] = {}
        for last in range(_ROUNDS):
            self._run(planned, place, hooks)
            for index in range(planned.shards):
                if str(index) in checked:
                    continue
                try:
                    with place.opened(index) as folder:
                        checked[str(index)] = check_shard(planned, index, folder)
                except (Corrupt, Invalid, NotFound, WrongState):
                    if last == _ROUNDS - 1:
                        raise
                    place.drop(index)
            if len(checked) == planned.shards:
                break
        hooks.result({"shards": checked})
        return checked

    def _run(self, planned: ShardPlan, place: ShardPlace, hooks: JobHooks) -> None:
        """Run the tasks of all shards that are not there.

        Raises:
            Interrupted: when asked to stop. JobFailed: when a worker failed for good.
        """
        news = News(planned, place, hooks, outlives=self._outlives)
        env = {} if self._assets is None else {"MIEN_ASSETS": str(self._assets)}
        results = self._executor.run(
            [place.task(index, env) for index in range(planned.shards)],
            progress=no_progress,
            cancelled=news.cancelled,
        )
        for result in results:
            if result.state == "FAILED":
                raise JobFailed(failure_of(result))
        if any(result.state == "CANCELLED" for result in results):
            raise Interrupted("stopped; finished shards are kept")

    def _commit(
        self, job: Job, planned: ShardPlan, place: ShardPlace, hooks: JobHooks
    ) -> VersionInfo:
        """Stream the shards into one version; a registry that is away is waited for.

        The same request never commits twice, so that it may be repeated.
        """
        until = time.monotonic() + _REGISTRY_S
        while True:
            try:
                info = self._freeze(job, planned, place, hooks)
                break
            except Unavailable:
                if time.monotonic() > until:
                    raise
            hooks.progress(
                planned.faces.faces, planned.faces.faces, "faces", "waits for a registry"
            )
            _pause(hooks)
        if info.rows != planned.faces.faces:
            raise Corrupt(
                "POOL_UNBALANCED",
                f"the version holds {info.rows} faces, {planned.faces.faces} were made",
                hint="verify the registry",
            )
        return info

    def _freeze(
        self, job: Job, planned: ShardPlan, place: ShardPlace, hooks: JobHooks
    ) -> VersionInfo:
        from mien.generators.rows import INVENTED

        faces = planned.faces
        return self._registry().create(
            job.spec["version_name"],
            items(planned, place, hooks),
            provenance=Provenance(
                maker=f"engine:{faces.engine}",
                params=faces.to_json(),
                parents={"generator": planned.engine_digest},
                code=mien.__version__,
            ),
            licences={faces.source: INVENTED},
            request_id=job.name,
            keep_duplicates=True,  # a weak generator may show two labels with one picture
        )


def _pause(hooks: JobHooks) -> None:
    until = time.monotonic() + _AGAIN_S
    while time.monotonic() < until:
        if hooks.cancelled():
            raise Interrupted("stopped before the commit; finished shards are kept")
        time.sleep(0.05)


def _check(plan: FacePlan, version_name: str, shard_identities: int) -> None:
    if not _NAME.fullmatch(version_name) or _DIGEST.fullmatch(version_name):
        raise Invalid(
            "VERSION_NAME",
            f"{version_name[:100]!r} is no name for a version",
            hint="1 to 100 letters, digits, dots, dashes, underscores; no digest",
        )
    if -(-plan.identities // shard_identities) > _MOST_SHARDS:
        raise invalid_fields(
            "FACE_PLAN",
            "the faces cannot be planned",
            {"shard_identities": f"gives more than {_MOST_SHARDS} shards"},
        )


def _unknown(name: str) -> MienError:
    return NotFound("UNKNOWN_JOB", f"there is no generation job {name[:100]!r}", hint="list them")
