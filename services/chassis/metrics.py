"""Prometheus metrics on a port of their own. Every label has a bounded number of values."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from mien.core.jobs import JobState
from services.chassis.lanes import Lane

log = logging.getLogger(__name__)
MOST_ENGINES = 32
OTHER, BUSY = "other", "SERVER_BUSY"
EXPECTED = ("OK", "INTERNAL", "UNKNOWN", "DATA_LOSS")  # those that alerts look at
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

DRIFT = {
    "detected": ("1 where the last window drifted from the training version.", "model"),
    "enough": ("1 where the last window had enough faces to say so.", "model"),
    "faces": ("Faces in the last window, in whole blocks.", "model"),
    "distance": ("Distance of the last window from the training version.", "what"),
    "limit": ("What chance alone exceeds at the stated rate only.", "what"),
}


class Metrics:
    """What one server counts. Everything may be called from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # nobody reads them
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "mien_calls", "Calls that ended.", ["method", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "mien_call_seconds",
            "From the arrival of a call to its end.",
            ["method"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._rejected = Counter(
            "mien_calls_rejected",
            "Calls turned away before they began.",
            ["reason"],
            registry=self.registry,
        )
        self._rejected.labels(BUSY)
        self._faces = Counter(
            "mien_faces_generated", "Faces made.", ["engine"], registry=self.registry
        )
        self._engines: set[str] = set()
        self._live = _Live()
        self.registry.register(self._live)
        ProcessCollector(registry=self.registry)

    def expect(self, methods: Iterable[str]) -> None:
        """Show calls that nobody made yet as none: a rate sees no first rise out of nowhere."""
        for method in methods:
            for code in EXPECTED:
                self._calls.labels(method, code)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Count a call. ``method`` is one of the policy table, or ``unknown``."""
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a call that was turned away at the door."""
        self._rejected.labels(reason).inc()

    def faces_generated(self, engine: str, n: int = 1) -> None:
        """Count faces; past 32 engines the rest share the label ``other``."""
        if engine not in self._engines:
            if len(self._engines) >= MOST_ENGINES:
                engine = OTHER
            self._engines.add(engine)
        self._faces.labels(engine).inc(n)

    def jobs(self, counts: Callable[[], Mapping[Any, float]]) -> None:
        """Show jobs by state; ``counts`` is asked whenever the metrics are read."""
        none = dict.fromkeys(get_args(JobState), 0)
        self._live.add("mien_jobs", "Jobs.", "state", lambda: none | dict(counts()))

    def queue(self, name: str, length: Callable[[], int]) -> None:
        """Show how much waits in a queue of the service."""
        self._live.add("mien_queue", "Waiting in a queue.", "queue", lambda: {name: length()})

    def lane(self, lane: Lane) -> None:
        """Show how many calls of a lane are at work and how many wait."""
        at_work, waits = "mien_calls_in_flight", "mien_calls_waiting"
        self._live.add(at_work, "Calls at work.", "lane", lambda: {lane.name: lane.running})
        self._live.add(waits, "Calls that wait.", "lane", lambda: {lane.name: lane.waiting})

    def drift(self, figures: Callable[[str], Mapping[str, float]]) -> None:
        """Show how far the last window lies from the training version of the model that judged it.

        Args:
            figures: asked by name whenever the metrics are read.
        """
        for name, (help_text, label) in DRIFT.items():
            self._live.add(f"mien_drift_{name}", help_text, label, partial(figures, name))

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Answer on a port until the returned function is called; returns the port as well."""
        server, thread = start_http_server(port, host, registry=self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join(5)

        return int(server.server_address[1]), close


class _Live:
    """Figures that are asked for when they are read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, tuple[str, str, list[Callable[[], Mapping[Any, float]]]]] = {}

    def add(
        self, name: str, help_text: str, label: str, ask: Callable[[], Mapping[Any, float]]
    ) -> None:
        with self._lock:
            self._asked.setdefault(name, (help_text, label, []))[2].append(ask)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            asked = {
                name: (text, label, tuple(all_))
                for name, (text, label, all_) in self._asked.items()
            }
        for name, (help_text, label, functions) in asked.items():
            family = GaugeMetricFamily(name, help_text, labels=[label])
            for value, figure in _figures(functions):
                family.add_metric([value], figure)
            yield family

    def describe(self) -> Iterable[Metric]:
        """Name nothing: registering would otherwise ask everything once."""
        return []


def _figures(functions: Iterable[Callable[[], Mapping[Any, float]]]) -> Iterator[tuple[str, float]]:
    for ask in functions:
        try:
            figures = ask()
        except Exception:  # one figure that cannot be had shall not hide all others
            log.exception("metrics")
            continue
        yield from figures.items()
