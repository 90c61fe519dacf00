"""The shards of a generation job: where they lie, how far they are, whether they are right."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.adapters.executors.artefacts import (
    exists,
    fetch_folder,
    names,
    put_folder,
    read,
    remove,
    store_errors,
    write,
)
from mien.adapters.jobs.runner import JobHooks
from mien.core.digest import digest_file, digest_of
from mien.core.errors import Interrupted, Invalid, MienError, WrongState
from mien.core.sample import Item
from mien.core.shards import MARKER, PLAN, ShardPlan
from mien.core.tasks import Task

_TOLD_EVERY_S = 0.5
_TOLD_FAR_S = 5.0  # where looking costs calls to a store
_GENERATOR = "generator.json"  # of a generator's folder, put there last


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where the plan and the shards of a job lie.

    Attributes:
        home: folder of the job, or its URI.
        scratch: folder for shards that are looked at.
    """

    home: str
    scratch: Path

    @property
    def far(self) -> bool:
        """Whether only fsspec reaches it."""
        return "://" in self.home

    @property
    def plan(self) -> str:
        """The plan file."""
        return f"{self.home}/{PLAN}"

    def shard(self, index: int) -> str:
        """Say where a shard lies once it is made."""
        return f"{self.home}/shards/{index:06d}"

    def task(self, index: int, env: Mapping[str, str]) -> Task:
        """Describe the making of a shard; those of a job are an array."""
        return Task(
            key=f"{self.home.rpartition('/')[2]}-{index:06d}",
            argv=("shard", self.plan, str(index)),
            done=f"{self.shard(index)}/{MARKER}",
            env=env,
            index=index,
        )

    def write_plan(self, planned: ShardPlan) -> None:
        """Write the plan file, whole or not at all; an older one of the job says the same."""
        with store_errors(self.home):
            write(self.plan, json.dumps(planned.to_json(), indent=1, sort_keys=True).encode())

    def made(self) -> set[int]:
        """List the shards that are there; what is still being filled is none."""
        found = (n.split("/") for n in names(f"{self.home}/shards"))
        return {int(n[0]) for n in found if n[1:] == [MARKER] and n[0].isdecimal()}

    def said(self, done: set[int]) -> float:
        """Count the faces that the workers of unfinished shards say they have made."""
        total = 0.0
        for name in names(f"{self.home}/progress"):
            if name.isdecimal() and int(name) not in done:
                with suppress(ValueError, KeyError, TypeError):
                    total += float(json.loads(read(f"{self.home}/progress/{name}") or b"")["done"])
        return total

    @contextmanager
    def opened(self, index: int) -> Iterator[Path]:
        """Give a shard's folder on this machine, while it is looked at."""
        if not self.far:
            yield Path(self.shard(index))
            return
        here = self.scratch / digest_of(self.shard(index))[:32]
        try:
            with store_errors(self.home):
                fetch_folder(self.shard(index), here)
            yield here
        finally:
            shutil.rmtree(here, ignore_errors=True)

    def drop(self, index: int) -> None:
        """Remove a shard, its marker first."""
        with store_errors(self.home):
            remove(f"{self.shard(index)}/{MARKER}")
            remove(self.shard(index))

    def clear(self) -> None:
        """Remove everything of the job, as far as it can be."""
        with suppress(OSError, MienError):
            remove(self.home)


def carried_generators(params: Mapping[str, Any], store: str) -> dict[str, Any]:
    """Put the generators that an engine's parameters name into a store; names them there.

    Args:
        params: with folders where the names of generators were.
        store: folder or URI that every machine reaches.

    Raises:
        Unavailable: ``STORE``.
    """
    with store_errors(store):
        return {key: _carried(key, value, store) for key, value in params.items()}


def _carried(key: str, value: Any, store: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _carried(k, v, store) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(key, each, store) for each in value]
    if key != "generator" or not isinstance(value, str) or not Path(value).is_dir():
        return value
    folder = Path(value)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    named = [(p.relative_to(folder).as_posix(), digest_file(p)) for p in files]
    there = f"{store}/generators/{digest_of(named)[:32]}"
    if not exists(f"{there}/{_GENERATOR}"):
        put_folder(folder, there, last=[_GENERATOR])
    return there


class News:
    """Tells how far a job is whenever its executor asks whether to stop.

    Args:
        planned: the job's shards.
        place: where they lie.
        hooks: of the job.
        outlives: whether the shards go on being made when only this process stops.
    """

    def __init__(
        self, planned: ShardPlan, place: ShardPlace, hooks: JobHooks, *, outlives: bool = False
    ) -> None:
        self._planned, self._place, self._hooks = planned, place, hooks
        self._outlives = outlives
        self._every_s = _TOLD_FAR_S if place.far else _TOLD_EVERY_S
        self._told = float("-inf")

    def cancelled(self) -> bool:
        """Whether the job shall stop.

        Raises:
            Interrupted: when only this process shall: the next one joins what runs elsewhere.
        """
        now = time.monotonic()
        if now - self._told >= self._every_s:
            self._told = now
            self._tell()
        if not self._hooks.cancelled():
            return False
        if self._outlives and self._hooks.left():
            raise Interrupted("its Job runs on, for the next process to join")
        return True

    def _tell(self) -> None:
        planned, faces = self._planned, self._planned.faces
        try:
            done = self._place.made()
            part = self._place.said(done)
        except (OSError, MienError):  # news are not worth a failure
            return
        whole = sum(planned.span(i)[1] for i in done) * faces.faces_per_identity
        left = f"{len(done)} of {planned.shards} shards are there"
        self._hooks.progress(min(whole + part, faces.faces), faces.faces, "faces", left)


def check_shard(planned: ShardPlan, index: int, folder: Path) -> str:
    """Check that a shard holds exactly its identities, each in every cell; return its digest.

    Raises:
        NotFound: ``VERSION_MISSING``. Corrupt: when it is damaged.
        Invalid: ``POOL_UNBALANCED``, ``POOL_EMPTY``.
        WrongState: ``OTHER_ENGINE_DIGEST`` when another engine made it.
    """
    from mien.generators.requests import check_balance
    from mien.registry.read import open_version

    version = open_version(folder)
    version.verify()
    first, count = planned.span(index)
    manifest = version.manifest
    check_balance(
        [(s.identity, s.expression) for s in manifest],
        expressions=planned.faces.expressions,
        images_per_cell=planned.faces.images_per_cell,
    )
    if {s.identity for s in manifest} != {f"{n:06d}" for n in range(first, first + count)}:
        raise Invalid(
            "POOL_UNBALANCED",
            f"shard {index} holds other identities than {first} to {first + count - 1}",
            hint="start the job again",
        )
    if {s.parents[0] for s in manifest} != {planned.engine_digest}:
        raise WrongState(
            "OTHER_ENGINE_DIGEST",
            f"shard {index} was made by another engine",
            hint="start the job again",
        )
    return version.info.digest


def items(planned: ShardPlan, place: ShardPlace, hooks: JobHooks) -> Iterator[Item]:
    """Stream the faces of all shards, in order.

    Raises:
        Interrupted: when asked to stop. Unavailable: ``STORE``.
    """
    from mien.registry.read import open_version

    total = planned.faces.faces
    for index in range(planned.shards):
        if hooks.cancelled():
            raise Interrupted("stopped before the commit; finished shards are kept")
        hooks.progress(total, total, "faces", f"freezes shard {index} of {planned.shards}")
        with place.opened(index) as folder:
            yield from open_version(folder).items()
