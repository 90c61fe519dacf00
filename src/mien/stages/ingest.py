"""Read a database and freeze it as a dataset version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mien
from mien.core.errors import Invalid, NotFound
from mien.core.hooks import Progress
from mien.core.manifest import Provenance, VersionInfo
from mien.core.sample import Item, Origin
from mien.datasets.table import read
from mien.params import DatabaseParams
from mien.registry.write import write_version
from mien.stages.context import Context, write_json

log = logging.getLogger(__name__)


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
    for each in [name] if name else list(known):
        info = ingest_one(context, each, known[each])
        log.info("ingested", extra={"database": each, "rows": info.rows, "digest": info.digest})


def ingest_one(context: Context, name: str, database: DatabaseParams) -> VersionInfo:
    """Read one database into ``data/ingest/<name>``; warnings go beside it."""
    root = _root(context, database)
    params: dict[str, Any] = dict(database.params)
    reading = read(database.reader, root, params, workers=context.workers)
    info = write_version(
        _counted(context, name, reading.items, database.origin),
        context.folder("ingest", name),
        name=name,
        provenance=Provenance(
            maker=f"reader:{database.reader}", params=params, code=mien.__version__
        ),
        licences=reading.licences,
        duplicates="keep",  # the reader has counted them: they are in its warnings
        replace=True,
    )
    for warning in reading.warnings:
        log.warning("%s: %s", name, warning)
    write_json(
        context.folder("notes") / f"ingest-{name}.json", {"warnings": list(reading.warnings)}
    )
    return info


def _root(context: Context, database: DatabaseParams) -> Path | None:
    if database.asset is not None:
        if context.assets is None or not (context.assets / database.asset).exists():
            raise NotFound(
                "ASSET_MISSING",
                f"the asset {database.asset!r} is not on this machine",
                hint=f"set MIEN_ASSETS to its folder, or run: mien assets pull {database.asset}",
            )
        return context.assets / database.asset
    return context.base / database.root if database.root is not None else None


def _counted(
    context: Context, name: str, items: Iterator[Item], origin: Origin | None
) -> Iterator[Item]:
    for done, item in enumerate(items, 1):
        yield _of_origin(item, origin)
        if done % 100 == 0:
            context.progress(Progress(done, unit="images", stage=f"ingest {name}"))


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
