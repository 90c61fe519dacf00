"""What a project's ``dvc.lock`` asks for, object by object, and whether bytes are those.

DVC names objects by the MD5 of their bytes and folders by that of a JSON list of their files. It
does not compare what a remote delivers with the name, so we do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.errors import Corrupt, NotFound

DIR = ".dir"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataObject:
    """One object of a cache or a remote.

    Attributes:
        name: MD5 in hex; ends in ``.dir`` for the list of a folder's files.
        path: of the output, or of the file in it; for people.
    """

    name: str
    path: str

    @property
    def is_dir(self) -> bool:
        """Whether it lists a folder."""
        return self.name.endswith(DIR)

    @property
    def key(self) -> str:
        """Where it lies below the root of a cache or a remote (DVC 3)."""
        return f"files/md5/{self.name[:2]}/{self.name[2:]}"


def locked_objects(lock: Path) -> list[DataObject]:
    """Read the outputs that a ``dvc.lock`` names, sorted by path; files of folders not included.

    Raises:
        NotFound: ``NO_LOCK``. Corrupt: ``DVC_LOCK``.
    """
    import yaml

    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [o for s in stages.values() for o in s.get("outs", ()) if o.get("hash") == "md5"]
        return sorted((DataObject(o["md5"], o["path"]) for o in outs), key=lambda o: o.path)
    except FileNotFoundError:
        raise NotFound(
            "NO_LOCK", f"there is no {lock}", hint="run the pipeline first: dvc repro"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            "DVC_LOCK", f"{lock} is not what DVC writes: {error}", hint="take it from git again"
        ) from None


def files_of(listed: DataObject, text: bytes) -> Iterator[DataObject]:
    """Read the list of a folder; its files' names are hostile until compared with their bytes."""
    for entry in json.loads(text):
        yield DataObject(_name(entry), f"{listed.path}/{entry['relpath']}")


def _name(entry: Mapping[str, Any]) -> str:
    name = str(entry["md5"])
    if len(name) != 32 or not set(name) <= set("0123456789abcdef"):
        raise ValueError(f"{name!r} is no MD5")
    return name


def is_right(name: str, file: Path) -> bool:
    """Whether a file's bytes are those of this name; False when it is not there."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with file.open("rb") as data:
            while chunk := data.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == name.removesuffix(DIR)
