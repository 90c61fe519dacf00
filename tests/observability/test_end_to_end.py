"""`make up` under load, watched by a real Prometheus: every query answers, every alert can fire."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mien.adapters.mlflow.models import MlflowModels
from mien.core.errors import MienError
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.core.jobs import SweepWork
from mien.core.serving import Query
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationClient
from mien.wire.health import probe
from mien.wire.registry_client import RegistryClient
from mien.wire.serving_client import ServingClient
from mien.wire.training_client import TrainingClient
from services.up.parts import prometheus_part
from tests.integration.conftest import project  # noqa: F401  a fixture
from tests.integration.serving.conftest import TRITON
from tests.observability.monitoring import RULES, alerts, names, program, queries
from tests.observability.watched import encoded, pictures, watched_package

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 300.0


@pytest.fixture
def prometheus(monkeypatch):
    """Debian's Prometheus, where `make up` finds it."""
    folder = Path(program("prometheus")).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_settings_are_prometheus_own(prometheus, tmp_path):
    """What `make up` writes is what promtool calls good, rules included."""
    part = prometheus_part(tmp_path, {"registry": "127.0.0.1:7201"}, rules=RULES)
    assert part is not None
    done = subprocess.run(
        [program("promtool"), "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts()) + 2} rules found" in done.stdout


@contextmanager
def up(folder, **environ):
    """Start everything; yields the parts."""
    shutil.copytree(RULES.parent, folder / "k8s" / "components" / "monitoring")
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "MIEN_SERVER_GRACE_S": "10",
        **environ,
    }
    command = [sys.executable, "-m", "services.up", "--free-ports", "--without", "mlflow"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("up."):
                break
        else:
            pytest.fail("".join(said))
        yield json.loads((folder / "server" / "up.json").read_text())["parts"]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def until_ready(target):
    """Wait for Triton and the champion."""
    deadline = time.monotonic() + WAIT_S
    while not (found := probe(target, Settings())).ready:
        assert time.monotonic() < deadline, found.why
        time.sleep(0.2)


class Asked:
    """Prometheus' own pages."""

    def __init__(self, target):
        self.target = target

    def get(self, path, **query):
        """Read a page of its API."""
        url = f"http://{self.target}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = json.loads(answer.read())
        assert found["status"] == "success"
        return found["data"]

    def ask(self, query):
        """Samples that a query answers with, those that are no number left out."""
        found = self.get("query", query=query)["result"]
        return [s for s in found if s["value"][1] != "NaN"]

    def until(self, condition, load, what):
        """Wait for something, under load."""
        deadline = time.monotonic() + WAIT_S
        while (missing := condition()) and time.monotonic() < deadline:
            load()
            time.sleep(0.2)
        assert not missing, f"{what}: {missing}"


class Load:
    """Asks every service for something, again and again."""

    def __init__(self, parts, root):
        channels = {
            n: open_channel(p["target"], Settings()) for n, p in parts.items() if n in _SERVICES
        }
        self.registry = RegistryClient(channels["registry"])
        self.generation = GenerationClient(channels["generation"])
        self.training = TrainingClient(channels["training"])
        self.serving = ServingClient(channels["serving"])
        self.channels = channels
        self.job = self.training.create(SweepWork(str(root)))
        self.turn = 0
        self.brighter = 0

    def __call__(self):
        """One round."""
        self.turn += 1
        with suppress(MienError):  # it is not there: the caller's mistake
            self.registry.get(f"nobody-{self.turn}")
        plan = FacePlan("affect", (Expression.ANGER,), 1, {"size_px": 32}, seed=self.turn)
        assert len(list(self.generation.stream_faces(plan))) == 1
        self.training.get(self.job.name)
        for image in encoded(pictures(self.turn, 24, brighter=self.brighter)):
            self.serving.recognise(Query(image))


_SERVICES = ("registry", "generation", "training", "serving")


@pytest.mark.slow
def test_every_query_and_every_alert_has_data(prometheus, project, tmp_path):  # noqa: F811
    """Targets are up, panels show something, rules are healthy, drift is told."""
    sweep = {"seeds": 1, "protocols": ["steps"], "ratios": [1]}
    project.params(sweep=sweep).until("ingest", "split", "preprocess")
    models = MlflowModels(f"sqlite:///{tmp_path}/mlflow.db")
    models.register("expression", watched_package(tmp_path / "package").folder)
    models.move("expression", "champion", "1", expected=None)
    triton = not TRITON.missing
    environ = {
        "MIEN_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MIEN_TRITON": "wheel" if triton else "none",
        "MIEN_TRITON_HOME": str(ROOT / ".triton"),
        "MIEN_SERVER_DRIFT": "true",
        "MIEN_SERVER_DRIFT_WINDOW_S": "20",
    }
    with up(project.root, **environ) as parts:
        asked = Asked(parts["prometheus"]["target"])
        until_ready(parts["serving"]["target"])
        load = Load(parts, project.root)
        served = {*_SERVICES, *(["triton"] if triton else [])}

        def down():
            targets = asked.get("targets")["activeTargets"]
            up_ = {t["labels"]["service"] for t in targets if t["health"] == "up"}
            return served - up_

        asked.until(down, load, "not up")

        def silent():
            return [
                title
                for title, query in queries()
                if (triton or "nv_" not in query) and not asked.ask(query)
            ]

        asked.until(silent, load, "panels without data")

        def absent():
            wanted = set().union(*(names(rule["expr"]) for rule in alerts()))
            return [n for n in wanted if not asked.ask(f"count({n})")]

        asked.until(absent, load, "metrics that nobody told")
        groups = asked.get("rules")["groups"]
        assert [r["lastError"] for g in groups for r in g["rules"] if r["health"] != "ok"] == []
        assert len([r for g in groups for r in g["rules"]]) == len(alerts()) + 2
        load.brighter = 60
        asked.until(
            lambda: not asked.ask('ALERTS{alertname="MienDrift"}'), load, "drift is not told"
        )
        states = {s["metric"]["alertname"] for s in asked.ask('ALERTS{alertname=~"Mien.+"}')}
        assert "MienInternalErrors" not in states
        for channel in load.channels.values():
            channel.close()
