"""The serving service as a process that is told of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.core.errors import MienError
from mien.core.serving import Query
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.serving_client import ServingClient
from tests.contract.test_serving_contract import face, png
from tests.integration.serving.rollout_stand_in import Rollout, TritonLike
from tests.integration.serving.test_rollout import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def rollout(tmp_path):
    """A Deployment of one replica that is always at the same address."""

    def make(repository, address, _):
        return TritonLike(repository, f"127.0.0.1:{address.rpartition(':')[2]}")

    made = Rollout(tmp_path, replicas=1, make=make)
    yield made
    made.close()


def test_it_brings_a_new_cluster_to_the_registrys_champion(rollout, registered, tmp_path):
    """By the settings of the manifests alone: the empty repository, the rollout, the answers."""
    registered.move("expression", "champion", "2", expected=None)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "KUBECONFIG": str(rollout.kubeconfig),
        "MIEN_TRITON": f"127.0.0.1:{rollout.port}",
        "MIEN_TRITON_ROLLOUT": "mien/triton",
        "MIEN_TRITON_MODELS": str(tmp_path / "models"),
        "MIEN_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MIEN_SERVER_DATA": str(tmp_path / "server"),
    }
    command = [sys.executable, "-m", "services.serving", "--address", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--metrics-address", "none"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if line.startswith("ready"))
            with open_channel(said.split()[2], Settings()) as channel:
                client = ServingClient(channel)
                until(lambda: answered(client) == "2")
                until(lambda: not rollout.journal and rollout.settled())
                until(lambda: client.model("expression@champion").loaded)
                with pytest.raises(MienError, match="NO_GATE"):
                    client.promote("expression/1")
        finally:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            process.kill()
        assert process.returncode == 0


def answered(client):
    """The version that answers, or why none does."""
    try:
        return client.recognise(Query(png(face(1)))).lineage.model_version
    except MienError as error:
        return error.reason


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"MIEN_TRITON": "none", "MIEN_TRITON_ROLLOUT": "mien/triton"}, "MIEN_TRITON_MODELS"),
        ({"MIEN_TRITON_ROLLOUT": "triton"}, "MIEN_TRITON_ROLLOUT"),
    ],
)
def test_half_a_rollout_is_refused(given, told, monkeypatch, tmp_path):
    """What is missing is said before anything starts."""
    from mien.settings import load_settings

    for key, value in given.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(MienError, match="SETTINGS") as refused:
        load_settings(tmp_path)
    assert told in str(refused.value.details)
