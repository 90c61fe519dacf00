"""The tables of the catalogue, and what goes wrong with a database in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from mien.adapters.catalogue.sqlite_rules import obey
from mien.core.errors import Conflict, Corrupt, Exhausted, Invalid, Unavailable

META = MetaData()
# One row a distinct content; `info` is its version.json as JSON, under the name it first had.
CONTENTS = Table(
    "registry_contents",
    META,
    Column("digest", String(64), primary_key=True),
    Column("location", Text, nullable=False),
    Column("info", Text, nullable=False),
)
# The history: one row each time a version became the latest of a name.
VERSIONS = Table(
    "registry_versions",
    META,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Index("registry_versions_of_name", "name", "sequence"),
    Index("registry_versions_of_digest", "digest", "sequence"),
)
EDGES = Table(
    "registry_edges",
    META,
    Column("child", String(64), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("parent", Text, nullable=False),
    Index("registry_edges_of_parent", "parent"),
)
ALIASES = Table(
    "registry_aliases",
    META,
    Column("name", String(100), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("updated", Float, nullable=False),
)
REQUESTS = Table(
    "registry_requests",
    META,
    Column("request_id", String(200), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)
# Its one row is locked by whoever writes: one writer at a time, so numbers have no gaps.
HEAD = Table(
    "registry_head",
    META,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("format", Integer, nullable=False),
)
FORMAT = 1
_LOCK_KEY = 0x6D69656E  # "mien": of PostgreSQL's advisory lock while tables are made
_BUSY_MS = 30_000
_LOCKED = ("55P03", "40001", "40P01")  # PostgreSQL: lock not available, serialisation, deadlock


def open_tables(url: str) -> Engine:
    """Connect to a database; make the tables where they are missing.

    On SQLite every commit is brought to the disk: what was acknowledged survives a power cut.

    Args:
        url: SQLAlchemy's: ``sqlite:///<file>``, ``postgresql+psycopg://user@host/database``.

    Raises:
        Invalid: ``DATABASE_URL``; ``CATALOGUE_FORMAT`` for one of a newer release.
        Unavailable: ``DATABASE_UNAVAILABLE``.
    """
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise ArgumentError("a database in memory is not shared by threads")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, pool_pre_ping=not sqlite, pool_size=16, max_overflow=64)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise Invalid(
            "DATABASE_URL",
            f"the address of the database cannot be used: {type(error).__name__}",
            hint="sqlite:///<file> or postgresql+psycopg://user@host/database (needs psycopg)",
        ) from None
    if sqlite:
        obey(engine, synchronous="FULL", busy_ms=_BUSY_MS)
    else:
        event.listen(engine, "begin", _begin_postgres)
    with writing(engine) as connection:
        if not sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))
        META.create_all(connection)
        found = connection.execute(select(HEAD.c.format)).scalar()
        if found is None:
            connection.execute(insert(HEAD).values(id=1, sequence=0, format=FORMAT))
        elif found > FORMAT:
            raise Invalid(
                "CATALOGUE_FORMAT",
                f"the catalogue has format {found}, this release knows {FORMAT}",
                hint="use a newer release",
            )
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Read in one transaction; errors in our words."""
    with _named(), engine.connect() as connection:
        yield connection.execution_options(reads=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Write in one transaction, whole or not at all; errors in our words."""
    with _named(), engine.begin() as connection:
        yield connection


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _in_our_words(error.orig) from error
    except SQLAlchemyError as error:
        raise _unavailable(type(error).__name__) from error


def _in_our_words(cause: BaseException | None) -> Conflict | Corrupt | Exhausted | Unavailable:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    said = str(cause).strip().partition("\n")[0]
    state = getattr(cause, "sqlstate", "") or ""
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state in _LOCKED:
        return Conflict(
            "REGISTRY_LOCKED",
            f"the catalogue stays locked by another process ({said})",
            hint="try again; if it lasts, see which process keeps the database open",
        )
    if code == sqlite3.SQLITE_FULL or state == "53100":
        return Exhausted(
            "DISK_FULL",
            f"no space is left for the catalogue ({said})",
            hint="free some space and try again; nothing was left half-written",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(
            "NAME_INDEX",
            f"the catalogue is damaged ({said})",
            hint="restore it from a good copy; the versions themselves are whole",
        )
    return _unavailable(said)


def _unavailable(said: str) -> Unavailable:
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        f"the catalogue's database does not answer: {said}",
        hint="see whether it runs, and try again",
        details={"retry_after_s": "2"},
    )


def _begin_postgres(connection: Connection) -> None:
    if not connection.get_execution_options().get("reads", False):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_BUSY_MS}")
