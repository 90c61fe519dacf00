"""The frame all services are mounted in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mien.core.errors import WrongState
from services.chassis.calls import Desk
from services.chassis.door import Door
from services.chassis.lanes import Lane
from services.chassis.metrics import Metrics
from services.chassis.patience import Patience
from services.chassis.policy import POLICIES
from services.chassis.readiness import Check, Probes, Readiness
from services.chassis.settings import LOOPBACK, ServerSettings
from services.chassis.tls import server_credentials
from services.chassis.tokens import Tokens

QUICK_THREADS = 4
HEALTH_THREADS = 8
HEALTH = "grpc.health.v1.Health"
log = logging.getLogger(__name__)


class Frame:
    """A gRPC server with everything around the servicers.

    Servicers raise domain errors freely, in generators too; the frame turns them into statuses.

    Attributes:
        name: of the service: ``registry``, ``generation``, ``training``, ``serving``.
        settings: of the server.
        server: gRPC's own.
        metrics: what it counts.
        stopping: set when it shall end; long waits look at it.
        target: host:port once started.
        metrics_target: host:port of the metrics once started, or "".
    """

    def __init__(self, name: str, settings: ServerSettings) -> None:
        self.name = name
        self.settings = settings
        self.metrics = Metrics()
        self.stopping = threading.Event()
        self.target = ""
        self.metrics_target = ""
        self.health_target = ""
        self._lock = threading.Lock()
        self._waits: set[threading.Event] = set()
        self._services: list[str] = []
        self._drains: list[Callable[[float], object]] = []
        self._close_metrics: Callable[[], None] = lambda: None
        self._health_server: grpc.Server | None = None
        self._patience = Patience()
        self._readiness = Readiness()
        self._lanes = {
            "calls": Lane("calls", settings.max_concurrent, settings.queue),
            "streams": Lane("streams", settings.max_streams, settings.stream_queue),
            "watches": Lane("watches", settings.max_watches, 0),
        }
        self._quick = Lane("quick", QUICK_THREADS, 0)
        self._health = Lane("health", HEALTH_THREADS, 0)
        for lane in self._lanes.values():
            self.metrics.lane(lane)
        self.server = self._server()

    @property
    def home(self) -> Path:
        """Folder for this service's state, made when asked for."""
        folder = (self.settings.data / self.name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add(
        self, add_to_server: Callable[[Any, grpc.Server], None], servicer: object, service: str
    ) -> None:
        """Mount a servicer under the full name of its service.

        Raises:
            WrongState: ``NO_POLICY`` when the policy table knows none of its RPCs.
        """
        methods = [method for method in POLICIES if method.startswith(f"/{service}/")]
        if not methods:
            raise WrongState("NO_POLICY", f"{service} is not in the policy table")
        self.metrics.expect(methods)
        add_to_server(servicer, self.server)
        self._services.append(service)
        self._readiness.add(service)

    def ready(self, check: Check, *, service: str) -> None:
        """Ask ``check`` every second: None = ready, else why not."""
        self._readiness.add(service, check)

    def on_drain(self, callback: Callable[[float], object]) -> None:
        """Have ``callback`` called with the seconds left when the server shall end."""
        self._drains.append(callback)

    def ended(self, context: grpc.ServicerContext) -> threading.Event:
        """Return an event that is set when this call is over or the server shall end."""
        event = threading.Event()

        def over() -> None:
            event.set()
            with self._lock:
                self._waits.discard(event)

        with self._lock:
            self._waits.add(event)
        if not context.add_callback(over):
            over()
        if self.stopping.is_set():
            event.set()
        return event

    def start(self) -> None:
        """Listen.

        Raises:
            WrongState: ``PORT_IN_USE``.
        """
        self._mount_health_and_reflection()
        address = self.settings.address_of(self.name)
        host = address.rpartition(":")[0]
        try:
            if self.settings.tls:
                credentials = server_credentials(self.settings)
                port = self.server.add_secure_port(address, credentials)
            else:
                port = self.server.add_insecure_port(address)
        except RuntimeError:
            raise _in_use(address, "MIEN_SERVER_ADDRESS") from None
        self.target = f"{host}:{port}"
        self._serve_metrics()
        self._serve_health()
        self.server.start()
        self._readiness.start()
        self._warn_when_open(host)

    def drain(self, grace_s: float) -> None:
        """Say not ready, let work save its state, answer what has begun, then end."""
        until = time.monotonic() + grace_s
        self._readiness.not_ready()
        time.sleep(min(self.settings.unready_s, grace_s))
        self.stopping.set()
        with self._lock:
            waits = tuple(self._waits)
        for event in waits:
            event.set()
        for callback in self._drains:
            try:
                callback(max(0.0, until - time.monotonic()))
            except Exception:
                log.exception("drain")
        self.server.stop(max(0.0, until - time.monotonic())).wait()
        self.close()

    def close(self) -> None:
        """Let go of threads and ports."""
        self.stopping.set()
        self.server.stop(None)
        self._readiness.close()
        self._patience.close()
        self._close_metrics()
        if self._health_server is not None:
            self._health_server.stop(None)
        for lane in (*self._lanes.values(), self._quick, self._health):
            lane.close()

    def _server(self) -> grpc.Server:
        s = self.settings
        desk = Desk(self.metrics, self._patience, s.patience_s, s.idle_s, s.tls)
        tokens = None if s.tokens_file is None else Tokens(s.tokens_file)
        most = int(s.max_message_mb * (1 << 20))
        return grpc.server(
            self._health.pool,
            interceptors=[Door(self._lanes, self._quick, desk, tokens, self.stopping)],
            options=[
                ("grpc.max_receive_message_length", most),
                ("grpc.max_send_message_length", most),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.max_concurrent_streams", 1024),
            ],
        )

    def _mount_health_and_reflection(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(Probes(self._readiness), self.server)
        names = (*self._services, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)

    def _serve_health(self) -> None:
        """Answer health on a port of its own: a kubelet's probe speaks no TLS."""
        address = self.settings.health_address
        if not address:
            return
        self._health_server = grpc.server(ThreadPoolExecutor(2, "health"))
        health_pb2_grpc.add_HealthServicer_to_server(self._readiness.servicer, self._health_server)
        try:
            port = self._health_server.add_insecure_port(address)
        except RuntimeError:
            raise _in_use(address, "MIEN_SERVER_HEALTH_ADDRESS") from None
        self.health_target = f"{address.rpartition(':')[0]}:{port}"
        self._health_server.start()

    def _serve_metrics(self) -> None:
        address = self.settings.metrics_of(self.name)
        if address is None:
            return
        host, _, port = address.rpartition(":")
        try:
            got, self._close_metrics = self.metrics.serve(host, int(port))
        except OSError:
            raise _in_use(address, "MIEN_SERVER_METRICS_ADDRESS") from None
        self.metrics_target = f"{host}:{got}"

    def _warn_when_open(self, host: str) -> None:
        if host.startswith(LOOPBACK):
            return
        if not self.settings.tls:
            log.warning("open", extra={"what": f"{self.target} is not encrypted"})
        if self.settings.tokens_file is None:
            log.warning("open", extra={"what": f"{self.target} lets everybody do everything"})


def _in_use(address: str, variable: str) -> WrongState:
    hint = f"end what listens there, or choose another with {variable}"
    return WrongState("PORT_IN_USE", f"cannot listen on {address}", hint=hint)
