"""The tracking server's entry point: what it refuses, and that it serves what the manifests ask."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from tests.contract.stores import bucket_url, object_store, postgres, postgres_url
from tests.images.dockerfile import FILES, ROOT, read
from tests.images.steps import built

ENTRY = ROOT / "mlflow" / "entrypoint.sh"
BIN = Path(sys.executable).parent


def environment(**given):
    """What the image sets, and what is given; PATH finds this environment's MLflow."""
    image = {k: v for k, v in read(FILES[1])[-1].environment().items() if k.startswith("MLFLOW")}
    aws = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": "/tmp", **image, **aws, **given}


def run(*args, **given):
    """Run it to its end."""
    return subprocess.run(
        [ENTRY, *args], env=environment(**given), capture_output=True, text=True, check=False
    )


def test_without_its_file_it_says_what_to_do(tmp_path):
    """Not set, not there, empty, no place for artefacts: each has its own words and exit code 2."""
    empty, url = tmp_path / "empty", tmp_path / "url"
    empty.write_text("")
    url.write_text("sqlite:///x.db\n")
    cases = [
        ({}, "MIEN_MLFLOW_BACKEND_FILE is not set"),
        ({"MIEN_MLFLOW_BACKEND_FILE": str(tmp_path / "none")}, "cannot be read"),
        (
            {"MIEN_MLFLOW_BACKEND_FILE": str(empty), "MIEN_MLFLOW_ARTIFACTS": "s3://a/b"},
            "is empty",
        ),
        ({"MIEN_MLFLOW_BACKEND_FILE": str(url)}, "MIEN_MLFLOW_ARTIFACTS is not set"),
    ]
    for given, words in cases:
        done = run(**given)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 2


def test_the_database_is_handed_on_out_of_sight(tmp_path):
    """The address, with its driver put right, reaches the server by environment, never by argv."""
    fake = tmp_path / "mlflow"
    fake.write_text(
        '#!/bin/sh\necho "$MLFLOW_BACKEND_STORE_URI|$MLFLOW_ARTIFACTS_DESTINATION|$*"\n'
    )
    fake.chmod(0o755)
    file = tmp_path / "url"
    for written, read_ in [
        ("postgresql://u:p@h/d\n", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("sqlite:////x/y.db", "sqlite:////x/y.db"),
    ]:
        file.write_text(written)
        done = run(
            *("--port", "5000"),
            MIEN_MLFLOW_BACKEND_FILE=str(file),
            MIEN_MLFLOW_ARTIFACTS="s3://bucket/prefix",
            PATH=f"{tmp_path}:/usr/bin:/bin",
        )
        assert done.stdout == f"{read_}|s3://bucket/prefix|server --port 5000\n"


def test_the_probe_tells_dead_from_alive():
    """Nobody listens: it fails."""
    assert run("probe", MIEN_MLFLOW_PORT=str(free_port())).returncode != 0


def free_port():
    """A port that nobody has."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(port, host):
    """Ask for the experiments as somebody who knows the server by this name; returns the status."""
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    return requests.get(address, headers={"Host": host}, timeout=60).status_code


@contextmanager
def serving(start, probe, port):
    """Start it, wait until it is well, end it with SIGTERM; it ends in 0 and leaves nobody."""
    process = start("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    try:
        until = time.monotonic() + 300
        while probe().returncode:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.5)
        yield process
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)  # its children hold the pipe: they are gone too
        assert process.returncode == 0, said
    finally:
        process.kill()


@pytest.mark.slow
def test_it_serves_from_the_image_with_postgresql_and_s3(tmp_path):
    """Built in a clean folder, started as its user: runs in PostgreSQL, artefacts in S3."""
    import mlflow

    with postgres() as sockets, object_store(), built(FILES[1]) as image:
        took = ", ".join(f"{s:.0f} s" for s in image.took_s.values())
        sys.stdout.write(f"\nmlflow: built in {took}, {image.size_mb():.0f} MB\n")
        bucket = bucket_url()
        Path(sockets).chmod(0o755)  # the image's user gets to the socket
        file = image.root / "tmp" / "url"
        # As people write it, without the driver.
        file.write_text(postgres_url(sockets).replace("+psycopg", ""))
        port = free_port()
        given = environment(
            MIEN_MLFLOW_BACKEND_FILE=str(file),
            MIEN_MLFLOW_ARTIFACTS=bucket,
            MIEN_MLFLOW_PORT=str(port),
            MLFLOW_SERVER_ALLOWED_HOSTS="mlflow,mlflow:*,localhost:*,127.0.0.1:*",
        )
        given.pop("PATH"), given.pop("HOME")

        def start(*args):
            return image.start(*args, **given)

        with serving(start, lambda: image.healthy(**given), port) as process:
            assert ask(port, "mlflow:5000") == 200
            assert ask(port, "elsewhere:5000") == 403
            line = Path(f"/proc/{process.pid}/cmdline").read_text()
            assert "postgresql" not in line
            client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
            run_id = client.create_run(client.create_experiment("images")).info.run_id
            client.log_metric(run_id, "accuracy", 0.5)
            client.log_text(run_id, "hello", "note.txt")
            assert client.get_run(run_id).data.metrics == {"accuracy": 0.5}
            import s3fs

            kept = s3fs.S3FileSystem().find(bucket)
            assert [k for k in kept if k.endswith("/note.txt")]
