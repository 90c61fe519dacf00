"""Reader ``parquet``: Hugging Face style tables with the images inside, and what we export."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, Invalid
from mien.core.manifest import Licence
from mien.core.sample import Item
from mien.datasets.files import inside, named_inside, read_bytes, relative
from mien.datasets.folder import parse_licences
from mien.datasets.labels import translate_alias
from mien.datasets.reading import Source
from mien.datasets.rows import check_columns, parse_row, row_to_item
from mien.params.section import Section

LICENCES_KEY = b"mien.licences"  # in the schema's metadata: source → licence as JSON
MANIFEST_TABLE = "manifest.parquet"  # of a dataset version: rows without images
VERSION_INFO = "version.json"  # of a dataset version: its licences
_BATCH_ROWS = 64  # of photos of several megabytes this is what memory bears
_SPLIT_NAME = re.compile(r"(train|validation|test)-\d{5}-of-\d{5}\.parquet")


class ParquetParams(Section):
    """Parameters of ``parquet``.

    Attributes:
        source: name of the database where the rows name none; qualifies its subjects.
        labels: names of the integer labels, in order, where the file does not say them.
        columns: their column → ours (``emotion: label``, ``age: attributes.age``); "" drops it.
    """

    source: str = Field("parquet", pattern=r"^[a-z][a-z0-9_.-]{0,40}$")
    labels: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Table:
    """One file being read: where it is, what its labels mean, what it says about its split."""

    path: Path
    name: str
    root: Path
    labels: tuple[str, ...]
    usage: str
    params: ParquetParams


def read_parquet(source: Source) -> Iterator[Item]:
    """Read every ``*.parquet`` below the root (or the root itself), in the order of names.

    Columns: ``image`` {bytes, path} or bytes; ``label`` (integer with ClassLabel names, or text)
    or ``expression``; any other column of a sample. Files called ``train-00000-of-00001.parquet``
    give the usage. Of a dataset version the shards are read, not ``manifest.parquet``.

    Raises:
        Invalid: ``NOT_PARQUET``, ``MISSING_COLUMN``, ``UNKNOWN_COLUMN``, ``LABEL_NAMES``,
            ``UNKNOWN_LABEL``, ``LABEL_CONFLICT``, ``BAD_ROW``, ``PATH_ESCAPES``; a bad image.
        NotFound: ``FILE_MISSING`` for a row that names a missing file.
        Corrupt: ``IMAGE_CHANGED`` when bytes do not match the row's digest.
    """
    for path in parquet_files(source.root):
        inside(path, source.root if source.root.is_dir() else path.parent)
        yield from _file_items(path, source)


def read_parquet_licences(source: Source) -> Mapping[str, Licence]:
    """Return the licences of a dataset version or of our exports, else an unknown one.

    Raises:
        Invalid: ``NOT_PARQUET``, ``BAD_LICENCES``.
    """
    found: dict[str, Licence] = {}
    if (source.root / VERSION_INFO).is_file():
        return _version_licences((source.root / VERSION_INFO).read_bytes())
    for path in parquet_files(source.root):
        metadata = _open(path, path.name).schema_arrow.metadata or {}
        if text := metadata.get(LICENCES_KEY):
            found.update(parse_licences(text, path.name))
    return found or {source.params.source: Licence()}


def _version_licences(text: bytes) -> Mapping[str, Licence]:
    try:
        licences = json.dumps(json.loads(text)["licences"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(
            "BAD_LICENCES",
            f"{VERSION_INFO} holds no licences: {error!r}",
            hint="restore version.json from a good copy, or make the version again",
        ) from None
    return parse_licences(licences, VERSION_INFO)


def parquet_files(root: Path) -> list[Path]:
    """List the files with images: the root itself, or all below it, sorted by name."""
    if root.is_file():
        return [root]
    return sorted(p for p in root.rglob("*.parquet") if p.name != MANIFEST_TABLE)


def _open(path: Path, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise Invalid(
            "NOT_PARQUET",
            f"{name} is not a readable Parquet file: {error}",
            details={"file": name},
            hint="restore the file, or remove it from the folder",
        ) from None


def _file_items(path: Path, source: Source) -> Iterator[Item]:
    params: ParquetParams = source.params
    root = source.root if source.root.is_dir() else path.parent
    name = relative(path, root)
    file = _open(path, name)
    names = [params.columns.get(c, c) for c in file.schema_arrow.names]
    kept = [n for n in names if n]
    check_columns(kept, ("image", "label"), name)
    if "image" not in kept or len(set(kept)) != len(kept):
        raise Invalid(
            "MISSING_COLUMN",
            f"{name} must have one column image; it has {', '.join(file.schema_arrow.names)}",
            hint="rename columns with the parameter columns: {theirs: ours}",
            details={"file": name},
        )
    split = _SPLIT_NAME.fullmatch(path.name)
    table = _Table(
        path=path,
        name=name,
        root=root,
        labels=params.labels or _class_names(file.schema_arrow, names),
        usage=split[1] if split else "",
        params=params,
    )
    number = 0
    for batch in _batches(file, name):
        columns = {
            n: column.to_pylist() for n, column in zip(names, batch.columns, strict=True) if n
        }
        for index in range(batch.num_rows):
            yield _item(table, {n: values[index] for n, values in columns.items()}, number)
            number += 1


def _batches(file: pq.ParquetFile, name: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=_BATCH_ROWS)
    except (pa.ArrowInvalid, OSError) as error:
        raise Corrupt(
            "BAD_SHARD", f"{name} is damaged: {error}", hint="restore it", details={"file": name}
        ) from None


def _class_names(schema: pa.Schema, names: Sequence[str]) -> tuple[str, ...]:
    """Return the ClassLabel names of the label column in Hugging Face's schema metadata."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None or "label" not in names:
        return ()
    try:
        feature = json.loads(text)["info"]["features"][schema.names[names.index("label")]]
        return tuple(str(n) for n in feature.get("names", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _item(table: _Table, cells: dict[str, Any], number: int) -> Item:
    where = f"{table.name} row {number}"
    data, inner = _image(cells.pop("image"), table, where)
    values = {n: None if _is_nan(v) else v for n, v in cells.items()}
    label = _label(values.pop("label", None), table, where)
    if label is not None:
        stated = values.get("expression")
        if stated and translate_alias(str(stated), where) != translate_alias(label, where):
            raise Invalid(
                "LABEL_CONFLICT",
                f"{where} says {stated!r} and {label!r}",
                details={"file": where},
                hint="correct the row, or drop a column with the parameter columns: {theirs: ''}",
            )
        values["expression"] = stated or label
    if values.get("usage") in (None, ""):
        values["usage"] = table.usage
    row = parse_row(values, where)
    key = f"{table.name}#{number}"
    return row_to_item(
        row,
        data,
        source=table.params.source,
        key=key,
        name=inner or key,
        where=where,
        digest=digest_bytes(data),
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _image(cell: Any, table: _Table, where: str) -> tuple[bytes, str]:
    """Return an image cell's bytes and path; bytes may lie in a file beside the table."""
    if isinstance(cell, bytes):
        return cell, ""
    if not isinstance(cell, dict) or not {"bytes", "path"} & set(cell):
        raise Invalid(
            "BAD_ROW",
            f"{where}: image is neither bytes nor {{bytes, path}}",
            details={"file": where},
            hint="store images as bytes, or as {bytes, path}",
        )
    name = str(cell.get("path") or "")
    if cell.get("bytes") is not None:
        return bytes(cell["bytes"]), name
    return read_bytes(named_inside(name, table.root, where), name), name


def _label(value: Any, table: _Table, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not float(value).is_integer():
        raise Invalid(
            "UNKNOWN_LABEL",
            f"{where}: {value!r} is not a label",
            hint="labels are whole numbers or names of expressions",
        )
    if not table.labels:
        raise Invalid(
            "LABEL_NAMES",
            f"{table.name}: the labels are numbers and nothing says what they mean",
            hint="give the parameter labels: their names in order",
            details={"file": table.name},
        )
    if not 0 <= value < len(table.labels):
        raise Invalid(
            "UNKNOWN_LABEL",
            f"{where}: label {value} has no name",
            hint=f"known: {', '.join(f'{i} {n}' for i, n in enumerate(table.labels))}",
            details={"file": where, "label": str(value)},
        )
    return table.labels[int(value)]
