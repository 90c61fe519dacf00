"""What a version's folder looks like, and its ``version.json``.

::

    version.json            name, digest, provenance, licences, blake3 of every other file
    manifest.parquet        one row a sample, sorted by id; where its image lies
    shards/00000.parquet …  image {bytes, path}, label, and all fields of the sample

Shards keep the order in which items arrived; the manifest is sorted, and the version's digest is
the manifest's: the same content in another order of arrival is the same version. The manifest
gives shard, row, byte offset and size of every image: encoded images do not compress further, so
they lie in the shards as they are, and any of them is one read away.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from mien.core.digest import canonical_json, digest_of
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Sample

SCHEMA = 1
MANIFEST = "manifest.parquet"
INFO = "version.json"
SHARDS = "shards"
_SHARD_NAME = re.compile(r"[0-9]{5,9}\.parquet")
_RESTORE = "restore it from a good copy, or make the version again"


def shard_name(number: int) -> str:
    """Name the n-th shard."""
    return f"{number:05d}.parquet"


def corrupt(reason: str, message: str, sample: Sample | None = None) -> Corrupt:
    """Say that stored bytes are not what was written."""
    details = {} if sample is None else {"item": sample.id}
    return Corrupt(reason, message, hint=_RESTORE, details=details)


def plain_info(info: VersionInfo) -> VersionInfo:
    """Return the info as it will be read back: provenance as plain JSON values.

    Raises:
        Invalid: ``PROVENANCE_NOT_PLAIN``.
    """
    try:
        return _parse(orjson.loads(canonical_json(asdict(info))))
    except (TypeError, ValueError) as error:
        raise Invalid(
            "PROVENANCE_NOT_PLAIN",
            f"the provenance of {info.name!r} cannot be written as JSON: {error}",
            hint="use numbers, text, lists and mappings only",
        ) from None


def write_info(info: VersionInfo, manifest_digest: str, folder: Path) -> None:
    """Write ``version.json`` with a checksum over itself."""
    plain = {**asdict(info), "manifest": manifest_digest}
    plain["checksum"] = digest_of(plain)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / INFO).write_text(text + "\n", encoding="utf-8")


def read_info(folder: Path) -> tuple[VersionInfo, str]:
    """Read ``version.json``; also returns the digest of the manifest's file.

    Raises:
        NotFound: ``VERSION_MISSING``.
        Corrupt: ``VERSION_FILE`` when it is damaged, or names files outside the version.
        Invalid: ``VERSION_SCHEMA`` for a newer format.
    """
    path = folder / INFO
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise corrupt("VERSION_FILE", f"{path} is a link or no file, which it must be")
        plain = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            "VERSION_MISSING",
            f"{folder} holds no dataset version",
            hint="`mien ingest` makes one",
            details={"folder": str(folder)},
        ) from None
    except (OSError, ValueError) as error:
        raise corrupt("VERSION_FILE", f"{path} cannot be read: {error}") from None
    return _checked(plain, path)


def _checked(plain: Any, path: Path) -> tuple[VersionInfo, str]:
    if not isinstance(plain, dict):
        raise corrupt("VERSION_FILE", f"{path} is no JSON object")
    schema = plain.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Invalid(
            "VERSION_SCHEMA",
            f"{path} has format {schema}, this release reads {SCHEMA}",
            hint="use a newer release",
        )
    checksum = plain.pop("checksum", None)
    if checksum != digest_of(plain):
        raise corrupt("VERSION_FILE", f"{path} was altered")
    try:
        manifest_digest = str(plain.pop("manifest"))
        info = _parse(plain)
    except (KeyError, TypeError, AttributeError) as error:
        raise corrupt("VERSION_FILE", f"{path} lacks what a version has: {error}") from None
    for shard in info.shards:
        if not _SHARD_NAME.fullmatch(shard):
            raise corrupt("VERSION_FILE", f"{path} names {shard!r}, which is no shard")
    return info, manifest_digest


def _parse(plain: Mapping[str, Any]) -> VersionInfo:
    fields = dict(plain)
    fields["provenance"] = Provenance(**fields["provenance"])
    fields["licences"] = {k: Licence(**v) for k, v in fields["licences"].items()}
    return VersionInfo(**fields)


def open_inside(folder: Path, *parts: str) -> int:
    """Open a plain file of a version for reading; links are refused, they may lead anywhere.

    Returns:
        A file descriptor; the caller closes it.

    Raises:
        Corrupt: ``CORRUPT_SHARD`` or ``CORRUPT_MANIFEST`` when it is missing or no plain file.
    """
    path = folder.joinpath(*parts)
    reason = "CORRUPT_MANIFEST" if parts == (MANIFEST,) else "CORRUPT_SHARD"
    try:
        if path.parent != folder and path.parent.is_symlink():
            raise corrupt(reason, f"{path.parent} is a link, which a version must not hold")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise corrupt(reason, f"{path} is missing") from None
    except OSError as error:
        what = "is a link, which a version must not hold" if path.is_symlink() else error.strerror
        raise corrupt(reason, f"{path} {what}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise corrupt(reason, f"{path} is no file")
    return handle
