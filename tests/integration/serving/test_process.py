"""The serving service as a process: what it imports, that it starts, serves and ends whole."""

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

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "mlflow", "pandas", "pyarrow", "sklearn", "scipy", "cv2", "onnxruntime")


def test_the_service_imports_nothing_heavy_before_it_has_a_model():
    """It starts at once and stays small."""
    code = (
        f"import sys, services.serving.__main__;print(*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_it_serves_the_registrys_champion_and_ends_on_sigterm(registered, tmp_path):
    """Started beside a registry that names a champion, with models in its own process."""
    registered.move("expression", "champion", "2", expected=None)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "MIEN_TRITON": "none",
        "MIEN_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MIEN_SERVER_DATA": str(tmp_path / "server"),
    }
    command = [sys.executable, "-m", "services.serving"]
    flags = ["--address", "127.0.0.1:0", "--metrics-address", "none"]
    with subprocess.Popen(
        [*command, *flags], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if line.startswith("ready"))
            with open_channel(said.split()[2], Settings()) as channel:
                client = ServingClient(channel)
                found = client.recognise(Query(png(face(1))))
                assert found.lineage.model_version == "2"
                with pytest.raises(MienError, match="NO_GATE"):
                    client.promote("expression/1")
            second = subprocess.run(
                [*command, *flags],
                env=env,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert second.returncode == 2
            assert "SERVING_RUNS" in second.stderr
        finally:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            process.kill()
        assert process.returncode == 0
