"""A sample as a row of a table, and back: what exports write and readers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.core.errors import Corrupt, Invalid, faults_of, invalid_fields
from mien.core.sample import Item, Sample
from mien.datasets.labels import translate_alias
from mien.imaging.decode import STORED, measure

FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Sample))
ATTRIBUTE_PREFIX = "attributes."  # a column "attributes.age" is one attribute
_JSON_COLUMNS = ("parents", "attributes", "landmarks")

_Affect = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_Coordinate = Annotated[float, Field(allow_inf_nan=False)]


class Row(BaseModel):
    """One row as a file gives it: every column may be missing, none may be unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)] | None = None
    source: Annotated[str, Field(min_length=1)] | None = None
    origin: Literal["real", "synthetic"] = "real"
    subject: str | None = None
    expression: str | None = None
    valence: _Affect | None = None
    arousal: _Affect | None = None
    intensity: _Share | None = None
    file: str | None = None
    frame: Annotated[int, Field(ge=0)] | None = None
    sequence: str = ""
    usage: str = ""
    identity: str = ""
    parents: tuple[str, ...] = ()
    attributes: dict[str, str] = Field(default_factory=dict)
    landmarks: tuple[tuple[_Coordinate, _Coordinate], ...] = ()
    failure: str = ""
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    width: Annotated[int, Field(ge=0)] = 0
    height: Annotated[int, Field(ge=0)] = 0


def parse_row(cells: Mapping[str, Any], where: str) -> Row:
    """Validate a row.

    Args:
        cells: column → value; None and "" mean missing; columns ``attributes.<name>`` are
            gathered; lists and maps may be JSON text.
        where: file and row, for messages.

    Raises:
        Invalid: ``BAD_ROW`` naming file, row and column.
    """
    values: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for column, value in cells.items():
        if value is None or value == "":
            if column == "file":  # a sample may have no file; no column means: name it here
                values[column] = ""
        elif column.startswith(ATTRIBUTE_PREFIX):
            attributes[column.removeprefix(ATTRIBUTE_PREFIX)] = str(value)
        elif column in _JSON_COLUMNS and isinstance(value, str):
            values[column] = _from_json(value, column, where)
        else:
            values[column] = value
    if attributes or "attributes" in values:
        values["attributes"] = {**_as_dict(values.get("attributes")), **attributes}
    try:
        return Row.model_validate(values)
    except ValidationError as error:
        raise invalid_fields("BAD_ROW", f"{where} is wrong", faults_of(error)) from None


def _from_json(text: str, column: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise invalid_fields(
            "BAD_ROW", f"{where} is wrong", {column: f"not JSON: {text[:40]!r}"}
        ) from None


def _as_dict(value: Any) -> dict[str, str]:
    """Turn a map column (dict, or Arrow's list of pairs) into a dict without empty values."""
    pairs = value.items() if isinstance(value, dict) else (value or ())
    return {str(name): str(cell) for name, cell in pairs if cell is not None}


def row_to_item(
    row: Row, image: bytes, *, source: str, key: str, name: str, where: str, digest: str
) -> Item:
    """Turn a row and its bytes into an item; what the row lacks is filled in.

    Args:
        row: validated.
        image: encoded bytes.
        source: used where the row names none.
        key: of the sample within the source, where the row has no id.
        name: of the file in the database, where the row names none.
        where: file and row, for messages.
        digest: blake3 of the bytes.

    Raises:
        Invalid: ``UNKNOWN_LABEL``; what ``measure`` raises.
        Corrupt: ``IMAGE_CHANGED`` when the row names another digest.
    """
    if row.digest not in ("", digest):
        raise Corrupt(
            "IMAGE_CHANGED",
            f"{where}: {row.id or name} is not the image whose digest is listed",
            hint="restore the image from a good copy, or remove the digest",
            details={"file": name},
        )
    width, height = measure(image, name=where, limits=STORED)
    if row.width and row.height:
        width, height = row.width, row.height
    origin = row.source or source
    label = None if row.expression is None else translate_alias(row.expression, where)
    given = row.model_dump(exclude={"id", "source", "subject", "expression", "file"})
    filled = {
        "id": row.id or f"{origin}/{key}",
        "source": origin,
        "subject": qualified(row.subject, origin),
        "expression": label,
        "file": name if row.file is None else row.file,
        "digest": digest,
        "width": width,
        "height": height,
    }
    return Item(Sample(**{**given, **filled}), image)


def qualified(subject: str | None, source: str) -> str | None:
    """Return ``<source>:<who>``; a subject that is qualified already stays as it is."""
    if subject is None or ":" in subject:
        return subject
    return f"{source}:{subject}"


def cells_of(sample: Sample) -> dict[str, str]:
    """Return a sample as CSV cells; ``parse_row`` of them gives the same sample."""
    return {column: _cell(column, getattr(sample, column)) for column in FIELDS}


def _cell(column: str, value: Any) -> str:
    if value is None or value in ((), {}):
        return ""
    if column in _JSON_COLUMNS:
        plain = dict(value) if column == "attributes" else list(value)
        return json.dumps(plain, ensure_ascii=False, sort_keys=True)
    return repr(value) if isinstance(value, float) else str(value)


def check_columns(
    columns: Mapping[str, Any] | list[str], extra: tuple[str, ...], name: str
) -> None:
    """Refuse columns that are neither a sample's nor attributes.

    Raises:
        Invalid: ``UNKNOWN_COLUMN`` naming file and column.
    """
    known = (*FIELDS, *extra)
    for column in columns:
        if column not in known and not column.startswith(ATTRIBUTE_PREFIX):
            raise Invalid(
                "UNKNOWN_COLUMN",
                f"{name} has a column {column!r} that means nothing here",
                hint=f"known: {', '.join(known)}; own attributes: attributes.<name>",
                details={"file": name, "column": column},
            )
