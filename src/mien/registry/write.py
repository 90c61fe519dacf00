"""Freeze items as a dataset version: shards, manifest, digests; whole or not at all."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mien.core.columns import COLUMNS
from mien.core.digest import digest_file
from mien.core.errors import AlreadyExists, Corrupt, Invalid, NotFound
from mien.core.manifest import Licence, Manifest, Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.registry.layout import (
    INFO,
    MANIFEST,
    SHARDS,
    open_inside,
    plain_info,
    read_info,
    write_info,
)
from mien.registry.read import open_version
from mien.registry.shards import PLACE, Packed, pack
from mien.registry.staging import disk_errors, move_in, staged, sync_tree

log = logging.getLogger(__name__)

Duplicates = Literal["error", "warn", "keep"]
_SCHEMA = pa.schema([*COLUMNS.items(), *PLACE.items()])


def write_version(
    items: Iterable[Item],
    folder: Path,
    *,
    name: str,
    provenance: Provenance,
    licences: Mapping[str, Licence],
    shard_rows: int = 4096,
    duplicates: Duplicates = "error",
    replace: bool = False,
) -> VersionInfo:
    """Write a version into ``folder``; of the images, one row group is in memory at a time.

    Args:
        items: samples with their encoded bytes, in any order; a digest that is set must fit.
        folder: to make; its parent is made too.
        name: human name.
        provenance: how the items were made; plain values.
        licences: source → licence.
        shard_rows: images a shard, at least 1.
        duplicates: what the same image under another label or subject is: an ``error``, a
            warning in the log, or kept. The same image under the same label and subject is kept
            (``error`` and ``warn`` say in the log how many there are).
        replace: take the place of another version that is in the folder.

    Returns:
        What is in the folder. The same content already there is left as it is, under the name
        and provenance it has; if it was damaged meanwhile it is written anew.

    Raises:
        Invalid: ``EMPTY_IMAGE``, ``IMAGE_TOO_LARGE``, ``BAD_SAMPLE``, ``DIGEST_MISMATCH``,
            ``DUPLICATE_ID``, ``DUPLICATE_IMAGE``, ``PROVENANCE_NOT_PLAIN``, ``NOT_A_FOLDER``.
        AlreadyExists: ``VERSION_EXISTS`` for other content without ``replace``;
            ``NOT_A_VERSION`` when something else would be replaced; ``OTHER_LICENCES`` for the
            same content with other rights.
        Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
    """
    if shard_rows < 1:
        raise Invalid(
            "SHARD_ROWS",
            f"a shard has at least one row, not {shard_rows}",
            hint="give shard_rows of 1 or more",
        )
    with staged(folder) as temporary:
        info = fill(
            items,
            temporary,
            target=folder,
            name=name,
            provenance=provenance,
            licences=licences,
            shard_rows=shard_rows,
            duplicates=duplicates,
        )
        return publish(temporary, folder, info, replace=replace)


def fill(
    items: Iterable[Item],
    temporary: Path,
    *,
    target: Path,
    name: str,
    provenance: Provenance,
    licences: Mapping[str, Licence],
    shard_rows: int,
    duplicates: Duplicates,
) -> VersionInfo:
    """Write a whole version into an empty folder and bring it to the disk."""
    check = _Duplicates(duplicates)
    packed = pack(items, temporary, shard_rows=shard_rows, target=target, accept=check.accept)
    check.report(target)
    manifest = Manifest.of(packed.samples)
    info = plain_info(
        VersionInfo(
            name=name,
            digest=manifest.digest,
            rows=len(manifest),
            provenance=provenance,
            licences=dict(licences),
            shards=packed.shards,
        )
    )
    with disk_errors(target):
        path = temporary / MANIFEST
        _write_manifest(packed, path)
        write_info(info, digest_file(path), temporary)
        sync_tree(temporary)
    return info


def copy_in(folder: Path, temporary: Path, *, target: Path) -> VersionInfo:
    """Copy the version in ``folder`` into an empty folder, verify the copy, bring it to the disk.

    Raises:
        NotFound: ``VERSION_MISSING``. Corrupt: when it is damaged or holds links.
        Exhausted, Forbidden: as ``write_version``.
    """
    info = read_info(folder)[0]
    with disk_errors(target):
        (temporary / SHARDS).mkdir()
    for parts in ((INFO,), (MANIFEST,), *((SHARDS, shard) for shard in info.shards)):
        with (
            open(open_inside(folder, *parts), "rb") as source,  # noqa: PTH123 - of a descriptor
            disk_errors(target),
            temporary.joinpath(*parts).open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, 1 << 20)
    version = open_version(temporary)
    version.verify()
    with disk_errors(target):
        sync_tree(temporary)
    return version.info


def publish(temporary: Path, folder: Path, info: VersionInfo, *, replace: bool) -> VersionInfo:
    """Move a filled folder to its place, or keep the same content that is there already."""
    with disk_errors(folder):
        if move_in(temporary, folder, replace=replace):
            return info
    there = _present(folder)
    if there is None or there.digest != info.digest:
        raise AlreadyExists(
            "VERSION_EXISTS",
            f"{folder} holds something else already",
            hint="versions are immutable: choose another name or folder",
            details={"folder": str(folder), "digest": there.digest if there else ""},
        )
    if there.licences != info.licences:
        raise AlreadyExists(
            "OTHER_LICENCES",
            f"{folder} holds the same images under other licences",
            hint="correct the licences; they travel with the content",
            details={"folder": str(folder)},
        )
    try:
        open_version(folder).verify()
    except Corrupt as error:
        log.warning("%s was damaged (%s) and is written anew", folder, error.message)
        with disk_errors(folder):
            move_in(temporary, folder, replace=True)
        return info
    return there


def _present(folder: Path) -> VersionInfo | None:
    try:
        return read_info(folder)[0]
    except (NotFound, Corrupt, Invalid):
        return None


def _write_manifest(packed: Packed, path: Path) -> None:
    table = pa.concat_tables(packed.tables) if packed.tables else _SCHEMA.empty_table()
    ids = [s.id for s in packed.samples]
    order = pa.array(sorted(range(len(ids)), key=ids.__getitem__), pa.int64())
    pq.write_table(table.take(order), path, compression="ZSTD")


class _Duplicates:
    """Notices ids and images that come twice, as they arrive."""

    def __init__(self, mode: Duplicates) -> None:
        self._mode = mode
        self._files: dict[str, str] = {}
        self._images: dict[str, Sample] = {}
        self._repeats = 0
        self._conflicts: list[str] = []

    def accept(self, sample: Sample) -> None:
        """Look at one more sample.

        Raises:
            Invalid: ``DUPLICATE_ID``; ``DUPLICATE_IMAGE`` in the mode ``error``.
        """
        if sample.id in self._files:
            raise Invalid(
                "DUPLICATE_ID",
                f"two samples are called {sample.id!r} "
                f"({self._files[sample.id]!r} and {sample.file!r})",
                hint="the reader must name every image differently",
                details={"id": sample.id},
            )
        self._files[sample.id] = sample.file
        if self._mode == "keep":
            return
        first = self._images.setdefault(sample.digest, sample)
        if first is sample:
            return
        if _said(first) == _said(sample):
            self._repeats += 1
            return
        text = (
            f"{first.id!r} ({_words(first)}) and {sample.id!r} ({_words(sample)}) "
            "are the same image"
        )
        if self._mode == "error":
            raise Invalid(
                "DUPLICATE_IMAGE",
                f"{text} with another label or subject",
                hint="remove one of them, or allow duplicates",
                details={"first": first.id, "second": sample.id},
            )
        self._conflicts.append(text)

    def report(self, folder: Path) -> None:
        """Say in the log what was let pass."""
        if self._conflicts:
            log.warning(
                "%s: %d images have several labels or subjects; the first: %s",
                folder,
                len(self._conflicts),
                self._conflicts[0],
            )
        if self._repeats:
            log.warning("%s: %d images are there more than once", folder, self._repeats)


def _said(sample: Sample) -> tuple[object, ...]:
    return sample.expression, sample.subject, sample.valence, sample.arousal


def _words(sample: Sample) -> str:
    affect = "" if sample.valence is None else f" {sample.valence:g}/{sample.arousal}"
    return f"{sample.expression or 'no expression'}{affect}, {sample.subject or 'no subject'}"


__all__ = ["Duplicates", "copy_in", "fill", "publish", "write_version"]
