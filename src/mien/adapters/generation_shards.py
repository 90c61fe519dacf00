"""The shards of a generation job: how far they are, and whether they are right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mien.adapters.job_runner import JobHooks
from mien.core.errors import Interrupted, Invalid, WrongState
from mien.core.sample import Item
from mien.core.shards import ShardPlan, shard_folder

_TOLD_EVERY_S = 0.5


class News:
    """Tells how far a job is whenever its executor asks whether to stop."""

    def __init__(self, planned: ShardPlan, path: Path, hooks: JobHooks) -> None:
        self._planned, self._path, self._hooks = planned, path, hooks
        self._told = float("-inf")
        self._done: set[int] = set()
        progress_file(path, 0).parent.mkdir(parents=True, exist_ok=True)

    def cancelled(self) -> bool:
        """Whether the job shall stop."""
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            self._told = now
            self._tell()
        return self._hooks.cancelled()

    def _tell(self) -> None:
        planned = self._planned
        folder = shard_folder(self._path, 0).parent
        with suppress(OSError):
            self._done = {int(p.name) for p in folder.glob("[0-9]*")}
        whole = sum(planned.span(i)[1] for i in self._done) * planned.faces.faces_per_identity
        part = sum(self._said(p) for p in progress_file(self._path, 0).parent.glob("[0-9]*"))
        left = f"{len(self._done)} of {planned.shards} shards are there"
        self._hooks.progress(
            min(whole + part, planned.faces.faces), planned.faces.faces, "faces", left
        )

    def _said(self, file: Path) -> float:
        """Read how many faces the worker of an unfinished shard has made."""
        if int(file.name) in self._done:
            return 0.0
        with suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads(file.read_bytes())["done"])
        return 0.0


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


def items(planned: ShardPlan, path: Path, hooks: JobHooks) -> Iterator[Item]:
    """Stream the faces of all shards, in order.

    Raises:
        Interrupted: when asked to stop.
    """
    from mien.registry.read import open_version

    total = planned.faces.faces
    for index in range(planned.shards):
        if hooks.cancelled():
            raise Interrupted("stopped before the commit; finished shards are kept")
        hooks.progress(total, total, "faces", f"freezes shard {index} of {planned.shards}")
        yield from open_version(shard_folder(path, index)).items()


def progress_file(path: Path, index: int) -> Path:
    """Name the file in which the worker of a shard tells how far it is."""
    return path.parent / "progress" / f"{index:06d}"
