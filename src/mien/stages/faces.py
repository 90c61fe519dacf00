"""The faces that generators, teachers, filters and judges learn from: prepared once and kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

import mien
from mien.core.closure import Closure
from mien.core.digest import digest_of, seed_of
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.core.faces import FaceArrays
from mien.core.manifest import Manifest, Provenance
from mien.core.preprocess import PreprocessSpec
from mien.core.sample import Sample
from mien.datasets.table import read
from mien.params.data import DatabaseParams
from mien.params.generators import FacesParams
from mien.registry.read import Version, open_version
from mien.registry.write import write_version
from mien.stages.arrays import SetArrays, load_images, set_arrays
from mien.stages.context import Context, code_digest
from mien.stages.preprocess import prepare
from mien.stages.split import read_splits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedFaces:
    """Faces with what learning from them means.

    Attributes:
        faces: in manifest order; ``labels`` index the classes asked for.
        samples: the row of each.
        closure: their people and original images.
        digest: of the images, labels and preparation.
    """

    faces: FaceArrays
    samples: tuple[Sample, ...]
    closure: Closure
    digest: str


def learned_faces(
    context: Context,
    wanted: FacesParams,
    classes: Sequence[Expression],
    spec: PreprocessSpec,
) -> LearnedFaces:
    """Gather faces to learn from.

    Args:
        context: of the project.
        wanted: database and share.
        classes: the label space.
        spec: how the faces are prepared.

    Raises:
        Invalid: ``EMPTY_SET`` when nobody is left.
        WrongState: ``STAGE_MISSING`` when the database was not ingested.
    """
    source = _version(context, wanted.database)
    arrays = set_arrays("faces", _prepared(context, source, spec), context.cache)
    people = _people(context, wanted, arrays.manifest, source)
    found = _chosen(arrays, classes, spec, people=people, where=wanted.where)
    if not len(found.faces):
        raise Invalid(
            "EMPTY_SET",
            f"{_name(wanted.database)} has no usable face of {', '.join(classes)} in its share "
            f"{wanted.share}{f' where {dict(wanted.where)}' if wanted.where else ''}",
            hint="correct faces.database, faces.share, faces.where or the expressions",
        )
    return found


def prepared_faces(
    context: Context, source: Version, classes: Sequence[Expression], spec: PreprocessSpec
) -> LearnedFaces:
    """Gather all labelled faces of a version."""
    arrays = set_arrays("faces", _prepared(context, source, spec), context.cache)
    return _chosen(arrays, classes, spec)


def _chosen(
    arrays: SetArrays,
    classes: Sequence[Expression],
    spec: PreprocessSpec,
    *,
    people: frozenset[str] | None = None,
    where: Mapping[str, str] = MappingProxyType({}),
) -> LearnedFaces:
    """Take the usable faces with one of the labels, of some people or of all."""
    index = {e: i for i, e in enumerate(classes)}
    chosen = [
        s
        for s in arrays.manifest
        if s.expression in index
        and not s.failure
        and (people is None or (s.subject or s.id) in people)
        and all(s.attributes.get(key) == value for key, value in where.items())
    ]
    labels = [index[s.expression] for s in chosen if s.expression is not None]
    return LearnedFaces(
        faces=_faces(arrays, chosen, labels),
        samples=tuple(chosen),
        closure=Closure(
            frozenset(s.subject for s in chosen if s.subject is not None),
            frozenset(original(s) for s in chosen),
        ),
        digest=digest_of([arrays.digest, spec.digest, [s.id for s in chosen], labels]),
    )


def original(sample: Sample) -> str:
    """Name the image a prepared sample was made from."""
    return sample.parents[-1] if sample.parents else sample.digest


def _name(database: str | DatabaseParams) -> str:
    return database if isinstance(database, str) else database.reader


def _version(context: Context, database: str | DatabaseParams) -> Version:
    """Open an ingested database, or render the one that is described in place."""
    if isinstance(database, str):
        return context.version(f"ingest/{database}")
    plain = database.model_dump(mode="json")
    key = digest_of([plain, code_digest("datasets", "morphable")])
    folder = context.cache / "rendered" / key
    try:
        return open_version(folder)
    except NotFound:
        log.info("rendering", extra={"reader": database.reader, **database.params})
    reading = read(database.reader, None, dict(database.params), workers=context.workers)
    write_version(
        reading.items,
        folder,
        name=database.reader,
        provenance=Provenance(
            maker=f"reader:{database.reader}", params=dict(database.params), code=mien.__version__
        ),
        licences=reading.licences,
        duplicates="keep",
    )
    return open_version(folder)


def _prepared(context: Context, source: Version, spec: PreprocessSpec) -> Version:
    folder = context.cache / "prepared" / digest_of([source.info.digest, spec.digest])
    try:
        return open_version(folder)
    except NotFound:
        prepare(context, source.info.name, source, spec, folder)
        return open_version(folder)


def _people(
    context: Context, wanted: FacesParams, manifest: Manifest, source: Version
) -> frozenset[str]:
    """Choose the share of the people (of the images, where there are none) to learn from."""
    names: Iterable[str] = {s.subject or s.id for s in manifest}
    split = context.params.split
    if isinstance(wanted.database, str) and _is_split(context, wanted.database):
        trained = {u for s in read_splits(context)[:1] for u in s.parts["train"]}
        names = trained if split.by == "subject" else {s.id for s in manifest if s.id in trained}
    ordered = sorted(names)
    order = np.random.default_rng(seed_of("share", source.info.name)).permutation(len(ordered))
    low, high = (round(edge * len(ordered)) for edge in wanted.share)
    return frozenset(ordered[i] for i in order[low:high])


def _is_split(context: Context, database: str) -> bool:
    params = context.params
    return params.preprocess.sets[params.split.database] == f"ingest/{database}"


def _faces(arrays: SetArrays, chosen: Sequence[Sample], labels: Sequence[int]) -> FaceArrays:
    rows = np.array([arrays.row[s.id] for s in chosen], dtype=np.int64)
    images = load_images(Path(arrays.folder))[rows]
    return FaceArrays.of(
        images,
        labels,
        ids=[s.id for s in chosen],
        subjects=[s.subject or "" for s in chosen],
    )
