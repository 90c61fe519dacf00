"""``python -m services.up``: start everything, say where it is, end it all at Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from mien.core.errors import EXIT_DONE, EXIT_FAILED, MienError, WrongState
from mien.settings import Settings, load_settings
from mien.wire.health import probe
from services.chassis.settings import ServerSettings
from services.chassis.settings import load_settings as load_server_settings
from services.up.fleet import Fleet, Running, why_it_died
from services.up.parts import (
    MLFLOW_PORT,
    PROMETHEUS_PORT,
    SERVICES,
    Part,
    free_port,
    mlflow_part,
    prometheus_part,
    service_part,
    triton_metrics,
    triton_of,
)

EXTRAS = ("mlflow", "prometheus")
WATCH_S = 0.5
STATE = "up.json"
ALERTS = Path("k8s/components/monitoring/rules.yaml")


class Stop:
    """Remembers that somebody asked to stop; asked twice, everything is killed."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self) -> bool:
        """Whether it was asked."""
        return self.asked


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C, SIGTERM or the death of a part; returns the exit code."""
    given = _arguments(argv)
    project = Path.cwd()
    stop = Stop()
    try:
        settings, server = load_settings(project), load_server_settings()
        server = server.model_copy(update={"data": (project / server.data).resolve()})
        with _alone(server.data), ExitStack() as stack:
            fleet = Fleet(project, server.data / "logs", stop)
            stack.callback(_stop, fleet, server.grace_s)
            _start(fleet, project, settings, server, given)
            return _watch(fleet, stop)
    except KeyboardInterrupt:
        return EXIT_DONE if stop.asked else EXIT_FAILED
    except MienError as error:
        _say(f"up: {error}\n  {error.hint}")
        return error.exit_code


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.up", description=__doc__)
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=(*SERVICES, *EXTRAS),
        help="leave a part out; may be given several times",
    )
    parser.add_argument(
        "--free-ports", action="store_true", help="take any free ports, not the usual ones"
    )
    return parser.parse_args(argv)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Let only one of us work in a folder.

    Raises:
        WrongState: ``ALREADY_UP``.
    """
    data.mkdir(parents=True, exist_ok=True)
    lock = FileLock(data / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WrongState(
            "ALREADY_UP",
            f"everything is up already in {data}",
            hint="end the other one, or set MIEN_SERVER_DATA to another folder",
        ) from None
    try:
        yield
    finally:
        (data / STATE).unlink(missing_ok=True)
        lock.release()


def _start(
    fleet: Fleet,
    project: Path,
    settings: Settings,
    server: ServerSettings,
    given: argparse.Namespace,
) -> None:
    """Start one part after the other, and say where each is."""
    _say(f"logs in {server.data / 'logs'}")
    pages = None if "mlflow" in given.without else _launch_mlflow(fleet, settings, given)
    targets: dict[str, str] = {}
    for name in SERVICES:
        if name not in given.without:
            part = service_part(
                name, project, settings, server, targets, free_ports=given.free_ports
            )
            running = fleet.wait(fleet.launch(part))
            targets[name] = running.target
            _tell(running, _readiness(running, settings))
    metrics = {r.part.name: r.metrics for r in fleet.running if r.metrics}
    if "serving" in targets:
        serving = next(r.part for r in fleet.running if r.part.name == "serving")
        metrics |= _triton(serving, settings, free_ports=given.free_ports)
    if "prometheus" not in given.without:
        _prometheus(fleet, project, server, metrics, free_ports=given.free_ports)
    if pages is not None:  # the slowest to start; all others need not wait for it
        _tell(fleet.wait(pages))
    _write_state(server.data / STATE, fleet)
    exports = " ".join(f"MIEN_{n.upper()}_TARGET={t}" for n, t in targets.items())
    _say(f"up. To use it: export {exports}\nCtrl-C ends all of it")


def _tell(running: Running, how: str = "ready") -> None:
    _say(f"  {running.part.name:<11} {running.target:<22} {running.took_s:4.1f} s  {how}")


def _readiness(running: Running, settings: Settings) -> str:
    health = probe(running.target, settings)
    return "ready" if health.ready else f"not ready: {health.why}"


def _launch_mlflow(fleet: Fleet, settings: Settings, given: argparse.Namespace) -> Running | None:
    """Start MLflow's pages on the tracking database, where it is one."""
    port = free_port() if given.free_ports else MLFLOW_PORT
    part = mlflow_part(settings.tracking_uri, port=port)
    if part is None:
        _say(f"  {'mlflow':<11} not started: MIEN_TRACKING_URI is {settings.tracking_uri}")
        return None
    return fleet.launch(part)


def _triton(serving: Part, settings: Settings, *, free_ports: bool) -> dict[str, str]:
    """Say where Triton is; returns where its metrics are."""
    how = triton_of(settings)
    if how == "none":
        why = "set so" if settings.triton == "none" else "run `make triton` to install it"
        _say(f"  {'triton':<11} none: models run in the serving process ({why})")
        return {}
    port = "a free port" if free_ports else f"127.0.0.1:{settings.triton_port}"
    _say(f"  {'triton':<11} {port if how == 'wheel' else how:<22}         watched by serving")
    found = triton_metrics(serving, settings)
    return {"triton": found} if found else {}


def _prometheus(
    fleet: Fleet,
    project: Path,
    server: ServerSettings,
    metrics: dict[str, str],
    *,
    free_ports: bool,
) -> None:
    """Start Prometheus on everything that has metrics."""
    port = free_port() if free_ports else PROMETHEUS_PORT
    part = prometheus_part(server.data / "prometheus", metrics, rules=project / ALERTS, port=port)
    if part is None:
        listed = " ".join(f"http://{target}/metrics" for target in metrics.values())
        _say(f"  {'prometheus':<11} not installed; metrics: {listed}")
        return
    _tell(fleet.wait(fleet.launch(part)))


def _write_state(file: Path, fleet: Fleet) -> None:
    """Leave a note for ``mien doctor``."""
    parts = {
        r.part.name: {"target": r.target, "pid": r.process.pid, "log": str(r.log)}
        for r in fleet.running
    }
    note = {"pid": os.getpid(), "parts": parts}
    file.write_text(json.dumps(note, indent=1), encoding="utf-8")


def _watch(fleet: Fleet, stop: Stop) -> int:
    """Wait for the end.

    Raises:
        Unavailable: ``PART_DIED`` naming the part that died, and why.
    """
    while not stop():
        if (dead := fleet.died()) is not None:
            raise why_it_died(dead)
        time.sleep(WATCH_S)
    return EXIT_DONE


def _stop(fleet: Fleet, grace_s: float) -> None:
    _say("stopping")
    killed = fleet.stop(grace_s + 5)
    if killed:
        _say(f"killed, for they did not end in time: {', '.join(killed)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
