"""The table of readers, and the one way to read a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound, faults_of, invalid_fields
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.ck48 import CK48_LICENCE, Ck48Params, read_ck48
from mien.datasets.demo.params import DEMO_LICENCE, DemoParams
from mien.datasets.demo.shifts import SHIFTS
from mien.datasets.fer2013 import FER2013_LICENCE, Fer2013Params, read_fer2013
from mien.datasets.folder import FolderParams, read_folder, read_licences
from mien.datasets.london import LONDON_LICENCE, LondonParams, read_london
from mien.datasets.parquet import ParquetParams, read_parquet, read_parquet_licences
from mien.datasets.reading import Notes, ReaderEntry, Reading, Source

_ENTRIES = (
    ReaderEntry(
        name="folder",
        function=read_folder,
        summary="your own images in class folders, or listed in a manifest.csv",
        has_subjects=None,
        licence=Licence(),
        params=FolderParams,
        licences=read_licences,
    ),
    ReaderEntry(
        name="parquet",
        function=read_parquet,
        summary="Parquet files in the Hugging Face style, and our own dataset versions",
        has_subjects=None,
        licence=Licence(),
        params=ParquetParams,
        licences=read_parquet_licences,
    ),
    ReaderEntry(
        name="fer2013",
        function=read_fer2013,
        summary="FER2013: 48×48 grey web faces, seven classes, no subjects, noisy labels",
        has_subjects=False,
        licence=FER2013_LICENCE,
        params=Fer2013Params,
    ),
    ReaderEntry(
        name="ck48",
        function=read_ck48,
        summary="CK+48: 48×48 peak frames of CK+, seven classes without neutral",
        has_subjects=True,
        licence=CK48_LICENCE,
        params=Ck48Params,
    ),
    ReaderEntry(
        name="london",
        function=read_london,
        summary="Face Research Lab London Set: 102 people, neutral and smiling, 68 landmarks",
        has_subjects=True,
        licence=LONDON_LICENCE,
        params=LondonParams,
    ),
)


def _rendered(name: str, source: Source) -> Iterator[Item]:
    from mien.datasets.demo.render import read_demo  # heavy: only those who render pay for it

    return read_demo(source, SHIFTS[name])


def _head() -> Mapping[str, str]:
    from mien.morphable.builtin import builtin_digest  # heavy, as above

    return {"head": builtin_digest()}


_DEMOS = tuple(
    ReaderEntry(
        name=shift.name,
        function=partial(_rendered, shift.name),
        summary=f"rendered: {shift.summary}",
        has_subjects=True,
        licence=DEMO_LICENCE,
        params=DemoParams,
        rendered=True,
        parents=_head,
    )
    for shift in SHIFTS.values()
)

READERS: Mapping[str, ReaderEntry] = MappingProxyType({e.name: e for e in (*_ENTRIES, *_DEMOS)})


def read(
    name: str, root: Path | None, params: Mapping[str, Any] | None = None, *, workers: int = 1
) -> Reading:
    """Read a database.

    Args:
        name: in ``READERS``.
        root: folder or file to read; None for rendered databases.
        params: the reader's own parameters.
        workers: processes that rendering may use; never changes the result.

    Returns:
        Items in the reader's order, each with the digest of its bytes; licences; warnings; what
        rendered faces are made with.

    Raises:
        NotFound: ``UNKNOWN_READER``; ``DATABASE_MISSING`` when the root does not exist.
        Invalid: ``READER_PARAMS`` naming the key; ``ROOT_NEEDED``, ``ROOT_UNUSED``. While items
            are drawn: ``EMPTY_DATABASE``, and what the reader itself raises.
    """
    entry = READERS.get(name)
    if entry is None:
        raise NotFound(
            "UNKNOWN_READER", f"there is no reader {name!r}", hint=f"one of: {', '.join(READERS)}"
        )
    source = Source(
        root=_checked_root(entry, root),
        params=_checked_params(entry, params or {}),
        notes=Notes(),
        workers=max(1, workers),
    )
    licences = entry.licences(source) if entry.licences else {entry.name: entry.licence}
    warnings: list[str] = []
    parents = entry.parents() if entry.parents else {}
    return Reading(_watched(entry, source, warnings), licences, warnings, parents)


def _checked_root(entry: ReaderEntry, root: Path | None) -> Path:
    if entry.rendered:
        if root is not None:
            raise Invalid(
                "ROOT_UNUSED",
                f"{entry.name} renders its faces; it reads no folder ({root})",
                hint="remove root",
            )
        return Path()
    hint = f"how to obtain and lay it out: docs/datasets/{entry.name}.md"
    if root is None:
        raise Invalid("ROOT_NEEDED", f"{entry.name} needs a root to read", hint=hint)
    if not root.exists():
        raise NotFound("DATABASE_MISSING", f"{entry.name}: {root} does not exist", hint=hint)
    return root


def _checked_params(entry: ReaderEntry, params: Mapping[str, Any]) -> Any:
    try:
        return entry.params.model_validate(dict(params))
    except ValidationError as error:
        raise invalid_fields(
            "READER_PARAMS",
            f"the parameters of reader {entry.name} are wrong",
            faults_of(error),
            hint=f"known: {', '.join(entry.params.model_fields)}",
        ) from None


def _watched(entry: ReaderEntry, source: Source, warnings: list[str]) -> Iterator[Item]:
    """Pass items on with their digests; notice copies and emptiness; close the warnings."""
    seen: dict[str, Sample] = {}
    for item in entry.function(source):
        digest = item.sample.digest or digest_bytes(item.image)
        sample = item.sample
        if not sample.digest:
            sample = replace(sample, digest=digest)
        other = seen.setdefault(digest, sample)
        if other is not sample:
            _note_copy(source.notes, other, sample)
        yield Item(sample, item.image)
    if not seen:
        raise Invalid(
            "EMPTY_DATABASE",
            f"{entry.name}: {source.root} holds no image the reader recognises",
            hint=f"the layout is in docs/datasets/{entry.name}.md",
        )
    warnings.extend(source.notes.lines())


def _note_copy(notes: Notes, first: Sample, second: Sample) -> None:
    """Count a copy by what it contradicts; here alone, for a version keeps every copy."""
    pair = f"{second.id} = {first.id}"
    if _label(first) != _label(second):
        notes.count("same image under two labels", pair)
    elif first.subject != second.subject:
        notes.count("same image under two subjects", pair)
    else:
        notes.count("same image twice", pair)


def _label(sample: Sample) -> tuple[object, ...]:
    return sample.expression, sample.valence, sample.arousal
