"""The tables of the job book, and how a job becomes a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    create_engine,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from mien.adapters.catalogue.sqlite_rules import obey
from mien.core.jobs import Failure, Job

META = MetaData()
JOBS = Table(
    "jobs",
    META,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),
    Column("spec", Text, nullable=False),
    Column("parent", String(200), nullable=False),
    Column("request_id", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("done", Float, nullable=False, default=0.0),
    Column("total", Float, nullable=False, default=0.0),
    Column("unit", String(40), nullable=False, default=""),
    Column("message", Text, nullable=False, default=""),
    Column("metrics", Text, nullable=False, default="{}"),
    Column("failure", Text, nullable=False, default=""),
    Column("result", Text, nullable=False, default="{}"),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("tries", Integer, nullable=False, default=0),
    Column("revision", Integer, nullable=False, default=1),
    Column("owner", String(200), nullable=False, default=""),
    Column("lease_until", Float, nullable=False, default=0.0),
    Index("jobs_by_state", "state", "kind"),
)
CHILDREN = Table(
    "job_children",
    META,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("parent", String(200), nullable=False),
    Column("child", String(200), nullable=False),
    Index("child_of", "parent", "child", unique=True),
    Index("parent_of", "child"),
)
REQUESTS = Table(
    "job_requests",
    META,
    Column("request_id", String(200), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("spec", Text, nullable=False),
)
_BUSY_MS = 60_000
_JSON = ("spec", "metrics", "result")
_TIMES = ("created", "started", "ended")


def open_tables(url: str) -> Engine:
    """Connect to a database and make the tables where they are missing.

    On SQLite a killed process loses nothing; a power cut may lose the last moments, and asking
    again is safe then (``request_id``).
    """
    engine = create_engine(url, pool_pre_ping=True)
    if make_url(url).get_backend_name() == "sqlite":
        file = make_url(url).database
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        obey(engine, synchronous="NORMAL", busy_ms=_BUSY_MS)
    try:
        META.create_all(engine)
    except (IntegrityError, ProgrammingError):  # another process was making them
        META.create_all(engine)
    return engine


def job_of(row: RowMapping, children: tuple[str, ...] = ()) -> Job:
    """Read a row of ``JOBS``."""
    values: dict[str, Any] = {k: row[k] for k in Job.__dataclass_fields__ if k != "children"}
    values |= {k: json.loads(row[k]) for k in _JSON}
    values |= {k: None if row[k] is None else datetime.fromtimestamp(row[k], UTC) for k in _TIMES}
    values["failure"] = Failure(**json.loads(row["failure"])) if row["failure"] else None
    return Job(**values, children=children)


def columns_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn fields of a job into column values."""
    values = dict(fields)
    for name in _JSON:
        if name in values:
            values[name] = text_of(values[name])
    for name in _TIMES:
        if isinstance(values.get(name), datetime):
            values[name] = values[name].timestamp()
    if "failure" in values:
        failure: Failure | None = values["failure"]
        values["failure"] = "" if failure is None else text_of(asdict(failure))
    return values


def text_of(value: Any) -> str:
    """Write plain values as JSON, keys sorted: equal values are equal text."""
    return json.dumps(value, sort_keys=True)
