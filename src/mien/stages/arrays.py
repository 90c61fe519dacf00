"""Keep a preprocessed set as one memory-mapped array that all trials share."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.core.arrays import UInt8
from mien.core.digest import digest_file
from mien.core.errors import Invalid
from mien.core.manifest import Manifest
from mien.imaging.decode import STORED, decode
from mien.registry.read import Version
from mien.registry.staging import disk_errors
from mien.stages.context import write_json


@dataclass(frozen=True, slots=True)
class SetArrays:
    """A preprocessed set, ready for training.

    Attributes:
        name: of the set.
        digest: of its version.
        folder: that holds ``images.npy`` (N, S, S[, 3]) uint8 and ``affect.npy`` (N, 2) float32,
            in manifest order.
        manifest: the rows.
        row: sample id → position.
    """

    name: str
    digest: str
    folder: Path
    manifest: Manifest
    row: dict[str, int]


def set_arrays(name: str, version: Version, cache: Path) -> SetArrays:
    """Decode a version once into the cache; verified when found there.

    Raises:
        Invalid: ``UNEQUAL_SIZES`` when its images differ in shape.
    """
    folder = cache / "arrays" / version.info.digest
    if not _intact(folder):
        _build(version, folder)
    manifest = version.manifest
    rows = {s.id: i for i, s in enumerate(manifest)}
    return SetArrays(name, version.info.digest, folder, manifest, rows)


def load_images(folder: Path) -> UInt8:
    """Map the images of a cached set into memory, read only."""
    images: UInt8 = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images


def _intact(folder: Path) -> bool:
    try:
        recorded = json.loads((folder / "arrays.json").read_text())
        return all(digest_file(folder / f) == d for f, d in recorded.items())
    except (OSError, ValueError, AttributeError):
        return False


def _build(version: Version, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        with disk_errors(folder):
            temporary.mkdir(parents=True)
            _write_images(version, temporary / "images.npy")
        np.save(temporary / "affect.npy", _affect(version.manifest), allow_pickle=False)
        write_json(
            temporary / "arrays.json",
            {f: digest_file(temporary / f) for f in ("images.npy", "affect.npy")},
        )
        shutil.rmtree(folder, ignore_errors=True)
        try:
            temporary.replace(folder)
        except OSError:
            if not _intact(folder):  # somebody else was faster, which is fine
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_images(version: Version, path: Path) -> None:
    """Write the images one by one: a full disk is an error here, under a memory map a crash."""
    shape: tuple[int, ...] | None = None
    with path.open("wb") as file:
        for item in version.items():
            image = decode(item.image, name=item.sample.id, limits=STORED)
            if shape is None:
                shape = image.shape
                header = {"descr": "|u1", "fortran_order": False}
                np.lib.format.write_array_header_1_0(
                    file, {**header, "shape": (len(version.manifest), *shape)}
                )
            if image.shape != shape:
                raise Invalid(
                    "UNEQUAL_SIZES",
                    f"{item.sample.id} is {image.shape}, others are {shape}",
                    hint="preprocess the set again",
                )
            file.write(image.tobytes())
    if shape is None:
        raise Invalid(
            "EMPTY_SET",
            f"{version.info.name} has no images",
            hint="ingest and preprocess it again",
        )


def _affect(manifest: Manifest) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    known = [
        (np.nan, np.nan) if s.valence is None or s.arousal is None else (s.valence, s.arousal)
        for s in manifest
    ]
    return np.asarray(known, dtype=np.float32).reshape(len(known), 2)
