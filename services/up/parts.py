"""What ``make up`` starts, and how each part is started."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mien.adapters.triton.bound_launch import bound
from mien.settings import Settings
from services.chassis.settings import PORTS, ServerSettings

SERVICES = tuple(PORTS)
MLFLOW_PORT, PROMETHEUS_PORT = 5000, 9090


@dataclass(frozen=True, slots=True)
class Part:
    """A process that is started and watched.

    Attributes:
        name: for people, and of its log.
        command: with its arguments.
        env: what is added to the environment.
        speaks: whether it prints chassis' ``ready`` line.
        url: answered with 200 once it is ready, where it does not speak.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    speaks: bool = True
    url: str = ""


def service_part(
    name: str,
    project: Path,
    settings: Settings,
    server: ServerSettings,
    targets: Mapping[str, str],
    *,
    free_ports: bool,
) -> Part:
    """Describe one of our services.

    Args:
        name: of the service.
        project: folder it works in.
        settings: of ``MIEN_*``.
        server: of ``MIEN_SERVER_*``.
        targets: of the services that run already.
        free_ports: take any ports instead of the usual ones.
    """
    port, metrics = (0, 0) if free_ports else (PORTS[name], PORTS[name] + 100)
    env = {"MIEN_SERVER_DATA": str(server.data)}
    for roots in ("work_roots", "import_roots"):
        if not getattr(server, roots):  # loopback only, and the user's own project
            env[f"MIEN_SERVER_{roots.upper()}"] = json.dumps([str(project)])
    if name == "generation" and "registry" in targets:
        env["MIEN_REGISTRY_TARGET"] = targets["registry"]
    if name == "serving":
        env |= _triton(settings, free_ports=free_ports)
    command = (
        *(sys.executable, "-m", f"services.{name}"),
        *("--address", f"127.0.0.1:{port}", "--metrics-address", f"127.0.0.1:{metrics}"),
        *("--parent", str(os.getpid())),
    )
    return Part(name, command, env)


def triton_of(settings: Settings) -> str:
    """Say how models are run: ``wheel``, ``none`` (in the serving process) or an address."""
    if settings.triton != "wheel":
        return settings.triton
    from mien.adapters.triton.server import TritonHome

    return "none" if TritonHome(settings.triton_home).missing else "wheel"


def _triton(settings: Settings, *, free_ports: bool) -> dict[str, str]:
    env = {"MIEN_TRITON": triton_of(settings)}
    if free_ports:
        env |= {"MIEN_TRITON_PORT": "0", "MIEN_TRITON_METRICS_PORT": str(free_port())}
    return env


def triton_metrics(part: Part, settings: Settings) -> str:
    """Host and port of the metrics of the Triton that the serving part starts, or ""."""
    port = part.env.get("MIEN_TRITON_METRICS_PORT", str(settings.triton_metrics_port))
    return f"127.0.0.1:{port}" if part.env["MIEN_TRITON"] == "wheel" and port != "0" else ""


def mlflow_part(uri: str, *, port: int) -> Part | None:
    """Describe MLflow's pages on a tracking database; None when it is none.

    Args:
        uri: ``MIEN_TRACKING_URI``.
        port: on loopback.
    """
    if uri == "none" or uri.startswith(("http://", "https://")):
        return None
    from mien.adapters.mlflow.server import LEAN, server_command

    url = f"http://127.0.0.1:{port}/health"
    return Part("mlflow", bound(server_command(uri, port), "TERM"), LEAN, speaks=False, url=url)


def free_port() -> int:
    """Find a loopback port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prometheus_part(
    folder: Path,
    metrics: Mapping[str, str],
    *,
    rules: Path | None = None,
    port: int = PROMETHEUS_PORT,
) -> Part | None:
    """Describe Prometheus, where it is installed; its settings are written into ``folder``.

    Args:
        folder: for its settings and what it keeps.
        metrics: name → host:port of what it shall read.
        rules: the cluster's ``PrometheusRule``, whose alerts hold here as well; None or missing =
            no alerts.
        port: on loopback.
    """
    program = shutil.which("prometheus")
    if program is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prometheus.yml"
    every = {"scrape_interval": "5s", "evaluation_interval": "5s"}
    config: dict[str, object] = {"global": every, "scrape_configs": scraped(metrics)}
    if rules is not None and rules.is_file():
        (folder / "rules.yml").write_text(json.dumps(alerts(rules), indent=1), encoding="utf-8")
        config["rule_files"] = ["rules.yml"]
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")  # JSON is YAML
    command = (
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    url = f"http://127.0.0.1:{port}/-/ready"
    return Part("prometheus", bound(command), speaks=False, url=url)


def scraped(metrics: Mapping[str, str]) -> list[dict[str, object]]:
    """Say what Prometheus reads: each target under the label ``service``, as in the cluster."""
    return [
        {
            "job_name": name,
            "static_configs": [{"targets": [target], "labels": {"service": name}}],
        }
        for name, target in metrics.items()
    ]


def alerts(rules: Path) -> dict[str, object]:
    """Take the groups out of a ``PrometheusRule``, as Prometheus itself reads them."""
    import yaml

    groups: object = yaml.safe_load(rules.read_text(encoding="utf-8"))["spec"]["groups"]
    return {"groups": groups}
