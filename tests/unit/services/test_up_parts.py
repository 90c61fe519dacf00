"""What `make up` starts."""

from __future__ import annotations

import json
import sys

import pytest

from mien.settings import Settings
from services.chassis.settings import PORTS, ServerSettings
from services.up.parts import mlflow_part, prometheus_part, service_part, triton_of


@pytest.fixture
def part(tmp_path):
    """Describe a service."""

    def describe(name, *, free_ports=False, targets=None, server=None, **settings):
        return service_part(
            name,
            tmp_path,
            Settings(**settings),
            server or ServerSettings(data=tmp_path / "server"),
            targets or {},
            free_ports=free_ports,
        )

    return describe


@pytest.mark.parametrize("name", sorted(PORTS))
def test_a_service_takes_its_usual_ports_or_any(part, name):
    """Metrics on the port + 100."""
    usual, free = part(name), part(name, free_ports=True)
    assert usual.command[:3] == (sys.executable, "-m", f"services.{name}")
    assert f"127.0.0.1:{PORTS[name]}" in usual.command
    assert f"127.0.0.1:{PORTS[name] + 100}" in usual.command
    assert free.command.count("127.0.0.1:0") == 2


def test_requests_may_name_the_project_unless_roots_are_set(part, tmp_path):
    """What the user allows goes before."""
    assert json.loads(part("training").env["MIEN_SERVER_WORK_ROOTS"]) == [str(tmp_path)]
    own = ServerSettings(work_roots=(tmp_path / "own",))
    assert "MIEN_SERVER_WORK_ROOTS" not in part("training", server=own).env


def test_generation_hands_its_versions_to_the_registry(part):
    """Where there is one."""
    targets = {"registry": "127.0.0.1:7"}
    assert part("generation", targets=targets).env["MIEN_REGISTRY_TARGET"] == "127.0.0.1:7"
    assert "MIEN_REGISTRY_TARGET" not in part("generation").env
    assert "MIEN_REGISTRY_TARGET" not in part("registry", targets=targets).env


def test_serving_does_without_triton_where_it_is_not_installed(part, tmp_path):
    """Models then run in its process; an address that is set is kept."""
    assert part("serving", triton_home=tmp_path / "none").env["MIEN_TRITON"] == "none"
    assert triton_of(Settings(triton="10.0.0.1:8001")) == "10.0.0.1:8001"
    assert part("serving", free_ports=True).env["MIEN_TRITON_PORT"] == "0"


def test_mlflow_needs_a_database():
    """A server's address is somebody else's server."""
    assert mlflow_part("none", port=1) is None
    assert mlflow_part("http://x:5000", port=1) is None
    found = mlflow_part("sqlite:////tmp/x.db", port=7)
    assert found.url == "http://127.0.0.1:7/health"
    assert found.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_prometheus_reads_all_metrics_where_it_is_installed(tmp_path, monkeypatch):
    """Without it there is no such part; with it, a file with every target."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prometheus_part(tmp_path / "p", {}) is None
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = prometheus_part(tmp_path / "p", {"registry": "127.0.0.1:7201"}, port=9)
    assert str(program) in found.command
    written = json.loads((tmp_path / "p" / "prometheus.yml").read_text())
    (job,) = written["scrape_configs"]
    assert job["job_name"] == "registry"
    assert job["static_configs"] == [
        {"targets": ["127.0.0.1:7201"], "labels": {"service": "registry"}}
    ]
    assert "rule_files" not in written
    assert found.url == "http://127.0.0.1:9/-/ready"
