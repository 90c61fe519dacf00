"""The history, aliases and known requests of a registry in a folder: two small files, one lock.

::

    names.jsonl    one line an entry, oldest first: name, digest, created, requests (if any)
    aliases.json   [{name, alias, digest, updated}, …], when there are any

Each is rewritten beside its place and moved there, under the lock: whole or as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from mien.core.catalogue import NO_ALIAS, Alias, alias_moved, check_name, is_digest
from mien.core.errors import AlreadyExists, Conflict, Corrupt, Invalid, NotFound
from mien.registry.staging import disk_errors, sync

_LOCK_TIMEOUT_S = 60.0  # a name is recorded in milliseconds


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the history.

    Attributes:
        name: registered under.
        digest: of the version.
        created: when, UTC.
        requests: ids of the requests that it answered.
    """

    name: str
    digest: str
    created: datetime
    requests: tuple[str, ...] = ()


class NameIndex:
    """Names, aliases and requests in ``root``; threads and processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def lines(self) -> list[Line]:
        """Read the history, oldest first.

        Raises:
            Corrupt: ``NAME_INDEX``.
        """
        path = self.root / "names.jsonl"
        try:
            raw = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        try:
            return [_line(orjson.loads(line)) for line in raw]
        except (ValueError, TypeError, KeyError, Invalid) as error:
            raise Corrupt(
                "NAME_INDEX",
                f"{path} was altered: {error}",
                hint="restore the index from a good copy; the versions themselves are whole",
            ) from None

    def record(self, name: str, digest: str, request_id: str) -> int:
        """Add an entry unless it is the name's latest, or the request is known; its sequence.

        Raises:
            AlreadyExists: ``REQUEST_ID_REUSED``. Conflict: ``REGISTRY_LOCKED``.
        """
        with self._locked(), disk_errors(self.root):
            lines = self.lines()
            known = _answered(lines, name, digest, request_id)
            if known:
                return known
            latest = max((i for i, line in enumerate(lines, 1) if line.name == name), default=0)
            if not latest or lines[latest - 1].digest != digest:
                lines.append(Line(name, digest, datetime.now(UTC).replace(microsecond=0)))
                latest = len(lines)
            elif not request_id:
                return latest
            if request_id:
                line = lines[latest - 1]
                lines[latest - 1] = replace(line, requests=(*line.requests, request_id))
            self._replace("names.jsonl", b"".join(map(_text, lines)))
            return latest

    def aliases(self) -> list[Alias]:
        """Read the aliases, sorted by name and alias.

        Raises:
            Corrupt: ``NAME_INDEX``.
        """
        path = self.root / "aliases.json"
        try:
            rows = orjson.loads(path.read_bytes())
            found = [
                Alias(r["name"], r["alias"], r["digest"], datetime.fromisoformat(r["updated"]))
                for r in rows
            ]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt(
                "NAME_INDEX", f"{path} was altered: {error}", hint="restore it from a good copy"
            ) from None
        return sorted(found, key=lambda a: (a.name, a.alias))

    def set_alias(self, name: str, alias: str, digest: str, expect: str) -> Alias:
        """Point an alias at a digest; compare and set.

        Raises:
            Conflict: ``ALIAS_MOVED``, ``REGISTRY_LOCKED``.
        """
        moved = Alias(name, alias, digest, datetime.now(UTC).replace(microsecond=0))
        with self._locked(), disk_errors(self.root):
            known = {(a.name, a.alias): a for a in self.aliases()}
            before = known.get((name, alias))
            found = before.digest if before else ""
            if expect and expect != (found or NO_ALIAS):
                raise alias_moved(name, alias, expect, found)
            self._write_aliases([*({**known, (name, alias): moved}).values()])
        return moved

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias.

        Raises:
            NotFound: ``UNKNOWN_ALIAS``.
        """
        with self._locked(), disk_errors(self.root):
            known = self.aliases()
            left = [a for a in known if (a.name, a.alias) != (name, alias)]
            if len(left) == len(known):
                raise unknown_alias(name, alias)
            self._write_aliases(left)

    def _write_aliases(self, aliases: Sequence[Alias]) -> None:
        plain = [
            {"name": a.name, "alias": a.alias, "digest": a.digest, "updated": a.updated.isoformat()}
            for a in aliases
        ]
        self._replace("aliases.json", orjson.dumps(plain))

    def _replace(self, file: str, content: bytes) -> None:
        temporary = self.root / f".{file}.tmp"
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(self.root / file)
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


def unknown_alias(name: str, alias: str) -> NotFound:
    """Say that there is no such alias."""
    return NotFound(
        "UNKNOWN_ALIAS",
        f"there is no alias {name}@{alias}",
        hint="list the aliases of the name",
        details={"name": name, "alias": alias},
    )


def unknown_version(reference: str, names: Sequence[str]) -> NotFound:
    """Say that a reference means nothing here."""
    return NotFound(
        "UNKNOWN_VERSION",
        f"no version is called {reference!r}",
        hint=f"known: {', '.join(names[:20])}" if names else "the registry is empty",
        details={"reference": reference},
    )


def request_reused(request_id: str, name: str, digest: str) -> AlreadyExists:
    """Say that a request of this id made something else."""
    return AlreadyExists(
        "REQUEST_ID_REUSED",
        f"the request {request_id!r} registered {digest} as {name!r} before, not this content",
        hint="give every request an id of its own",
        details={"request_id": request_id, "name": name, "digest": digest},
    )


def _answered(lines: Sequence[Line], name: str, digest: str, request_id: str) -> int:
    """Find the entry that answered a request; 0 when it is new."""
    for sequence, line in enumerate(lines, 1):
        if request_id and request_id in line.requests:
            if (line.name, line.digest) != (name, digest):
                raise request_reused(request_id, line.name, line.digest)
            return sequence
    return 0


def _line(row: Any) -> Line:
    digest = str(row["digest"])
    if not is_digest(digest):
        raise ValueError(f"{row['name']!r} → {digest!r}")
    created = row.get("created")
    return Line(
        check_name(str(row["name"])),
        digest,
        datetime.fromisoformat(created) if created else datetime.fromtimestamp(0, UTC),
        tuple(map(str, row.get("requests", ()))),
    )


def _text(line: Line) -> bytes:
    row = {"name": line.name, "digest": line.digest, "created": line.created.isoformat()}
    return orjson.dumps({**row, "requests": line.requests} if line.requests else row) + b"\n"
