"""A generator trained by two processes of one machine, as a Pod with two GPUs does it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mien.cli.crew import main
from tests.contract.executors import until

SMOKE = Path(__file__).resolve().parents[3] / "params" / "smoke.yaml"
THREE = ["anger", "fear", "happiness"]

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one small generator; returns how to write how long it is trained."""
    for name, value in (("TRACKING_URI", "none"), ("CACHE", str(tmp_path / "cache"))):
        monkeypatch.setenv(f"MIEN_{name}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)

    def write(kimg):
        params = yaml.safe_load(SMOKE.read_text())
        faces = {"subjects": 4, "size_px": 32, "expressions": THREE}
        small = {"width": 4, "z_dim": 8, "batch": 8, "ghost": 4, "kimg": kimg}
        params["train_generator"] = {
            "g": {
                "preset": "acgan",
                "size_px": 16,
                "channels": "rgb",
                "faces": {"database": {"reader": "demo_web", "params": faces}},
                "expressions": THREE,
                "params": small,
            }
        }
        Path("params.yaml").write_text(yaml.safe_dump(params))

    return write


@pytest.fixture
def crew():
    """Start a verb by two processes; ended with the test."""
    started = []

    def start(*verb):
        started.append(subprocess.Popen([sys.executable, "-m", "mien.cli.crew", "2", *verb]))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_two_processes_train_one_generator(project, crew, tmp_path):
    """One of them writes it; both end well."""
    project(0.064)
    assert crew("train-generator", "g").wait() == 0
    made = tmp_path / "data" / "train_generator" / "g"
    described = json.loads((made / "generator" / "generator.json").read_text())
    assert described["engine"] == "noise"
    assert len(list((tmp_path / "cache" / "generators").iterdir())) == 1


def test_asked_to_stop_they_leave_a_checkpoint_and_say_so(project, crew, tmp_path, monkeypatch):
    """SIGTERM, as a cluster sends it: both stop at the same step, the code is that of a signal."""
    project(4.0)
    told = tmp_path / "progress.json"
    monkeypatch.setenv("MIEN_PROGRESS_FILE", str(told))
    process = crew("train-generator", "g")
    until(lambda: told.exists() and json.loads(told.read_text())["done"] > 0, 300.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert list((tmp_path / "cache").glob("generators/*/checkpoint/state.safetensors"))
    assert not (tmp_path / "data" / "train_generator" / "g").exists()


def test_the_users_mistake_is_told_apart(project, crew):
    """Exit code 2 is never tried again; torchrun alone would have said 1."""
    project(0.064)
    assert crew("train-generator", "nobody").wait() == 2


def test_it_says_how_it_is_used(capfd):
    """Without a number of processes there is nothing to start."""
    assert main(["train-generator", "g"]) == 2
    assert "usage" in capfd.readouterr().err
