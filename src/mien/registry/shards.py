"""Pack images into Parquet shards and note where each of them lies."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.core.columns import COLUMNS, to_columns
from mien.core.digest import digest_bytes, digest_file
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS
from mien.core.sample import Item, Sample
from mien.registry.layout import SHARDS, shard_name
from mien.registry.rows import LABELS, stored
from mien.registry.staging import disk_errors

GROUP_ROWS = 1024
# What is held in memory at most, beyond one image: large photos make smaller groups and shards.
GROUP_BYTES = 8 << 20
SHARD_BYTES = 512 << 20
MAX_IMAGE_BYTES = 256 << 20
PLACE: dict[str, pa.DataType] = {
    "shard": pa.string(),
    "row": pa.int64(),
    "offset": pa.int64(),
    "size": pa.int64(),
}
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_NESTED = {
    "parents": "parents.list.element",
    "landmarks": "landmarks.list.element.list.element",
}
_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class Packed:
    """What was written so far.

    Attributes:
        samples: in order of arrival, as they will be read back.
        tables: their columns and places, one table a shard.
        shards: file name → blake3.
    """

    samples: list[Sample] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    shards: dict[str, str] = field(default_factory=dict)


def pack(
    items: Iterable[Item],
    folder: Path,
    *,
    shard_rows: int,
    target: Path,
    accept: Callable[[Sample], None],
) -> Packed:
    """Write items into ``folder/shards`` as they arrive; one row group is in memory at a time.

    Args:
        items: in any order.
        folder: that is being filled.
        shard_rows: images a shard at most; a shard also ends at 512 MiB.
        target: where the folder will be, for messages.
        accept: told each sample, with its digest, before it is written; raises to refuse it.

    Raises:
        Invalid: ``EMPTY_IMAGE``, ``IMAGE_TOO_LARGE``, ``BAD_SAMPLE``, ``DIGEST_MISMATCH``.
    """
    packed = Packed()
    arriving = iter(items)
    shard: _Shard | None = None
    # Only our own writing is wrapped: an OSError of the items' source is the source's.
    with disk_errors(target):
        (folder / SHARDS).mkdir()
    try:
        while True:
            room = shard_rows - (shard.rows if shard else 0)
            group = _take(arriving, min(room, GROUP_ROWS), accept)
            if not group:
                break
            with disk_errors(target):
                shard = shard or _Shard(folder / SHARDS / shard_name(len(packed.shards)))
                shard.write(group)
                if shard.rows >= shard_rows or shard.bytes >= SHARD_BYTES:
                    shard.finish(packed)
                    shard = None
        with disk_errors(target):
            if shard is not None:
                shard.finish(packed)
                shard = None
    finally:
        if shard is not None:
            shard.abandon()
    return packed


def _take(arriving: Iterator[Item], rows: int, accept: Callable[[Sample], None]) -> list[Item]:
    """Take items until there are ``rows`` or 8 MiB of them; their samples as stored."""
    group: list[Item] = []
    size = 0
    for item in arriving:
        digest = _digest(item)
        sample = stored(item.sample, digest)
        accept(sample)
        group.append(Item(sample, item.image))
        size += len(item.image)
        if len(group) >= rows or size >= GROUP_BYTES:
            break
    return group


def _digest(item: Item) -> str:
    sample = item.sample
    if not item.image:
        raise Invalid(
            "EMPTY_IMAGE", f"{sample.id!r} ({sample.file!r}) has no bytes", hint="remove the file"
        )
    if len(item.image) > MAX_IMAGE_BYTES:
        raise Invalid(
            "IMAGE_TOO_LARGE",
            f"{sample.id!r} has {len(item.image)} bytes",
            hint="make the image smaller before it is stored",
        )
    digest = digest_bytes(item.image)
    if sample.digest not in ("", digest):
        raise Invalid(
            "DIGEST_MISMATCH",
            f"the bytes of {sample.id!r} are not those its digest names",
            hint="clear the digest of a sample whose image was made anew",
            details={"item": sample.id},
        )
    return digest


class _Shard:
    """One Parquet file being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._samples: list[Sample] = []
        self._sizes: list[list[int]] = []  # of the images, a list a row group
        self._columns: list[pa.Table] = []
        self._writer = pq.ParquetWriter(
            path,
            _SCHEMA,
            compression={leaf: _codec(leaf) for leaf in _leaves()},
            use_dictionary=[leaf for leaf in _leaves() if _repeats(leaf)],
            write_statistics=[leaf for leaf in _leaves() if leaf != "image.bytes"],
            data_page_size=2 * (GROUP_BYTES + MAX_IMAGE_BYTES),  # a column chunk is one page
        )

    def write(self, group: Sequence[Item]) -> None:
        """Add one row group."""
        samples = [item.sample for item in group]
        columns = to_columns(samples)
        image = pa.StructArray.from_arrays(
            [pa.array([item.image for item in group], pa.binary()), columns["id"]],
            fields=list(_IMAGE),
        )
        numbers = [None if s.expression is None else LABELS[s.expression] for s in samples]
        table = pa.table([image, pa.array(numbers, pa.int64()), *columns.values()], _SCHEMA)
        self._writer.write_table(table, row_group_size=len(group))
        self.rows += len(group)
        self.bytes += sum(len(item.image) for item in group)
        self._samples += samples
        self._sizes.append([len(item.image) for item in group])
        self._columns.append(pa.table(columns))

    def finish(self, packed: Packed) -> None:
        """Close the file; note its digest and where its images lie."""
        self._writer.close()
        name = self.path.name
        place = {
            "shard": pa.array([name] * self.rows, PLACE["shard"]),
            "row": pa.array(np.arange(self.rows), PLACE["row"]),
            "offset": pa.array(self._offsets(), PLACE["offset"]),
            "size": pa.array([n for sizes in self._sizes for n in sizes], PLACE["size"]),
        }
        table = pa.concat_tables(self._columns)
        for column, values in place.items():
            table = table.append_column(column, values)
        packed.tables.append(table)
        packed.samples += self._samples
        packed.shards[name] = digest_file(self.path)

    def abandon(self) -> None:
        """Close the file, whatever became of it."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _offsets(self) -> list[int]:
        """Find each image in the file.

        An uncompressed, plain column chunk of one page ends with its values, each a length of
        four bytes and the bytes (Parquet format, "Plain encoding"): counted back from the end.
        """
        metadata = pq.read_metadata(self.path)
        offsets: list[int] = []
        with self.path.open("rb") as file:
            for number, sizes in enumerate(self._sizes):
                chunk = metadata.row_group(number).column(0)
                end = chunk.data_page_offset + chunk.total_compressed_size
                starts = end - np.cumsum([0, *(4 + n for n in reversed(sizes))])[:0:-1] + 4
                for start, size in ((starts[0], sizes[0]), (starts[-1], sizes[-1])):
                    file.seek(int(start) - 4)
                    if file.read(4) != _LENGTH.pack(size):
                        raise RuntimeError(f"unexpected layout of Parquet file {self.path}")
                offsets += starts.tolist()
        return offsets


def _leaves() -> list[str]:
    return ["image.bytes", "image.path", "label", *(_NESTED.get(c, c) for c in COLUMNS)]


def _codec(leaf: str) -> str:
    return "NONE" if leaf == "image.bytes" else "ZSTD"


def _repeats(leaf: str) -> bool:
    return leaf not in ("image.bytes", "image.path", "id", "digest", "file", _NESTED["landmarks"])


def _hugging_face() -> dict[str, str]:
    """Say in the metadata of `datasets` what is an image and what a label, so that it knows."""
    kinds = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64"}
    number = {"dtype": "float64", "_type": "Value"}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": [str(e) for e in EXPRESSIONS], "_type": "ClassLabel"},
        **{c: {"dtype": kinds[k], "_type": "Value"} for c, k in COLUMNS.items() if k in kinds},
        "parents": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
        "landmarks": {"feature": {"feature": number, "_type": "List"}, "_type": "List"},
    }
    ordered = {name: features[name] for name in ("image", "label", *COLUMNS)}
    return {"huggingface": json.dumps({"info": {"features": ordered}})}


_SCHEMA = pa.schema(
    [("image", _IMAGE), ("label", pa.int64()), *COLUMNS.items()], metadata=_hugging_face()
)
