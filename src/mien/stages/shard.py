"""Make one shard of a planned set of faces: the same bytes whichever worker makes it.

Whoever plans writes ``plan.json``; shard i holds the identities [i·n, (i+1)·n) and becomes the
folder ``shards/<i>`` beside the plan, a dataset version, whole or not at all. Its
``version.json`` is the marker of being done.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mien.core.errors import Interrupted, Invalid, WrongState
from mien.core.hooks import Cancelled, OnProgress, Progress, never_cancelled, no_progress
from mien.core.sample import Item
from mien.core.shards import ShardPlan, done_marker, read_plan, shard_folder
from mien.generators.local import plan_faces
from mien.stages.pool_faces import Maker, engine_here, make_identities, write_part


def run(
    plan: Path,
    index: int,
    *,
    assets: Path | None = None,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> None:
    """Make a shard of a plan; does nothing when it is there.

    Args:
        plan: a plan file.
        index: of the shard, from 0.
        assets: folder of open assets, or None.
        progress: told the faces of this shard.
        cancelled: asked every few faces.

    Raises:
        NotFound: ``PLAN_MISSING``, ``UNKNOWN_ENGINE``, ``GENERATOR_MISSING``, ``ASSET_MISSING``.
        Invalid: ``SHARD_INDEX``, ``FACE_PLAN``, and as the engine.
        WrongState: ``OTHER_ENGINE_DIGEST`` when the engine is not the one that was planned.
        Corrupt: ``PLAN``, ``GENERATOR_FILE``.
        Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
        Interrupted: when asked to stop; nothing of the shard is kept.
    """
    planned = read_plan(plan)
    if not 0 <= index < planned.shards:
        raise Invalid(
            "SHARD_INDEX",
            f"there is no shard {index}",
            hint=f"{plan} has the shards 0 to {planned.shards - 1}",
        )
    if done_marker(plan, index).exists():
        return
    faces = planned.faces
    maker = Maker(
        engine=faces.engine,
        params=dict(planned.params),
        assets=assets,
        source=faces.source,
        digest=planned.engine_digest,
    )
    engine = engine_here(maker)
    if engine.digest != planned.engine_digest:
        raise WrongState(
            "OTHER_ENGINE_DIGEST",
            f"{plan} was planned for another {faces.engine}: {planned.engine_digest[:16]}, "
            f"this is {engine.digest[:16]}",
            hint="use the release and the generators it was planned with, or plan anew",
        )
    items = _made(maker, planned, index, progress, cancelled)
    write_part(items, shard_folder(plan, index), f"{faces.prefix}-{index}", maker)


def _made(
    maker: Maker, planned: ShardPlan, index: int, progress: OnProgress, cancelled: Cancelled
) -> Iterator[Item]:
    first, count = planned.span(index)
    requests = plan_faces(planned.faces, first, count)
    identities = [list(own) for _, own in groupby(requests, key=lambda r: r.identity)]
    made, total = 0, count * planned.faces.faces_per_identity
    for passed in make_identities(maker, identities, workers=1):
        if cancelled():
            raise Interrupted("stopped within a shard; it is made anew when the job goes on")
        for faces in passed.identities:
            made += len(faces)
            yield from faces
        progress(Progress(made, total, unit="faces", stage=f"shard {index}"))
