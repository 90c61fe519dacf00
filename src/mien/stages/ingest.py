"""Read a database and freeze it as a dataset version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mien
from mien.core.errors import Invalid, NotFound
from mien.core.hooks import OnProgress, Progress
from mien.core.manifest import Provenance, VersionInfo
from mien.core.sample import Item, Origin
from mien.datasets.table import read
from mien.params.data import DatabaseParams
from mien.registry.write import write_version
from mien.stages.context import Context, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """Where databases come in: all that ingesting one needs, with or without parameters.

    Attributes:
        data: folder that holds ``ingest/`` and ``notes/``.
        base: folder that relative roots start from.
        assets: folder of open assets, or None.
        workers: processes to use at once.
        progress: told about every hundred images.
    """

    data: Path
    base: Path
    assets: Path | None
    workers: int
    progress: OnProgress


def run(context: Context, name: str | None = None) -> None:
    """Ingest one database of ``params.ingest``, or all.

    Raises:
        NotFound: ``UNKNOWN_DATABASE``; whatever the reader raises.
    """
    known = context.params.ingest
    if name is not None and name not in known:
        raise NotFound(
            "UNKNOWN_DATABASE", f"params.ingest has no {name!r}", hint=f"one of: {', '.join(known)}"
        )
    door = Door(
        context.root / "data", context.base, context.assets, context.workers, context.progress
    )
    for each in [name] if name else list(known):
        info = ingest_one(door, each, known[each])
        log.info("ingested", extra={"database": each, "rows": info.rows, "digest": info.digest})


def ingest_one(door: Door, name: str, database: DatabaseParams) -> VersionInfo:
    """Read one database into ``data/ingest/<name>``; warnings go beside it.

    Raises:
        NotFound: ``ASSET_MISSING``; whatever the reader raises.
        Invalid: ``ORIGIN_CONFLICT``.
    """
    params: dict[str, Any] = dict(database.params)
    reading = read(database.reader, _root(door, database), params, workers=door.workers)
    info = write_version(
        _counted(door, name, reading.items, database.origin),
        door.data / "ingest" / name,
        name=name,
        provenance=Provenance(
            maker=f"reader:{database.reader}",
            params=params,
            parents=reading.parents,
            code=mien.__version__,
        ),
        licences=reading.licences,
        duplicates="keep",  # the reader has counted them: they are in its warnings
        replace=True,
    )
    for warning in reading.warnings:
        log.warning("%s: %s", name, warning)
    write_json(door.data / "notes" / f"ingest-{name}.json", {"warnings": list(reading.warnings)})
    return info


def _root(door: Door, database: DatabaseParams) -> Path | None:
    if database.asset is not None:
        if door.assets is None or not (door.assets / database.asset).exists():
            raise NotFound(
                "ASSET_MISSING",
                f"the asset {database.asset!r} is not on this machine",
                hint=f"set MIEN_ASSETS to its folder, or run: mien assets pull {database.asset}",
            )
        return door.assets / database.asset
    return door.base / database.root if database.root is not None else None


def _counted(door: Door, name: str, items: Iterator[Item], origin: Origin | None) -> Iterator[Item]:
    for done, item in enumerate(items, 1):
        yield _of_origin(item, origin)
        if done % 100 == 0:
            door.progress(Progress(done, unit="images", stage=f"ingest {name}"))


def _of_origin(item: Item, origin: Origin | None) -> Item:
    """Call faces of no stated origin synthetic; never call synthetic ones real."""
    sample = item.sample
    if origin is None or origin == sample.origin:
        return item
    if sample.origin == "synthetic":
        raise Invalid(
            "ORIGIN_CONFLICT",
            f"{sample.id} is synthetic by its own manifest; it cannot be ingested as real",
            hint="leave out origin, or say synthetic",
        )
    return Item(replace(sample, origin=origin), item.image)
