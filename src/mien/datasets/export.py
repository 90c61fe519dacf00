"""Write items as ordinary files that other tools read, and that our readers read back identically.

``folder``: ``<class>/<image>`` plus ``manifest.csv``; ``csv``: ``images/<image>`` plus
``manifest.csv``; ``parquet``: ``part-00000.parquet`` … with the images inside. Licences go along.
"""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mien.core.columns import COLUMNS, to_columns
from mien.core.digest import digest_bytes
from mien.core.errors import AlreadyExists, Conflict, Exhausted, Forbidden, Invalid
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.folder import LICENCES, MANIFEST, UNLABELLED
from mien.datasets.parquet import LICENCES_KEY
from mien.datasets.rows import FIELDS, cells_of
from mien.imaging import headers

Format = Literal["folder", "parquet", "csv"]
_PART_ROWS = 4096
_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}


def export(
    items: Iterable[Item],
    folder: Path,
    *,
    format: Format = "folder",  # noqa: A002
    licences: Mapping[str, Licence] | None = None,
) -> int:
    """Write items to a new folder; it appears whole or not at all.

    Args:
        items: samples with their bytes; bytes are written as they are.
        folder: must not exist.
        format: ``folder``, ``parquet`` or ``csv``.
        licences: source → licence, kept beside the images.

    Returns:
        The number of images.

    Raises:
        AlreadyExists: ``EXPORT_EXISTS``.
        Invalid: ``UNKNOWN_FORMAT``; ``NOTHING_TO_EXPORT``; ``UNSUPPORTED_FORMAT``.
        Exhausted: ``DISK_FULL``; Forbidden: ``NOT_WRITABLE``.
    """
    writers: dict[str, Callable[[Iterator[Item], Path, Mapping[str, Licence]], int]] = {
        "folder": _write_folder,
        "csv": _write_csv,
        "parquet": _write_parquet,
    }
    if format not in writers:
        raise Invalid(
            "UNKNOWN_FORMAT", f"{format!r} is no format", hint=f"one of: {', '.join(writers)}"
        )
    if folder.exists():
        raise AlreadyExists(
            "EXPORT_EXISTS", f"{folder} exists already", hint="name a new folder or remove it"
        )
    try:
        return _atomically(folder, lambda made: writers[format](iter(items), made, licences or {}))
    except PermissionError as error:
        raise Forbidden(
            "NOT_WRITABLE", f"{folder} cannot be written: {error}", hint="choose another place"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(
                "DISK_FULL",
                f"no space left to write {folder}",
                hint="free some space, or export to a larger disk",
            ) from error
        raise


def _atomically(folder: Path, write: Callable[[Path], int]) -> int:
    """Write into a temporary folder beside the wanted one, then rename it.

    Nothing is flushed: a dataset version is the durable copy, and the digests in an export tell
    a reader if a power cut took bytes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        count = write(made)
        if not count:
            raise Invalid(
                "NOTHING_TO_EXPORT",
                f"there is no image to write to {folder}",
                hint="look whether the version holds images: mien verify",
            )
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            if folder.exists():
                raise Conflict(
                    "EXPORT_EXISTS",
                    f"{folder} was made meanwhile",
                    hint="name a new folder, or remove the one that was made",
                ) from None
            raise
        return count
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_folder(items: Iterator[Item], folder: Path, licences: Mapping[str, Licence]) -> int:
    return _write_images(
        items, folder, licences, lambda s: str(s.expression) if s.expression else UNLABELLED
    )


def _write_csv(items: Iterator[Item], folder: Path, licences: Mapping[str, Licence]) -> int:
    return _write_images(items, folder, licences, lambda _: "images")


def _write_images(
    items: Iterator[Item],
    folder: Path,
    licences: Mapping[str, Licence],
    place: Callable[[Sample], str],
) -> int:
    count = 0
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ["path", *FIELDS])
        rows.writeheader()
        for count, item in enumerate(items, 1):  # noqa: B007
            path = f"{place(item.sample)}/{file_name(item)}"
            target = folder / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(item.image)
            rows.writerow({"path": path, **cells_of(_with_digest(item))})
    (folder / LICENCES).write_text(_licences_json(licences), encoding="utf-8")
    return count


def file_name(item: Item) -> str:
    """Return a name for an image: readable, safe on any file system, unique by its sample id."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", item.sample.id).strip("_")[-60:]
    mark = digest_bytes(item.sample.id.encode())[:10]
    return f"{readable}-{mark}{_ending(item)}"


def _ending(item: Item) -> str:
    kind = headers.sniff(item.image)
    if kind is None:
        raise Invalid(
            "UNSUPPORTED_FORMAT",
            f"{item.sample.id} holds no PNG, JPEG, WebP, TIFF or BMP image",
            details={"item": item.sample.id},
            hint="make the version again from readable images",
        )
    return _ENDINGS[kind]


def _with_digest(item: Item) -> Sample:
    if item.sample.digest:
        return item.sample
    return replace(item.sample, digest=digest_bytes(item.image))


def _licences_json(licences: Mapping[str, Licence]) -> str:
    plain = {name: asdict(each) for name, each in sorted(licences.items())}
    return json.dumps(plain, ensure_ascii=False, indent=2)


def _write_parquet(items: Iterator[Item], folder: Path, licences: Mapping[str, Licence]) -> int:
    schema = pa.schema(
        [("image", _IMAGE), *COLUMNS.items()],
        metadata={b"huggingface": json.dumps(_FEATURES), LICENCES_KEY: _licences_json(licences)},
    )
    count = part = 0
    while rows := list(islice(items, _PART_ROWS)):
        images = [{"bytes": item.image, "path": file_name(item)} for item in rows]
        columns = to_columns([_with_digest(item) for item in rows])
        table = pa.table({"image": pa.array(images, _IMAGE), **columns}, schema=schema)
        pq.write_table(table, folder / f"part-{part:05d}.parquet", row_group_size=512)
        count, part = count + len(rows), part + 1
    return count
