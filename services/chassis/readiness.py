"""Health of each service by name, and of the server as a whole under ""."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from mien.wire.health import WHY_NOT
from services.chassis.refusal import hide_paths

POLL_S = 1.0
LIVENESS = "liveness"  # the server answers at all: what a missing database must not restart
Check = Callable[[], str | None]
log = logging.getLogger(__name__)


class Readiness:
    """Asks the checks every second and tells whoever probes."""

    def __init__(self, poll_s: float = POLL_S) -> None:
        self.servicer = HealthServicer()
        self.servicer.set("", HealthCheckResponse.NOT_SERVING)
        self.servicer.set(LIVENESS, HealthCheckResponse.SERVING)
        self._poll_s = poll_s
        self._checks: dict[str, list[Check]] = {}
        self._said: dict[str, str | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def add(self, service: str, check: Check | None = None) -> None:
        """Know a service; a check says why it is not ready, None when it is."""
        checks = self._checks.setdefault(service, [])
        if check is not None:
            checks.append(check)

    def start(self) -> None:
        """Ask once now, and from now on."""
        self.look()
        self._thread.start()

    def look(self) -> None:
        """Ask every check once."""
        reasons = {service: _why_not(checks) for service, checks in self._checks.items()}
        for service, why in reasons.items():
            self._tell(service, why)
        failing = [service for service, why in reasons.items() if why is not None]
        whole = [f"{name.rpartition('.')[2]}: {reasons[name]}" for name in failing]
        self._tell("", "; ".join(whole) or None)

    def not_ready(self) -> None:
        """Say NOT_SERVING from now on, whatever the checks find."""
        self._stop.set()
        self.servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """Ask no longer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def why_not(self, service: str) -> str | None:
        """Say why a service was not ready when it was last asked."""
        return "it is stopping" if self._stop.is_set() else self._said.get(service)

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            self.look()

    def _tell(self, service: str, why: str | None) -> None:
        if self._said.get(service, "not asked yet") == why:
            return
        self._said[service] = why
        serving = HealthCheckResponse.SERVING if why is None else HealthCheckResponse.NOT_SERVING
        self.servicer.set(service, serving)
        level = logging.INFO if why is None else logging.WARNING
        log.log(level, "readiness", extra={"service": service or "all", "why_not": why})


class Probes:
    """gRPC's health service; a probe that is answered NOT_SERVING hears why as well."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self.Watch = readiness.servicer.Watch

    def Check(
        self, request: HealthCheckRequest, context: grpc.ServicerContext
    ) -> HealthCheckResponse:
        """Answer a probe."""
        if (why := self._readiness.why_not(request.service)) is not None:
            context.set_trailing_metadata(((WHY_NOT, header_text(hide_paths(why))),))
        return self._readiness.servicer.Check(request, context)


def header_text(text: str) -> str:
    """Make a text fit for metadata: printable ASCII, of a bearable length."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:500])


def _why_not(checks: list[Check]) -> str | None:
    for check in checks:
        try:
            why = check()
        except Exception as error:  # noqa: BLE001  a check that fails is an answer as well
            why = f"{type(error).__name__}: {error}"
        if why is not None:
            return why
    return None
