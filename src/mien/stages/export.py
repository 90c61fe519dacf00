"""Write a dataset version as ordinary files that other tools, and our readers, read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mien.datasets.export import export
from mien.registry.read import open_version

Format = Literal["folder", "parquet", "csv"]


def run(version: Path, out: Path, *, format: Format = "folder") -> int:  # noqa: A002
    """Export a version's folder; returns the number of images.

    Raises:
        AlreadyExists: when ``out`` exists; Corrupt when an item is damaged.
    """
    source = open_version(version)
    return export(source.items(), out, format=format, licences=source.info.licences)
