"""Make the synthetic pools: exactly balanced, in parallel, the same bytes for any worker count."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mien
from mien.core.digest import digest_of
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.core.generation import SourceFace
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.split import Split
from mien.evaluation.filtering import filter_figures, fit_filter
from mien.generators.engines import honours_intensity, make_engine
from mien.generators.photos import Prepare, as_it_is, as_learned
from mien.generators.requests import check_balance, plan_requests
from mien.generators.rows import INVENTED
from mien.imaging.decode import STORED, decode
from mien.params.generators import PoolParams
from mien.registry.read import Version, open_version
from mien.registry.write import write_version
from mien.stages.closures import generator_folder
from mien.stages.context import Context, write_json
from mien.stages.pool_faces import Maker, PoolFaces, use_engine
from mien.stages.pool_filter import Filter
from mien.stages.served_engine import photo_files, served
from mien.stages.split import read_splits

log = logging.getLogger(__name__)
_MORE = 4  # identities that may be asked for, to one that is wanted, where a filter refuses some


@dataclass(frozen=True, slots=True)
class _Passing:
    """A filter with the digest of its classifier."""

    filter: Filter
    digest: str


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
            ``POOL_UNBALANCED``; ``INTENSITY_UNSUPPORTED`` when a range is asked of an engine that
            cannot.
    """
    database = context.version(context.params.preprocess.sets[context.params.split.database])
    splits = read_splits(context)
    classes = context.params.classes
    params = engine_params(context, pool)
    engine = make_engine(pool.engine, params, assets=context.assets)
    if "intensity" in pool.model_fields_set and not honours_intensity(engine):
        raise Invalid(
            "INTENSITY_UNSUPPORTED",
            f"synthesise.{name}: the engine {pool.engine!r} makes expressions as strong as those "
            "it learned from; it takes no intensity",
            hint="remove intensity there, or put engines on top of each other: stack",
        )
    sources = _photos(context, database, splits, pool) if pool.identities == "photos" else None
    wanted = _rounds(pool, sources) if sources else _identities(context, pool, splits)
    passing = _filter(context, name, pool)
    requests = plan_requests(
        pool=name,
        pool_seed=pool.seed,
        expressions=classes,
        identities=None if sources else wanted * (_MORE if pool.filter else 1),
        sources=sources,
        units=pool.units if sources else 1,
        images_per_cell=pool.images_per_cell,
        intensity=pool.intensity,
    )
    source = f"{pool.engine}-{pool.seed}"
    plan = [name, engine.digest, pool.model_dump(mode="json"), classes, wanted]
    plan += [[s.digest for s in sources or ()], passing and passing.digest]
    maker = Maker(
        engine=pool.engine,
        params=params,
        assets=context.assets,
        source=source,
        digest=engine.digest,
        filter=None if passing is None else passing.filter,
    )
    if context.generation is None:
        use_engine(maker, engine)
    else:
        photos = photo_files(database, sources or ())
        use_engine(maker, served(context, context.generation, engine, pool.engine, params, photos))
    faces = PoolFaces(
        context=context,
        name=name,
        maker=maker,
        folder=context.cache / "pools" / digest_of(plan),
        wanted=wanted,
    )
    folder = context.folder("synthesise", name)
    parents = {"generator": engine.digest}
    parents |= {"photos": database.info.digest} if sources else {}
    parents |= {"filter": passing.digest} if passing else {}
    info = write_version(
        faces.items(requests),
        folder,
        name=name,
        provenance=Provenance(
            maker=f"engine:{pool.engine}",
            params=pool.model_dump(mode="json") | {"morphable": context.params.morphable},
            parents=parents,
            code=mien.__version__,
        ),
        licences=_licences(source, database, sources),
        duplicates="keep",
        replace=True,
    )
    _check_pool(folder, classes, pool.images_per_cell)
    if pool.filter:
        log.info("filtered", extra={"pool": name, "refused": dict(faces.rejected)})
    faces.forget()
    return info


def engine_params(context: Context, pool: PoolParams) -> dict[str, Any]:
    """Turn a pool's engine parameters into the engine's: names of generators become folders.

    Raises:
        WrongState: ``STAGE_MISSING`` for a generator that was not trained.
    """
    params: dict[str, Any] = _placed(context, pool.params)
    if pool.engine == "affect":
        return {"backend": context.params.morphable, **params}
    return params


def _placed(context: Context, params: Any) -> Any:
    if not isinstance(params, dict):
        return params
    return {
        key: str(generator_folder(context, value))
        if key == "generator"
        else _placed(context, value)
        for key, value in params.items()
    }


def _filter(context: Context, name: str, pool: PoolParams) -> _Passing | None:
    """Train the filter's classifier, set its thresholds, and measure how often it errs."""
    if pool.filter is None:
        return None
    from mien.stages.scorers import held_out_judged, trained_scorer

    spec, classes = context.params.preprocess.spec, context.params.classes
    scorer = trained_scorer(context, pool.filter.scorer, classes, spec)
    fitting, trying = held_out_judged(context, pool.filter.scorer, scorer, classes, spec)
    fitted = fit_filter(fitting, classes, keep=pool.filter.keep)
    figures = filter_figures(fitted, trying)
    write_json(
        context.folder("notes") / f"filter-{name}.json",
        {"thresholds": fitted.to_json(), "figures": figures.to_json()},
    )
    log.info("filter", extra={"pool": name, **figures.to_json()})
    passing = Filter(
        model=scorer.folder,
        spec=spec,
        thresholds=dict(zip(fitted.classes, fitted.thresholds, strict=True)),
        tries=pool.filter.tries,
        step=pool.images_per_cell,
    )
    return _Passing(passing, scorer.digest)


def _rounds(pool: PoolParams, sources: Sequence[SourceFace]) -> int:
    """Count the identities of a photo pool: every person once a unit."""
    return pool.units * len({s.subject or s.id for s in sources})


def _identities(context: Context, pool: PoolParams, splits: Sequence[Split]) -> int:
    """Count the identities to invent: to train on, and as many units of the mixed test's."""
    unit = max(len(s.parts["train"]) for s in splits)
    return pool.units * (unit + context.params.sweep.mixed_test_identities)


def _photos(
    context: Context, database: Version, splits: Sequence[Split], pool: PoolParams
) -> list[SourceFace]:
    """Take the neutral photos of everybody who trains in some split.

    The engine affect needs their landmarks; the others need them prepared as the faces were that
    the generator learned from.
    """
    trained = {u for s in splits for u in s.parts["train"]}
    fitted = pool.engine == "affect"
    chosen = [
        s
        for s in database.manifest
        if s.subject in trained
        and s.expression == Expression.NEUTRAL
        and (s.landmarks or not fitted)
    ]
    without = sorted(trained - {s.subject for s in chosen})
    if without:
        raise Invalid(
            "NO_NEUTRAL",
            f"{len(without)} training subjects have no neutral photo"
            f"{' with landmarks' if fitted else ''}, first {without[0]}",
            hint="ingest neutral faces with landmarks, or use identities: invented",
        )
    prepare = _as_learned(context, pool)
    found = []
    for item in database.items([s.id for s in chosen]):
        sample = item.sample
        image = prepare(decode(item.image, name=sample.id, limits=STORED), sample.id)
        found.append(
            SourceFace(
                id=sample.id,
                digest=sample.digest,
                subject=sample.subject,
                image=image,
                landmarks=sample.landmarks if fitted else (),
            )
        )
    return found


def _as_learned(context: Context, pool: PoolParams) -> Prepare:
    """Return how a photo is prepared for the pool's generator; not at all without one."""
    if not pool.generators:
        return as_it_is
    from mien.training.weights import load_weights

    described, _, _ = load_weights(generator_folder(context, pool.generators[-1]), "generator")
    return as_learned(described["preprocess"], context.assets)


def _licences(
    source: str, database: Version, photos: Sequence[SourceFace] | None
) -> dict[str, Licence]:
    """Faces made from photos keep the photos' terms; invented ones show nobody."""
    if photos is None:
        return {source: INVENTED}
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
