"""Start MLflow's server on this machine only, and end all of it again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mien.core.errors import Invalid, Unavailable, WrongState

START_S = 90.0
STOP_S = 5.0
# The server otherwise starts a job runner and seven consumers of 230 MB each, some of which
# outlive it.
LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        port: on 127.0.0.1.
        process: leader of its process group.
    """

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where a browser or tracker finds it."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> int:
        """Wait until it ends; returns its exit code."""
        return self.process.wait()


@contextmanager
def serve(
    uri: str, *, port: int = 0, log_file: Path | None = None, artifacts: Path | None = None
) -> Iterator[Server]:
    """Serve a tracking database until the block ends.

    Args:
        uri: of the database.
        port: loopback port, 0 for a free one.
        log_file: for its output; thrown away without.
        artifacts: folder for the artefacts of clients that track through it; beside a SQLite
            file by default.

    Raises:
        Invalid: ``UI_NEEDS_DATABASE`` for a server's address or ``none``.
        WrongState: ``PORT_IN_USE``.
        Unavailable: ``UI_DID_NOT_START``.
    """
    if uri == "none" or uri.startswith(("http://", "https://")):
        raise Invalid(
            "UI_NEEDS_DATABASE",
            f"MIEN_TRACKING_URI is {uri!r}, not a database",
            hint="open a server's address in the browser" if uri != "none" else "unset it",
        )
    port = _free_port(port)
    with (log_file or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            server_command(uri, port, artifacts),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **LEAN},
            start_new_session=True,
        )
    try:
        _wait_ready(process, port)
        yield Server(port, process)
    finally:
        _stop(process)


def server_command(uri: str, port: int, artifacts: Path | None = None) -> list[str]:
    """Return what starts a server on a loopback port; its environment needs ``LEAN`` as well.

    Args:
        uri: of the database.
        port: on loopback.
        artifacts: see ``serve``.
    """
    if artifacts is None and uri.startswith("sqlite:///"):
        artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    return command + (["--artifacts-destination", str(artifacts)] if artifacts else [])


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise WrongState(
                "PORT_IN_USE", f"port {port} is in use", hint="choose another with --port"
            ) from None
        return int(probe.getsockname()[1])


def _wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if _healthy(port):
            return
        time.sleep(0.2)
    raise Unavailable(
        "UI_DID_NOT_START",
        f"the tracking UI did not answer on port {port} within {START_S:g} s",
        hint="run `mien doctor`; the database may be damaged or of another MLflow release",
    )


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, children that ignore SIGTERM too."""
    for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def reachable(uri: str, timeout_s: float = 3.0) -> str:
    """Say why a tracking address cannot be used, "" when it can; changes nothing there.

    A SQLite file that does not exist yet is fine when it can be made.
    """
    try:
        if uri.startswith("sqlite:///"):
            return _sqlite_problem(Path(uri.removeprefix("sqlite:///")))
        parts = urlsplit(uri)
        port = parts.port or {"https": 443, "postgresql": 5432, "mysql": 3306}.get(parts.scheme, 80)
        with socket.create_connection((parts.hostname or "localhost", port), timeout_s):
            return ""
    except (OSError, ValueError, sqlite3.Error) as error:
        return str(error)


def _sqlite_problem(file: Path) -> str:
    if not file.exists():
        existing = next(p for p in file.parents if p.exists())
        return "" if os.access(existing, os.W_OK) else f"{existing} cannot be written to"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=rw", uri=True)) as database:
        found = database.execute("select count(*) from sqlite_master where name = 'runs'")
        return "" if found.fetchone()[0] else "it is not a tracking database"
