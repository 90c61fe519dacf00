"""A registry of versions in one folder: content by digest, names beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from mien.core.errors import Conflict, Corrupt, Invalid, NotFound
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item
from mien.registry.layout import read_info
from mien.registry.read import Version, open_version
from mien.registry.staging import disk_errors, staged, sync
from mien.registry.write import Duplicates, fill, publish

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOCK_TIMEOUT_S = 60.0  # a name is recorded in milliseconds


class FolderRegistry:
    """Immutable versions under ``root/versions/<digest>``, found by name or digest.

    ``root/names.jsonl`` records, oldest first, which digest was created under which name; it
    only grows. Threads and processes may share a root.
    """

    def __init__(self, root: Path, *, duplicates: Duplicates = "error") -> None:
        self.root = root
        self._duplicates: Duplicates = duplicates

    def create(
        self,
        name: str,
        items: Iterable[Item],
        *,
        provenance: Provenance,
        licences: Mapping[str, Licence],
    ) -> VersionInfo:
        """Freeze items under a name; the same content again is the same version.

        Content that is there already keeps the provenance it first came with.

        Raises:
            Invalid: ``VERSION_NAME``, and what ``write_version`` raises.
            AlreadyExists: ``OTHER_LICENCES`` for known content with other rights.
            Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
            Conflict: ``REGISTRY_LOCKED`` when the index stays locked.
        """
        if not _NAME.fullmatch(name) or _DIGEST.fullmatch(name):
            raise Invalid(
                "VERSION_NAME",
                f"{name!r} is no name for a version",
                hint="1 to 100 letters, digits, dots, dashes, underscores; no digest",
            )
        # All writers of a root stage beside the same name, so each removes what killed ones left.
        with staged(self.root / "versions" / "new") as temporary:
            info = fill(
                items,
                temporary,
                target=self.root,
                name=name,
                provenance=provenance,
                licences=licences,
                shard_rows=4096,
                duplicates=self._duplicates,
            )
            there = publish(temporary, self._folder(info.digest), info, replace=False)
        self._record(name, there.digest)
        return replace(there, name=name)

    def get(self, reference: str) -> VersionInfo:
        """Find a version by name (its latest) or digest.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: when it is damaged.
        """
        return self.open(reference).info

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first: all, or those created under a name.

        A version is listed each time it became the latest of a name.
        """
        return [
            replace(read_info(self._folder(digest))[0], name=called)
            for called, digest in self._names()
            if name in (None, called)
        ]

    def items(self, reference: str) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified; ``Corrupt`` names a bad item."""
        return self.open(reference).items()

    def open(self, reference: str) -> Version:
        """Open a version by name (its latest) or digest, to read some of it.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: when it is damaged.
        """
        name, digest = self._resolve(reference)
        version = open_version(self._folder(digest))
        if version.info.digest != digest:
            raise Corrupt(
                "VERSION_FILE",
                f"{version.folder} holds another version, {version.info.digest}",
                hint="restore it from a good copy",
            )
        return Version(version.folder, replace(version.info, name=name), version.manifest_digest)

    def _resolve(self, reference: str) -> tuple[str, str]:
        known = self._names()
        for name, digest in reversed(known):
            if reference in (name, digest):
                return name, digest
        names = sorted({n for n, _ in known})
        raise NotFound(
            "UNKNOWN_VERSION",
            f"no version is called {reference!r}",
            hint=f"known: {', '.join(names[:20])}" if names else "the registry is empty",
            details={"reference": reference},
        )

    def _folder(self, digest: str) -> Path:
        return self.root / "versions" / digest

    def _names(self) -> list[tuple[str, str]]:
        path = self.root / "names.jsonl"
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        try:
            rows = [orjson.loads(line) for line in lines]
            found = [(str(r["name"]), str(r["digest"])) for r in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt(
                "NAME_INDEX", f"{path} was altered: {error}", hint="restore it from a good copy"
            ) from None
        for name, digest in found:
            if not _DIGEST.fullmatch(digest) or not _NAME.fullmatch(name):
                raise Corrupt(
                    "NAME_INDEX",
                    f"{path} was altered: {name!r} → {digest!r}",
                    hint="restore the index from a good copy; the versions themselves are whole",
                )
        return found

    def _record(self, name: str, digest: str) -> None:
        """Add a line to the index unless it is the name's latest; whole or not at all."""
        with self._locked(), disk_errors(self.root):
            known = self._names()
            if next((d for n, d in reversed(known) if n == name), None) == digest:
                return
            path = self.root / "names.jsonl"
            created = datetime.now(UTC).isoformat(timespec="seconds")
            line = json.dumps({"name": name, "digest": digest, "created": created})
            before = path.read_bytes() if path.exists() else b""
            temporary = path.with_name(".names.jsonl.tmp")
            temporary.write_bytes(before + line.encode() + b"\n")
            sync(temporary)
            temporary.replace(path)
            sync(self.root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with FileLock(self.root / ".lock", timeout=_LOCK_TIMEOUT_S):
                yield
        except Timeout:
            raise Conflict(
                "REGISTRY_LOCKED",
                f"the index of {self.root} stays locked by another process",
                hint="try again; if none is running, see who holds its .lock file",
            ) from None
