"""Data sets that a retraining takes from the registry: named in the parameters by digest."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from mien.core.ports import Registry
from mien.params.project import Params
from mien.registry.write import write_version

GIVEN = "data/given"
_PLACE = re.compile(rf"{GIVEN}/([0-9a-f]{{64}})")


def resolved(registry: Registry, given: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Turn registry references into folders named by digest, so that another version is seen.

    Args:
        registry: where the data sets are.
        given: database → reference, such as ``faces@production``.

    Raises:
        NotFound: for a reference that leads nowhere.
    """
    return tuple((name, f"{GIVEN}/{registry.get(ref).digest}") for name, ref in given)


def fetch_given(root: Path, params: Params, registry: Registry) -> list[Path]:
    """Fetch those of the parameters' data sets that are not here yet; returns their folders.

    Args:
        root: of the project.
        params: that may read ``data/given/<digest>``.
        registry: where they are.

    Raises:
        NotFound: when the registry has no such version. Corrupt: when it sends another one.
    """
    found = []
    for database in params.ingest.values():
        place = _PLACE.fullmatch(str(database.root)) if database.root else None
        if place is None or (root / str(database.root)).exists():
            continue
        folder = root / str(database.root)
        beside = folder.with_name(f".{folder.name}")
        shutil.rmtree(beside, ignore_errors=True)
        info = registry.get(place[1])
        write_version(
            registry.items(place[1]),
            beside,
            name=info.name,
            provenance=info.provenance,
            licences=info.licences,
            duplicates="keep",
        )
        beside.rename(folder)
        found.append(folder)
    return found
