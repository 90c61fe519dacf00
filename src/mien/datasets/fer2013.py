"""Reader ``fer2013``: the CSV of pixels, or the folder variant with named images."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mien.core.arrays import UInt8
from mien.core.errors import Invalid, NotFound
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.files import images_in, listing, read_image, relative, unexpected
from mien.datasets.labels import FER2013_FOLDERS, FER2013_NUMBERS, translate
from mien.datasets.reading import Source
from mien.imaging.encode import encode_png
from mien.params.section import Section

FER2013_LICENCE = Licence(
    name="research only (as distributed for the ICML 2013 challenge)",
    commercial=False,
    consent="unknown: images found on the web",
    citation="Goodfellow, I. et al. (2013). Challenges in Representation Learning: A report on "
    "three machine learning contests. ICONIP. arXiv:1307.0414",
)
SIDE_PX = 48
CSV_NAME = "fer2013.csv"
_COLUMNS = ["emotion", "pixels", "Usage"]
_USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_(\d+)\.(?:jpg|png)")


class Fer2013Params(Section):
    """Parameters of ``fer2013``: none."""


def read_fer2013(source: Source) -> Iterator[Item]:
    """Read ``fer2013.csv`` (or a folder holding it), else ``<split>/<class>/<name>.jpg``.

    In the folder variant the split is the name's prefix, not the folder's name.

    Raises:
        NotFound: ``DATABASE_MISSING`` when the folder has neither form.
        Invalid: ``BAD_HEADER``, ``BAD_ROW``, ``UNKNOWN_LABEL``, ``UNKNOWN_USAGE``,
            ``MALFORMED_NAME`` (augmented copies), ``UNEXPECTED_FILE``; a bad image.
    """
    if source.root.is_file():
        yield from _from_csv(source.root)
    elif (source.root / CSV_NAME).is_file():
        yield from _from_csv(source.root / CSV_NAME)
    else:
        yield from _from_folders(source)


def _from_csv(path: Path) -> Iterator[Item]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(rows, [])]
            if header != _COLUMNS:
                raise Invalid(
                    "BAD_HEADER",
                    f"{path.name} begins with {header}, not {_COLUMNS}",
                    hint="give the original fer2013.csv",
                    details={"file": path.name},
                )
            for number, row in enumerate(rows):
                yield _csv_item(row, number, f"{path.name} row {number}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(
            "BAD_HEADER",
            f"{path.name} is not CSV: {error}",
            hint="give fer2013.csv as it is distributed, UTF-8 with commas",
        ) from None


def _csv_item(row: list[str], number: int, where: str) -> Item:
    if len(row) != 3:
        raise Invalid(
            "BAD_ROW",
            f"{where} has {len(row)} cells, not 3",
            details={"file": where},
            hint="restore the row from the original fer2013.csv, or remove it",
        )
    label, pixels, usage = (cell.strip() for cell in row)
    expression = translate(label, FER2013_NUMBERS, where)
    if usage not in _USAGES:
        raise Invalid(
            "UNKNOWN_USAGE", f"{where}: {usage!r} is no usage", hint=f"known: {', '.join(_USAGES)}"
        )
    sample = Sample(
        id=f"fer2013/{number:05d}",
        source="fer2013",
        expression=expression,
        file=f"{CSV_NAME}#{number}",
        usage=_USAGES[usage],
        width=SIDE_PX,
        height=SIDE_PX,
    )
    return Item(sample, encode_png(_pixels(pixels, where)))


def _pixels(text: str, where: str) -> UInt8:
    try:
        values = np.array([int(cell) for cell in text.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        raise Invalid(
            "BAD_ROW",
            f"{where}: a pixel is not a number",
            hint="restore the row from the original fer2013.csv, or remove it",
        ) from None
    if values.size != SIDE_PX**2 or values.min() < 0 or values.max() > 255:
        raise Invalid(
            "BAD_ROW",
            f"{where} has {values.size} pixels; {SIDE_PX**2} of 0..255 are needed",
            details={"file": where},
            hint="restore the row from the original fer2013.csv, or remove it",
        )
    return values.reshape(SIDE_PX, SIDE_PX).astype(np.uint8)


def _from_folders(source: Source) -> Iterator[Item]:
    splits = list(_folders(source.root, source))
    if not splits:
        raise NotFound(
            "DATABASE_MISSING",
            f"{source.root} holds neither {CSV_NAME} nor <split>/<class> folders",
            hint="how to obtain and lay it out: docs/datasets/fer2013.md",
        )
    for split in splits:
        for folder in _folders(split, source):
            expression = translate(folder.name, FER2013_FOLDERS, relative(folder, source.root))
            for path, name in images_in(folder, source.root, source.notes):
                match = _NAME.fullmatch(path.name)
                if match is None:
                    raise Invalid(
                        "MALFORMED_NAME",
                        f"{name} is not Training_, PublicTest_ or PrivateTest_<number>.jpg",
                        hint="augmented copies are refused: they would leak between splits; "
                        "read them with the reader folder if that is meant",
                        details={"file": name},
                    )
                data, width, height = read_image(path, name)
                sample = Sample(
                    id=f"fer2013/{match[1]}_{int(match[2]):05d}",
                    source="fer2013",
                    expression=expression,
                    file=name,
                    usage=_USAGES[match[1]],
                    width=width,
                    height=height,
                )
                yield Item(sample, data)


def _folders(folder: Path, source: Source) -> Iterator[Path]:
    for path in listing(folder, source.notes):
        if not path.is_dir():
            raise unexpected(relative(path, source.root))
        yield path
