"""The built images in a real engine: docker or podman, after `make images`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

from mien.settings import Settings
from mien.wire.channel import open_channel
from tests.images.dockerfile import FILES, read
from tests.images.test_image_steps import ASK, free_port

pytestmark = pytest.mark.slow
# As the manifests run them: nothing of the root can be written to, nothing can be gained.
RESTRICTED = (
    *("--read-only", "--tmpfs", "/tmp:rw,mode=1777"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)


def call(*command):
    """Run a command; returns what it ended with."""
    return subprocess.run([*command], capture_output=True, text=True, check=False)


def engine_of(image):
    """The engine that has an image, or a skipped test that says what is missing."""
    for name in ("docker", "podman"):
        if shutil.which(name) and call(name, "info").returncode == 0:
            if call(name, "image", "inspect", image).returncode == 0:
                return name
            pytest.skip(f"SKIPPED {name}: there is no image {image}; run: make images")
    pytest.skip("SKIPPED docker, podman: no container engine answers")


@contextmanager
def running(engine, image, *args, flags=(), **environ):
    """Run a container on the host's network; yields its id, and ends it with SIGTERM, in 0."""
    given = [x for k, v in environ.items() for x in ("--env", f"{k}={v}")]
    # HEALTHCHECK is run here and not by the engine: podman's needs systemd, and neither tells when.
    flags = ("--detach", "--no-healthcheck", "--network", "host", *RESTRICTED, *flags, *given)
    started = call(engine, "run", *flags, image, *args)
    assert started.returncode == 0, started.stderr
    name = started.stdout.split()[-1]
    try:
        yield name
        call(engine, "stop", "--time", "100", name)
        state = json.loads(call(engine, "inspect", name).stdout)[0]["State"]
        assert state["ExitCode"] == 0, call(engine, "logs", name)
    finally:
        call(engine, "rm", "--force", name)


def wait_healthy(engine, name, stage):
    """Run HEALTHCHECK in the container until it is well."""
    until = time.monotonic() + 300
    while (found := call(engine, "exec", name, *stage.command("HEALTHCHECK"))).returncode:
        assert time.monotonic() < until, found.stderr
        time.sleep(0.5)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)
def test_the_image_is_what_its_dockerfile_says(path):
    """User, entry point, signal, labels: nothing was lost on the way."""
    image = f"mien-{path.parent.name}"
    stage = read(path)[-1]
    config = json.loads(call(engine_of(image), "image", "inspect", image).stdout)[0]["Config"]
    assert config["User"] == stage.last("USER")
    assert config["Entrypoint"] == stage.command("ENTRYPOINT")
    assert config["WorkingDir"] == stage.last("WORKDIR")
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert len(config["Labels"]["org.opencontainers.image.revision"]) == 40
    assert f"PATH={stage.environment()['PATH']}" in config["Env"]


@pytest.mark.parametrize("name", ASK)
def test_a_container_serves_and_drains(name):
    """Restricted as in the manifests: it becomes healthy, answers, and ends in 0 when stopped."""
    engine, stage = engine_of("mien-services"), read(FILES[0])[-1]
    address = f"127.0.0.1:{free_port()}"
    given = {
        "MIEN_SERVER_ADDRESS": address,
        "MIEN_SERVER_METRICS_ADDRESS": "none",
        "MIEN_SERVER_DATA": "/tmp/server",
        "MIEN_CACHE": "/tmp/cache",
        "MIEN_SPOOL": "/tmp/spool",
        "MIEN_TRACKING_URI": "sqlite:////tmp/mlflow.db",
        "MIEN_TRITON": "none",
    }
    with running(engine, "mien-services", name, **given) as container:
        wait_healthy(engine, container, stage)
        assert call(engine, "exec", container, "id", "-u").stdout.strip() == "10001"
        assert call(engine, "exec", container, "touch", "/opt/mien/x").returncode != 0
        with open_channel(address, Settings()) as channel:
            ASK[name](channel)


def test_the_tracking_server_runs_as_a_container(tmp_path):
    """With its database's address in a file that is mounted."""
    engine, stage = engine_of("mien-mlflow"), read(FILES[1])[-1]
    port = str(free_port())
    given = {"MIEN_MLFLOW_BACKEND_FILE": "/run/secrets/mien/url"}
    given |= {"MIEN_MLFLOW_ARTIFACTS": "/tmp/artefacts"}
    refused = call(engine, "run", "--rm", *RESTRICTED, "mien-mlflow")
    assert refused.returncode == 2
    assert "MIEN_MLFLOW_BACKEND_FILE is not set" in refused.stderr
    file = tmp_path / "url"
    file.write_text("sqlite:////tmp/mlflow.db\n")
    file.chmod(0o644)
    args = ("--host", "127.0.0.1", "--port", port, "--workers", "1")
    mounted = ("--volume", f"{file}:/run/secrets/mien/url:ro")
    given |= {"MIEN_MLFLOW_PORT": port}
    with running(engine, "mien-mlflow", *args, flags=mounted, **given) as container:
        wait_healthy(engine, container, stage)
