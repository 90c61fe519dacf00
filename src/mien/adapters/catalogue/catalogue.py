"""What a registry knows of its versions, in a database: history, aliases, requests, edges."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Row, Select, delete, insert, select, tuple_, update

from mien.adapters.catalogue.tables import (
    ALIASES,
    CONTENTS,
    EDGES,
    HEAD,
    REQUESTS,
    VERSIONS,
    open_tables,
    reading,
    writing,
)
from mien.core.catalogue import NO_ALIAS, Alias, Edge, Entry, alias_moved, split_reference
from mien.core.digest import canonical_json
from mien.core.errors import AlreadyExists, Invalid
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.registry.name_index import request_reused, unknown_alias, unknown_version

_MANY = 500  # values in one question


class Catalogue:
    """The history of a registry; threads, processes and machines may share the database."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_tables(url)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def record(self, name: str, info: VersionInfo, location: str, request_id: str) -> Entry:
        """Register content that lies at ``location`` under a name, in one transaction.

        What is the name's latest already, or answered this request before, is left as it is.

        Raises:
            AlreadyExists: ``REQUEST_ID_REUSED``; ``OTHER_LICENCES`` for known content with other
                rights.
            Conflict: ``REGISTRY_LOCKED``. Exhausted: ``DISK_FULL``.
            Unavailable: ``DATABASE_UNAVAILABLE``.
        """
        with writing(self._engine) as connection:
            last = connection.execute(select(HEAD.c.sequence).with_for_update()).scalar_one()
            answered = _answer_of(connection, request_id)
            if answered is not None:
                if (answered.name, answered.digest) != (name, info.digest):
                    raise request_reused(request_id, answered.name, answered.digest)
                return _entry(answered)
            _keep_content(connection, info, location)
            latest = connection.execute(_latest(name)).first()
            if latest is not None and latest.digest == info.digest:
                sequence = latest.sequence
            else:
                sequence = last + 1
                row = {"sequence": sequence, "name": name, "digest": info.digest}
                connection.execute(insert(VERSIONS).values(**row, created=time.time()))
                connection.execute(update(HEAD).values(sequence=sequence))
            if request_id:
                connection.execute(
                    insert(REQUESTS).values(request_id=request_id, sequence=sequence)
                )
            chosen = _ENTRIES.where(VERSIONS.c.sequence == sequence)
            return _entry(connection.execute(chosen).one())

    def find(self, reference: str) -> Entry:
        """Find the latest entry that a name, name@alias, name@digest or digest means.

        Raises:
            NotFound: ``UNKNOWN_VERSION``.
        """
        name, rest = split_reference(reference)
        with reading(self._engine) as connection:
            if name and rest:
                pointed = connection.execute(
                    select(ALIASES.c.digest).where(ALIASES.c.name == name, ALIASES.c.alias == rest)
                ).scalar()
                rest = pointed or rest
            chosen = _ENTRIES.order_by(VERSIONS.c.sequence.desc()).limit(1)
            chosen = chosen.where(VERSIONS.c.name == name) if name else chosen
            chosen = chosen.where(VERSIONS.c.digest == rest) if rest else chosen
            row = connection.execute(chosen).first()
            if row is not None:
                return _entry(row)
            names = connection.execute(
                select(VERSIONS.c.name).distinct().order_by(VERSIONS.c.name).limit(20)
            ).scalars()
            raise unknown_version(reference, list(names))

    def location(self, digest: str) -> str | None:
        """Find where the bytes of a content lie; None when it is not known."""
        with reading(self._engine) as connection:
            chosen = select(CONTENTS.c.location).where(CONTENTS.c.digest == digest)
            return connection.execute(chosen).scalar()

    def check_licences(self, info: VersionInfo) -> None:
        """Refuse known content under other rights; ``AlreadyExists`` ``OTHER_LICENCES``."""
        there = self.known([info.digest]).get(info.digest)
        if there is not None:
            _refuse_other_licences(there, info)

    def move(self, info: VersionInfo, location: str) -> None:
        """Record that a known content was written anew."""
        with writing(self._engine) as connection:
            connection.execute(
                update(CONTENTS)
                .where(CONTENTS.c.digest == info.digest)
                .values(location=location, info=_info_text(info))
            )

    def history(self, name: str | None, after: int, limit: int | None) -> list[Entry]:
        """List entries behind a place in the history, oldest first."""
        chosen = _ENTRIES.where(VERSIONS.c.sequence > after).order_by(VERSIONS.c.sequence)
        chosen = chosen if name is None else chosen.where(VERSIONS.c.name == name)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(chosen.limit(limit))]

    def known(self, digests: Iterable[str]) -> dict[str, VersionInfo]:
        """Find contents by digest, under the names they first had."""
        wanted = list(dict.fromkeys(digests))
        found: dict[str, VersionInfo] = {}
        with reading(self._engine) as connection:
            for start in range(0, len(wanted), _MANY):
                some = CONTENTS.c.digest.in_(wanted[start : start + _MANY])
                chosen = select(CONTENTS.c.digest, CONTENTS.c.info).where(some)
                found |= {row.digest: _info(row.info) for row in connection.execute(chosen)}
        return found

    def edges(self, digest: str, *, down: bool) -> list[Edge]:
        """List the steps from a digest to its parents, or (down) to its children."""
        end, other = (EDGES.c.parent, EDGES.c.child) if down else (EDGES.c.child, EDGES.c.role)
        chosen = select(EDGES).where(end == digest).order_by(other, EDGES.c.role)
        with reading(self._engine) as connection:
            return [Edge(r.child, r.parent, r.role) for r in connection.execute(chosen)]

    def set_alias(self, name: str, alias: str, digest: str, expect: str) -> Alias:
        """Point an alias at a digest; compare and set in one transaction.

        Raises:
            Conflict: ``ALIAS_MOVED``, ``REGISTRY_LOCKED``.
        """
        which = (ALIASES.c.name == name, ALIASES.c.alias == alias)
        now = time.time()
        with writing(self._engine) as connection:
            connection.execute(select(HEAD.c.sequence).with_for_update())
            found = connection.execute(select(ALIASES.c.digest).where(*which)).scalar() or ""
            if expect and expect != (found or NO_ALIAS):
                raise alias_moved(name, alias, expect, found)
            values = {"digest": digest, "updated": now}
            connection.execute(
                update(ALIASES).where(*which).values(**values)
                if found
                else insert(ALIASES).values(name=name, alias=alias, **values)
            )
        return Alias(name, alias, digest, _moment(now))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias.

        Raises:
            NotFound: ``UNKNOWN_ALIAS``.
        """
        which = (ALIASES.c.name == name, ALIASES.c.alias == alias)
        with writing(self._engine) as connection:
            if connection.execute(delete(ALIASES).where(*which)).rowcount == 0:
                raise unknown_alias(name, alias)

    def aliases(self, name: str | None, after: tuple[str, str], limit: int) -> list[Alias]:
        """List aliases by name and alias, behind a pair of them."""
        key = (ALIASES.c.name, ALIASES.c.alias)
        chosen = select(ALIASES).where(tuple_(*key) > tuple_(*after)).order_by(*key).limit(limit)
        chosen = chosen if name is None else chosen.where(ALIASES.c.name == name)
        with reading(self._engine) as connection:
            rows = connection.execute(chosen).all()
        return [Alias(r.name, r.alias, r.digest, _moment(r.updated)) for r in rows]

    def ping(self) -> None:
        """Ask the database something; ``Unavailable`` when it does not answer."""
        with reading(self._engine) as connection:
            connection.execute(select(HEAD.c.sequence)).scalar_one()


_ENTRIES: Select[Any] = select(
    VERSIONS.c.sequence, VERSIONS.c.name, VERSIONS.c.digest, VERSIONS.c.created, CONTENTS.c.info
).join(CONTENTS, CONTENTS.c.digest == VERSIONS.c.digest)


def _latest(name: str) -> Select[Any]:
    order = VERSIONS.c.sequence.desc()
    return select(VERSIONS).where(VERSIONS.c.name == name).order_by(order).limit(1)


def _answer_of(connection: Connection, request_id: str) -> Row[Any] | None:
    if not request_id:
        return None
    chosen = _ENTRIES.join(REQUESTS, REQUESTS.c.sequence == VERSIONS.c.sequence)
    return connection.execute(chosen.where(REQUESTS.c.request_id == request_id)).first()


def _keep_content(connection: Connection, info: VersionInfo, location: str) -> None:
    chosen = select(CONTENTS.c.info).where(CONTENTS.c.digest == info.digest)
    there = connection.execute(chosen).scalar()
    if there is None:
        row = {"digest": info.digest, "location": location, "info": _info_text(info)}
        connection.execute(insert(CONTENTS).values(**row))
        steps = [
            {"child": info.digest, "role": role, "parent": parent}
            for role, parent in info.provenance.parents.items()
        ]
        if any("\0" in step["role"] + step["parent"] for step in steps):
            raise Invalid(
                "PROVENANCE_NOT_PLAIN",
                f"the parents of {info.name!r} hold a NUL character",
                hint="roles are words and parents digests",
            )
        if steps:
            connection.execute(insert(EDGES), steps)
    else:
        _refuse_other_licences(_info(there), info)


def _refuse_other_licences(there: VersionInfo, info: VersionInfo) -> None:
    if there.licences != info.licences:
        raise AlreadyExists(
            "OTHER_LICENCES",
            f"{info.digest} is known under other licences",
            hint="correct the licences; they travel with the content",
            details={"digest": info.digest},
        )


def _entry(row: Row[Any]) -> Entry:
    info = replace(_info(row.info), name=row.name)
    return Entry(info, row.sequence, _moment(row.created))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _info_text(info: VersionInfo) -> str:
    return canonical_json(asdict(info)).decode()


def _info(value: str) -> VersionInfo:
    fields: Mapping[str, Any] = orjson.loads(value)
    licences = {source: Licence(**found) for source, found in fields["licences"].items()}
    provenance = Provenance(**fields["provenance"])
    return VersionInfo(**{**fields, "provenance": provenance, "licences": licences})
