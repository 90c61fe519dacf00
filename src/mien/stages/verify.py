"""Read a dataset version completely and compare every byte with its digest."""

from __future__ import annotations

from pathlib import Path

from mien.core.manifest import VersionInfo
from mien.registry.read import open_version


def run(folder: Path) -> VersionInfo:
    """Verify the version in a folder and return what it is.

    Raises:
        NotFound: when there is no version; Corrupt naming the first bad item.
    """
    version = open_version(folder)
    version.verify()
    return version.info
