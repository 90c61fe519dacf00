"""Open a dataset version; every byte that is read is compared with its digest."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mien.core.catalogue import ItemFilter, Verification
from mien.core.columns import COLUMNS, from_table
from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, NotFound
from mien.core.manifest import Manifest, VersionInfo
from mien.core.sample import Item, Sample
from mien.registry.layout import MANIFEST, SHARDS, corrupt, open_inside, read_info
from mien.registry.shards import PLACE

MAX_DAMAGE = 1000  # messages of an inspection; the rest is counted
_OPEN_SHARDS = 64
_BATCH_ROWS = 1024
_PARQUET_END = b"PAR1"
_Place = tuple[str, int, int, int]  # shard, row, offset, size


class Version:
    """A frozen dataset version in a folder.

    Attributes:
        folder: that holds it.
        info: name, digest, provenance, licences.
        manifest_digest: blake3 of the manifest's file.
    """

    def __init__(self, folder: Path, info: VersionInfo, manifest_digest: str) -> None:
        self.folder = folder
        self.info = info
        self.manifest_digest = manifest_digest

    @cached_property
    def manifest(self) -> Manifest:
        """The sorted samples, checked against the version's digest.

        Raises:
            Corrupt: ``CORRUPT_MANIFEST`` when it is missing or altered.
        """
        try:
            manifest = Manifest(tuple(from_table(self._table)))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise self._bad_manifest(f"has not the columns of a manifest: {error}") from None
        if manifest.digest != self.info.digest or len(manifest) != self.info.rows:
            raise self._bad_manifest("is not the one that version.json names")
        return manifest

    def items(self, ids: Collection[str] | None = None) -> Iterator[Item]:
        """Stream items in manifest order (by id), each verified before it is handed out.

        One image is in memory at a time, whatever order the shards are in.

        Args:
            ids: only these samples; None = all.

        Raises:
            NotFound: ``UNKNOWN_SAMPLE``.
            Corrupt: ``CORRUPT_ITEM`` naming item and shard; ``CORRUPT_SHARD`` for one that is
                missing or cut short; ``CORRUPT_MANIFEST``. What other tools read of a shard (its
                label columns, its footer) is compared by ``verify`` only: nothing of it is
                handed out here.
        """
        samples = self.manifest.samples
        chosen = range(len(samples)) if ids is None else self._rows(ids)
        places = self._places
        handles: dict[str, int] = {}
        try:
            for row in chosen:
                yield Item(samples[row], self._image(samples[row], places[row], handles))
        finally:
            for handle in handles.values():
                os.close(handle)

    def select(self, where: ItemFilter) -> Iterator[Item]:
        """Stream the items that pass a filter, in manifest order, each verified.

        Samples are built a thousand at a time: however long the manifest is, only its columns
        are in memory. The manifest is verified by the digest of its file.

        Raises:
            Corrupt: as ``items`` does.
        """
        handles: dict[str, int] = {}
        try:
            for start in range(0, len(self._table), _BATCH_ROWS):
                batch = self._table.slice(start, _BATCH_ROWS)
                places = zip(*(batch[c].to_pylist() for c in PLACE), strict=True)
                for sample, place in zip(from_table(batch), places, strict=True):
                    if where.keeps(sample):
                        yield Item(sample, self._image(sample, place, handles))
        finally:
            for handle in handles.values():
                os.close(handle)

    def images(self, ids: Collection[str] | None = None) -> Iterator[bytes]:
        """Stream the verified image bytes, as ``items`` does."""
        return (item.image for item in self.items(ids))

    def verify(self) -> None:
        """Read everything and compare every digest: manifest, each image, each shard.

        Raises:
            Corrupt: naming the first bad item, shard or file.
        """
        for _ in self.items():
            pass
        for damage in self._shard_damage():
            raise corrupt("CORRUPT_SHARD", damage)

    def inspect(self) -> Verification:
        """Read everything as ``verify`` does; tell all damage instead of the first."""
        damage: dict[str, None] = {}
        right = 0
        handles: dict[str, int] = {}
        try:
            for sample, place in zip(self.manifest, self._places, strict=True):
                try:
                    self._image(sample, place, handles)
                    right += 1
                except Corrupt as error:
                    damage[error.message] = None
            damage |= dict.fromkeys(self._shard_damage()) if not damage else {}
        except Corrupt as error:  # of the manifest: nothing else can be told
            damage[error.message] = None
        finally:
            for handle in handles.values():
                os.close(handle)
        told = tuple(damage)
        if len(told) > MAX_DAMAGE:
            told = (*told[:MAX_DAMAGE], f"and {len(told) - MAX_DAMAGE} more")
        return Verification(self.info.digest, right, told)

    def _shard_damage(self) -> Iterator[str]:
        for shard, digest in self.info.shards.items():
            if _digest_handle(open_inside(self.folder, SHARDS, shard)) != digest:
                yield f"{self.folder / SHARDS / shard} was altered beside its images"

    @cached_property
    def _table(self) -> pa.Table:
        handle = open_inside(self.folder, MANIFEST)
        try:
            with open(handle, "rb", closefd=True) as file:  # noqa: PTH123 - of a descriptor
                data = file.read()
            if digest_bytes(data) != self.manifest_digest:
                raise self._bad_manifest("was altered")
            return pq.read_table(pa.BufferReader(data), columns=[*COLUMNS, *PLACE])
        except (OSError, pa.ArrowException) as error:
            raise self._bad_manifest(f"cannot be read: {error}") from None

    @cached_property
    def _places(self) -> list[_Place]:
        return list(zip(*(self._table[c].to_pylist() for c in PLACE), strict=True))

    def _rows(self, ids: Collection[str]) -> list[int]:
        row = {s.id: i for i, s in enumerate(self.manifest)}
        unknown = sorted(set(ids) - row.keys())
        if unknown:
            raise NotFound(
                "UNKNOWN_SAMPLE",
                f"{self.info.name} has no sample {unknown[0]!r}"
                + (f" (nor {len(unknown) - 1} others asked for)" if unknown[1:] else ""),
                details={"item": unknown[0]},
                hint="ask for ids that stand in the version's manifest.parquet",
            )
        return sorted(row[i] for i in set(ids))

    def _image(self, sample: Sample, place: _Place, handles: dict[str, int]) -> bytes:
        shard, row, offset, size = place
        if shard not in handles:
            if shard not in self.info.shards:
                raise corrupt(
                    "CORRUPT_MANIFEST", f"{sample.id} lies in an unknown shard {shard!r}", sample
                )
            if len(handles) >= _OPEN_SHARDS:
                os.close(handles.pop(next(iter(handles))))
            handles[shard] = self._open_shard(shard)
        try:
            data = os.pread(handles[shard], size, offset)
        except OSError as error:
            raise self._bad_item(sample, shard, row, f"cannot be read: {error.strerror}") from None
        if digest_bytes(data) != sample.digest:
            raise self._bad_item(sample, shard, row, "are not those that were written")
        return data

    def _open_shard(self, shard: str) -> int:
        """Open a shard; one that was cut short lacks the mark that ends every Parquet file."""
        handle = open_inside(self.folder, SHARDS, shard)
        end = os.fstat(handle).st_size - len(_PARQUET_END)
        if end < 0 or os.pread(handle, len(_PARQUET_END), end) != _PARQUET_END:
            os.close(handle)
            path = self.folder / SHARDS / shard
            raise corrupt("CORRUPT_SHARD", f"{path} is no whole Parquet file: it ends too early")
        return handle

    def _bad_item(self, sample: Sample, shard: str, row: int, what: str) -> Corrupt:
        path = self.folder / SHARDS / shard
        return corrupt(
            "CORRUPT_ITEM", f"the bytes of {sample.id} in {path}, row {row}, {what}", sample
        )

    def _bad_manifest(self, what: str) -> Corrupt:
        return corrupt("CORRUPT_MANIFEST", f"{self.folder / MANIFEST} {what}")


def open_version(folder: Path) -> Version:
    """Open the version in a folder; manifest and images are read when asked for.

    Raises:
        NotFound: ``VERSION_MISSING``.
        Corrupt: ``VERSION_FILE`` when ``version.json`` is damaged or names files elsewhere.
        Invalid: ``VERSION_SCHEMA`` for a newer format.
    """
    info, manifest_digest = read_info(folder)
    return Version(folder, info, manifest_digest)


def _digest_handle(handle: int) -> str:
    from blake3 import blake3

    hasher = blake3()
    with open(handle, "rb", closefd=True) as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return str(hasher.hexdigest())
