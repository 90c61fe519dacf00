"""Make the synthetic pools: exactly balanced, in parallel, the same bytes for any worker count."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import mien
from mien.core.errors import Interrupted, Invalid, NotFound
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace, SourceFace
from mien.core.hooks import Progress
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.parallel import map_ordered
from mien.core.ports import Engine
from mien.core.sample import Item, Sample
from mien.core.split import Split
from mien.generators.engines import make_engine
from mien.generators.requests import check_balance, plan_requests
from mien.imaging.decode import STORED, decode
from mien.imaging.encode import encode_png
from mien.params import PoolParams
from mien.registry.read import Version, open_version
from mien.registry.write import write_version
from mien.stages.context import Context
from mien.stages.split import read_splits

log = logging.getLogger(__name__)
CHUNK = 24  # faces a worker makes at a time: a few identities


def run(context: Context, name: str | None = None) -> None:
    """Make one pool of ``params.synthesise``, or all.

    Raises:
        NotFound: ``UNKNOWN_POOL``.
    """
    pools = context.params.synthesise
    if name is not None and name not in pools:
        raise NotFound(
            "UNKNOWN_POOL",
            f"params.synthesise has no {name!r}",
            hint=f"one of: {', '.join(pools) or 'none'}",
        )
    for each in [name] if name else list(pools):
        info = synthesise_one(context, each, pools[each])
        log.info("synthesised", extra={"pool": each, "rows": info.rows, "digest": info.digest})


def synthesise_one(context: Context, name: str, pool: PoolParams) -> VersionInfo:
    """Write ``data/synthesise/<name>`` and check its balance.

    Raises:
        Invalid: ``NO_NEUTRAL`` when a photo pool has no neutral photo with landmarks;
            ``POOL_UNBALANCED``.
    """
    database = context.version(context.params.preprocess.sets[context.params.split.database])
    splits = read_splits(context)
    classes = context.params.classes
    params = {"backend": context.params.morphable, **pool.params}
    engine = make_engine(pool.engine, params, assets=context.assets)
    sources = _photos(database, splits) if pool.identities == "photos" else None
    requests = plan_requests(
        pool=name,
        pool_seed=pool.seed,
        expressions=classes,
        identities=None if sources else _identities(context, pool, splits),
        sources=sources,
        units=pool.units if sources else 1,
        images_per_cell=pool.images_per_cell,
        intensity=pool.intensity,
    )
    maker = _Maker(pool.engine, params, context.assets, f"{pool.engine}-{pool.seed}", engine.digest)
    folder = context.folder("synthesise", name)
    info = write_version(
        _made(context, name, maker, requests),
        folder,
        name=name,
        provenance=Provenance(
            maker=f"engine:{pool.engine}",
            params={**pool.model_dump(mode="json"), "params": params},
            parents={"generator": engine.digest}
            | ({"photos": database.info.digest} if sources else {}),
            code=mien.__version__,
        ),
        licences=_licences(maker.source, database, sources),
        duplicates="keep",
        replace=True,
    )
    _check_pool(folder, classes, pool.images_per_cell)
    return info


@dataclass(frozen=True, slots=True)
class _Maker:
    """How a worker process makes a chunk; plain values, so that it travels."""

    engine: str
    params: dict[str, Any]
    assets: Path | None
    source: str
    digest: str

    def __call__(self, requests: Sequence[FaceRequest]) -> list[Item]:
        engine = _engine_here(self)
        return [_item(face, self) for face in engine.synthesise(requests)]


_engines: dict[str, Engine] = {}  # one a process: building one loads meshes


def _engine_here(maker: _Maker) -> Engine:
    if maker.digest not in _engines:
        _engines[maker.digest] = make_engine(maker.engine, maker.params, assets=maker.assets)
    return _engines[maker.digest]


def _item(face: GeneratedFace, maker: _Maker) -> Item:
    request = face.request
    photo = request.source
    height, width = face.image.shape[:2]
    return Item(
        Sample(
            id=request.id,
            source=maker.source,
            origin="synthetic",
            subject=photo.subject if photo else f"{maker.source}:{request.identity}",
            expression=request.expression,
            intensity=request.intensity,
            file=f"{request.id}.png",
            identity=request.identity,
            parents=(maker.digest, *((photo.digest,) if photo else ())),
            landmarks=face.landmarks,
            width=width,
            height=height,
        ),
        encode_png(face.image),
    )


def _made(
    context: Context, name: str, maker: _Maker, requests: Iterator[FaceRequest]
) -> Iterator[Item]:
    chunks = iter(lambda: list(islice(requests, CHUNK)), [])
    made = map_ordered(maker, chunks, workers=context.workers)
    for done, item in enumerate(chain.from_iterable(made), 1):
        yield item
        if done % CHUNK == 0:
            context.progress(Progress(done, unit="images", stage=f"synthesise {name}"))
            if context.cancelled():
                raise Interrupted("synthesis stopped; nothing was written")


def _identities(context: Context, pool: PoolParams, splits: Sequence[Split]) -> int:
    """Count the identities to invent: to train on, and as many units of the mixed test's."""
    unit = max(len(s.parts["train"]) for s in splits)
    return pool.units * (unit + context.params.sweep.mixed_test_identities)


def _photos(database: Version, splits: Sequence[Split]) -> list[SourceFace]:
    """Take the neutral photos, with landmarks, of everybody who trains in some split."""
    trained = {u for s in splits for u in s.parts["train"]}
    chosen = [
        s
        for s in database.manifest
        if s.subject in trained and s.expression == Expression.NEUTRAL and s.landmarks
    ]
    without = sorted(trained - {s.subject for s in chosen})
    if without:
        raise Invalid(
            "NO_NEUTRAL",
            f"{len(without)} training subjects have no neutral photo with landmarks, first "
            f"{without[0]}",
            hint="ingest neutral faces with landmarks, or use identities: invented",
        )
    found = []
    for item in database.items([s.id for s in chosen]):
        sample = item.sample
        found.append(
            SourceFace(
                id=sample.id,
                digest=sample.digest,
                subject=sample.subject,
                image=decode(item.image, name=sample.id, limits=STORED),
                landmarks=sample.landmarks,
            )
        )
    return found


def _licences(
    source: str, database: Version, photos: Sequence[SourceFace] | None
) -> dict[str, Licence]:
    """Faces made from photos keep the photos' terms; invented ones show nobody."""
    if photos is None:
        return {source: Licence("CC0-1.0", commercial=True, consent="no person is shown")}
    terms = list(database.info.licences.values())
    first = terms[0] if terms else Licence()
    return {source: first, **database.info.licences}


def _check_pool(folder: Path, classes: Sequence[Expression], images_per_cell: int) -> None:
    manifest = open_version(folder).manifest
    check_balance(
        [(s.identity, s.expression) for s in manifest],
        expressions=classes,
        images_per_cell=images_per_cell,
    )
