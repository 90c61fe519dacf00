"""How our databases on SQLite behave, whoever keeps them."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, Engine, event


def obey(engine: Engine, *, synchronous: Literal["FULL", "NORMAL"], busy_ms: int) -> None:
    """Set an engine's connections and transactions up.

    WAL mode, so that readers do not wait for the writer. Writers announce themselves at once
    (BEGIN IMMEDIATE): one that began by reading could not become a writer once another was
    faster. Readers say so by the execution option ``reads``.

    Args:
        engine: on SQLite; not connected yet.
        synchronous: FULL: what was committed survives a power cut; NORMAL: a killed process.
        busy_ms: how long a writer waits for another.
    """

    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own idea of transactions is off
        settings = (f"busy_timeout={busy_ms}", "journal_mode=WAL", f"synchronous={synchronous}")
        for pragma in settings:
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
