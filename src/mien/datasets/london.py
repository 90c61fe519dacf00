"""Reader ``london``: the Face Research Lab London Set, neutral and smiling, with landmarks."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.errors import Invalid, NotFound
from mien.core.face import Point
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.files import images_in, read_image
from mien.datasets.labels import LONDON_FOLDERS
from mien.datasets.reading import Source
from mien.morphable.landmarks import london_68
from mien.params.section import Section

LONDON_LICENCE = Licence(
    name="CC-BY-4.0",
    commercial=True,
    consent="All individuals gave signed consent for their images to be used in lab-based and "
    "web-based studies in their original or altered forms and to illustrate research",
    citation="DeBruine, L., & Jones, B. (2017). Face Research Lab London Set (Version 5). "
    "figshare. doi 10.6084/m9.figshare.5047666.v5",
)
_NAMES = {"neutral": re.compile(r"(\d{3})_03\.jpg"), "smiling": re.compile(r"(\d{3})_08\.jpg")}
_INFO_COLUMNS = {"face_id", "face_age", "face_gender", "face_eth"}
_AGES = ((25, "18-24"), (35, "25-34"), (45, "35-44"), (200, "45+"))


class LondonParams(Section):
    """Parameters of ``london``: none."""


def read_london(source: Source) -> Iterator[Item]:
    """Read ``neutral/NNN_03.jpg`` and ``smiling/NNN_08.jpg``.

    The 189 hand-placed landmarks of each neutral become the 68 of Multi-PIE; smiling pictures
    have none. Attributes: age (years), age_group, gender, ethnicity, as ``info.csv`` gives them.

    Raises:
        NotFound: ``FILE_MISSING`` without ``neutral``, ``smiling``, ``landmarks.json`` or
            ``info.csv``.
        Invalid: ``MALFORMED_NAME``, ``BAD_LANDMARKS``, ``BAD_INFO``; a bad image.
    """
    landmarks = _landmarks(_needed(source.root, "landmarks.json"))
    people = _people(_needed(source.root, "info.csv"))
    for folder, expression in LONDON_FOLDERS.items():
        for path, file in images_in(_needed(source.root, folder), source.root, source.notes):
            match = _NAMES[folder].fullmatch(path.name)
            if match is None:
                raise Invalid(
                    "MALFORMED_NAME",
                    f"{file} is not NNN_{'03' if folder == 'neutral' else '08'}.jpg",
                    details={"file": file},
                    hint="restore the file's name from the published archive, or remove it",
                )
            if match[1] not in people:
                raise Invalid(
                    "BAD_INFO",
                    f"{file}: info.csv has no person {match[1]}",
                    hint="restore info.csv from the published archive",
                )
            data, width, height = read_image(path, file)
            sample = Sample(
                id=f"london/{file}",
                source="london",
                subject=f"london:{match[1]}",
                expression=expression,
                file=file,
                attributes=people[match[1]],
                landmarks=_points(landmarks, file) if folder == "neutral" else (),
                width=width,
                height=height,
            )
            yield Item(sample, data)


def _needed(root: Path, name: str) -> Path:
    path = root / name
    if not path.exists():
        raise NotFound(
            "FILE_MISSING",
            f"london: {path} does not exist",
            hint="the layout is in docs/datasets/london.md",
            details={"file": name},
        )
    return path


def _landmarks(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise Invalid(
            "BAD_LANDMARKS",
            f"{path.name} is not JSON: {error}",
            hint="restore landmarks.json: mien assets pull london",
        ) from None
    if not isinstance(value, dict):
        raise Invalid(
            "BAD_LANDMARKS",
            f"{path.name} does not map file names to points",
            hint="restore landmarks.json: mien assets pull london",
        )
    return value


def _points(landmarks: Mapping[str, Any], file: str) -> tuple[Point, ...]:
    try:
        points = np.asarray(landmarks[file], dtype=np.float64)
    except KeyError:
        raise Invalid(
            "BAD_LANDMARKS",
            f"landmarks.json has nothing for {file}",
            hint="restore landmarks.json: mien assets pull london",
        ) from None
    except (ValueError, TypeError):
        raise Invalid(
            "BAD_LANDMARKS",
            f"landmarks.json: {file} has no list of points",
            hint="restore landmarks.json: mien assets pull london",
        ) from None
    if points.shape != (189, 2) or not np.isfinite(points).all():
        raise Invalid(
            "BAD_LANDMARKS",
            f"landmarks.json: {file} has {points.shape}, not 189 finite points",
            hint="restore landmarks.json: mien assets pull london",
        )
    return tuple((float(x), float(y)) for x, y in london_68(points))


def _people(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not set(rows.fieldnames or ()) >= _INFO_COLUMNS:
            raise Invalid(
                "BAD_INFO",
                f"{path.name} lacks columns {sorted(_INFO_COLUMNS)}",
                hint="restore info.csv from the published archive",
            )
        return {row["face_id"].zfill(3): _attributes(row) for row in rows}


def _attributes(row: Mapping[str, str]) -> dict[str, str]:
    """Return what is known; the set writes NA where a person gave no answer."""
    given = {"age": row["face_age"], "gender": row["face_gender"], "ethnicity": row["face_eth"]}
    known = {name: value for name, value in given.items() if value and value != "NA"}
    if "age" in known:
        known["age_group"] = _age_group(known["age"])
    return known


def _age_group(age: str) -> str:
    try:
        years = float(age)
    except ValueError:
        raise Invalid(
            "BAD_INFO",
            f"info.csv: {age!r} is no age",
            hint="restore info.csv from the published archive",
        ) from None
    return next(name for below, name in _AGES if years < below)
