"""Real stores to test registries on: PostgreSQL and an S3 server, where this machine has them."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


def _postgres_programs() -> Path | None:
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which("initdb")
    places += [Path(found).resolve().parent] if found else []
    return max((p for p in places if (p / "initdb").exists()), default=None)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server on a socket file; yields the folder of the socket."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("SKIPPED: no PostgreSQL on this machine (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="SKIPPED: psycopg is not installed")
    as_user: dict[str, str] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            as_user = {"user": pwd.getpwnam("postgres").pw_name}
        except KeyError:
            pytest.skip("SKIPPED: PostgreSQL does not run as root and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="mien-pg-", dir="/tmp"))
    if as_user:
        shutil.chown(folder, as_user["user"])
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **as_user}
    try:
        make = [programs / "initdb", "-D", data, "-U", "mien", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run([*map(str, make), "--locale=C"], check=True, **quiet)  # type: ignore[call-overload]
        flags = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        flags += " -c max_connections=200"
        start = [programs / "pg_ctl", "-D", data, "-w", "-o", flags, "start"]
        subprocess.run(list(map(str, start)), check=True, **quiet)  # type: ignore[call-overload]
        yield str(folder)
    finally:
        stop = [programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"]
        subprocess.run(list(map(str, stop)), check=False, **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)


def postgres_url(socket: str) -> str:
    """Make an empty schema and return the address that uses it."""
    import psycopg

    schema = f"s{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(host=socket, user="mien", dbname="postgres", autocommit=True) as session:
        session.execute(f"CREATE SCHEMA {schema}")
    options = f"host={socket}&options=-csearch_path%3D{schema}"
    return f"postgresql+psycopg://mien@/postgres?{options}"


@contextmanager
def object_store() -> Iterator[str]:
    """Start an S3 server in this process; yields its address, also in the environment."""
    server_module = pytest.importorskip("moto.server", reason="SKIPPED: moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="SKIPPED: s3fs is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = f"http://{host}:{port}"
    given = {
        "AWS_ENDPOINT_URL": where,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    s3fs.S3FileSystem.clear_instance_cache()  # one that was made for another server
    try:
        yield where
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()


def bucket_url() -> str:
    """Make an empty bucket and return its address."""
    import s3fs

    bucket = f"mien-{os.getpid()}-{next(_NUMBERS)}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/registry"
