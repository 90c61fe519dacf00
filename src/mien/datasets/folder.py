"""Reader ``folder``: a user's own images in class folders, with an optional ``manifest.csv``."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.files import (
    IMAGE_ENDINGS,
    images_in,
    listing,
    named_inside,
    read_image,
    relative,
    unexpected,
)
from mien.datasets.labels import ALIASES, USAGES, translate_alias
from mien.datasets.reading import Notes, Source
from mien.datasets.rows import check_columns, parse_row, qualified, row_to_item
from mien.params.section import Section

MANIFEST = "manifest.csv"
LICENCES = "licences.json"
UNLABELLED = "unlabelled"  # the folder of images without an expression
_OWN_FILES = (MANIFEST, LICENCES)


class FolderParams(Section):
    """Parameters of ``folder``.

    Attributes:
        source: name of the database; qualifies its subjects.
        subject: regular expression that must match the whole file name (ending included); its
            group ``subject`` (or its only group) is the subject. None = no subjects.
        ignore: further file or folder names to pass over, as shell patterns; counted.
    """

    source: str = Field("folder", pattern=r"^[a-z][a-z0-9_.-]{0,40}$")
    subject: str | None = None
    ignore: tuple[str, ...] = ()

    @field_validator("subject")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "subject" not in pattern.groupindex and pattern.groups != 1:
                raise ValueError("needs a group (?P<subject>…), or exactly one group")
        return value


def read_folder(source: Source) -> Iterator[Item]:
    """Read ``root/[split/]<class>/*``; ``manifest.csv``, where it exists, lists every image.

    Raises:
        Invalid: ``UNKNOWN_LABEL``, ``MIXED_LAYOUT``, ``CLASS_WITHOUT_SAMPLES``,
            ``NESTED_FOLDER``, ``UNEXPECTED_FILE``, ``MALFORMED_NAME``, ``UNLISTED_IMAGE``,
            ``LABEL_CONFLICT``, ``BAD_ROW``, ``UNKNOWN_COLUMN``, ``PATH_ESCAPES``; a bad image.
        NotFound: ``FILE_MISSING`` for a manifest's file.
        Corrupt: ``IMAGE_CHANGED`` when bytes do not match the manifest's digest.
    """
    if (source.root / MANIFEST).is_file():
        yield from _listed(source)
        return
    params: FolderParams = source.params
    pattern = re.compile(params.subject) if params.subject else None
    for folder, usage in _class_folders(source):
        label = _label(folder.name, relative(folder, source.root))
        for path, name in images_in(folder, source.root, source.notes, params.ignore):
            data, width, height = read_image(path, name)
            yield Item(
                Sample(
                    id=f"{params.source}/{name}",
                    source=params.source,
                    subject=qualified(_subject(pattern, path.name, name), params.source),
                    expression=label,
                    file=name,
                    usage=usage,
                    width=width,
                    height=height,
                ),
                data,
            )


def read_licences(source: Source) -> Mapping[str, Licence]:
    """Return the licences an export left beside the images, or an unknown one.

    Raises:
        Invalid: ``BAD_LICENCES`` when the file is not what an export writes.
    """
    path = source.root / LICENCES
    if not path.is_file():
        return {source.params.source: Licence()}
    return parse_licences(path.read_bytes(), LICENCES)


def parse_licences(text: bytes | str, where: str) -> dict[str, Licence]:
    """Parse source → licence from JSON.

    Raises:
        Invalid: ``BAD_LICENCES``.
    """
    known = {f.name for f in fields(Licence)}
    try:
        value = json.loads(text)
        return {
            str(name): Licence(**{k: v for k, v in each.items() if k in known})
            for name, each in value.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise Invalid(
            "BAD_LICENCES",
            f"{where} does not hold licences: {error}",
            details={"file": where},
            hint="write JSON {source: {name, commercial, consent, citation}}, or remove it",
        ) from None


def _class_folders(source: Source) -> Iterator[tuple[Path, str]]:
    """Find class folders: directly in the root, or one level down in folders named as splits."""
    classes: list[Path] = []
    splits: list[Path] = []
    for path in _root_folders(source.root, source):
        known_split = path.name.strip().lower() in USAGES
        (splits if known_split else classes).append(path)
    if classes and splits:
        raise Invalid(
            "MIXED_LAYOUT",
            f"{source.root} has both split folders ({splits[0].name}) and class folders "
            f"({classes[0].name})",
            hint="put every class folder into a split folder, or none",
        )
    for path in classes:
        yield path, ""
    for split in splits:
        inside = list(_root_folders(split, source))
        if not inside:
            raise Invalid(
                "CLASS_WITHOUT_SAMPLES",
                f"{relative(split, source.root)} holds no class folder",
                hint="add class folders or remove it",
            )
        for path in inside:
            yield path, USAGES[split.name.strip().lower()]


def _root_folders(folder: Path, source: Source) -> Iterator[Path]:
    for path in listing(folder, source.notes, source.params.ignore):
        if path.is_dir():
            yield path
        elif path.name not in _OWN_FILES:
            raise unexpected(relative(path, source.root))


def _label(folder: str, where: str) -> Expression | None:
    return None if folder.strip().lower() == UNLABELLED else translate_alias(folder, where)


def _subject(pattern: re.Pattern[str] | None, file_name: str, name: str) -> str | None:
    if pattern is None:
        return None
    match = pattern.fullmatch(file_name)
    who = match and match.group("subject" if "subject" in pattern.groupindex else 1)
    if not who:
        raise Invalid(
            "MALFORMED_NAME",
            f"{name} does not match the subject pattern {pattern.pattern!r}",
            hint="correct the parameter subject; it must match the whole file name",
            details={"file": name},
        )
    return str(who)


def _listed(source: Source) -> Iterator[Item]:
    """Read what the manifest lists, and refuse images it does not."""
    listed: set[str] = set()
    for number, cells in _manifest_rows(source.root):
        where = f"{MANIFEST} row {number}"
        name = str(cells.pop("path", None) or cells.get("file") or "")
        path = named_inside(name, source.root, where)
        if name in listed:
            raise Invalid(
                "LISTED_TWICE",
                f"{where}: {name} is listed twice",
                hint="remove one of the two rows",
            )
        listed.add(name)
        yield _listed_item(source, cells, name, path, where)
    _refuse_unlisted(source.root, source.root, listed, source.notes, source.params.ignore)


def _manifest_rows(root: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with (root / MANIFEST).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            check_columns(columns, ("path",), MANIFEST)
            if not {"path", "file"} & set(columns):
                raise Invalid(
                    "MISSING_COLUMN",
                    f"{MANIFEST} has neither a column path nor file",
                    hint="add a column path with each image's name below the folder",
                )
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise Invalid(
                        "BAD_ROW",
                        f"{MANIFEST} row {number} has not {len(columns)} cells",
                        hint="write a cell for each column; quote texts that hold commas",
                    )
                yield number, dict(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(
            "BAD_MANIFEST",
            f"{MANIFEST} is not UTF-8 CSV: {error}",
            hint="save it as CSV with commas, in UTF-8",
        ) from None


def _listed_item(source: Source, cells: dict[str, Any], name: str, path: Path, where: str) -> Item:
    params: FolderParams = source.params
    row = parse_row(cells, where)
    data, _, _ = read_image(path, name)
    folder = ALIASES.get(path.parent.name.strip().lower()) if path.parent != source.root else None
    if folder is not None and row.expression is not None:
        _check_agrees(row.expression, folder, name, where)
    elif folder is not None and "expression" not in cells:
        row = row.model_copy(update={"expression": str(folder)})
    if row.subject is None and params.subject is not None:
        who = _subject(re.compile(params.subject), path.name, name)
        row = row.model_copy(update={"subject": who})
    return row_to_item(
        row,
        data,
        source=params.source,
        key=name,
        name=name,
        where=where,
        digest=digest_bytes(data),
    )


def _check_agrees(label: str, folder: Expression, name: str, where: str) -> None:
    if translate_alias(label, where) != folder:
        raise Invalid(
            "LABEL_CONFLICT",
            f"{where} calls {name} {label!r}, its folder says {folder!s}",
            hint="move the file or correct the row",
            details={"file": name},
        )


def _refuse_unlisted(
    folder: Path, root: Path, listed: set[str], notes: Notes, ignore: tuple[str, ...]
) -> None:
    for path in listing(folder, notes, ignore):
        name = relative(path, root)
        if path.is_dir():
            _refuse_unlisted(path, root, listed, notes, ignore)
        elif name in listed or (folder == root and path.name in _OWN_FILES):
            continue
        elif path.suffix.lower() in IMAGE_ENDINGS:
            raise Invalid(
                "UNLISTED_IMAGE",
                f"{name} is not listed in {MANIFEST}",
                hint=f"add a row for it, or delete {MANIFEST} to go by folders alone",
                details={"file": name},
            )
        else:
            raise unexpected(name)
