"""What Prometheus reads."""

from __future__ import annotations

import urllib.request

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mien.api.registry.v1 import registry_pb2 as pb
from services.chassis.metrics import MOST_ENGINES, Metrics
from tests.integration.chassis.fake_registry import GET
from tests.integration.chassis.test_room import HOLD, until


def read(frame):
    """Read the metrics: {(name, sorted labels): figure}."""
    with urllib.request.urlopen(f"http://{frame.metrics_target}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_latency_places_and_refusals_are_counted(start, fake):
    """By method and code; in flight and waiting as they are now; refusals by reason."""
    frame, stub = start(metrics_address="127.0.0.1:0", max_concurrent=1, queue=1)
    fake.error = RuntimeError("x")
    stub.GetVersion(pb.GetVersionRequest(reference="a"))
    with pytest.raises(grpc.RpcError):
        stub.GetVersion(pb.GetVersionRequest(reference="raise"))
    held = [stub.GetVersion.future(HOLD) for _ in range(3)]
    until(lambda: frame._lanes["calls"].waiting == 1)
    until(lambda: any(call.done() for call in held))
    frame.metrics.faces_generated("noise", 3)
    frame.metrics.jobs(lambda: {"RUNNING": 2, "QUEUED": 0})
    frame.metrics.queue("triton", lambda: 5)
    found = read(frame)
    method = ("method", GET)
    assert found["mien_calls_total", ("code", "OK"), method] == 1
    assert found["mien_calls_total", ("code", "INTERNAL"), method] == 1
    assert found["mien_calls_total", ("code", "RESOURCE_EXHAUSTED"), method] == 1
    assert found["mien_call_seconds_count", method] == 3
    assert found["mien_calls_in_flight", ("lane", "calls")] == 1
    assert found["mien_calls_waiting", ("lane", "calls")] == 1
    assert found["mien_calls_rejected_total", ("reason", "SERVER_BUSY")] == 1
    assert found["mien_faces_generated_total", ("engine", "noise")] == 3
    assert found["mien_jobs", ("state", "RUNNING")] == 2
    assert found["mien_queue", ("queue", "triton")] == 5
    assert found[("process_resident_memory_bytes",)] > 1e6


def test_invented_methods_share_one_label(start):
    """Callers cannot fill the memory with labels."""
    frame, _ = start(metrics_address="127.0.0.1:0")
    with grpc.insecure_channel(frame.target) as channel:
        for i in range(20):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/x/method{i}")(b"")
    found = read(frame)
    assert found["mien_calls_total", ("code", "UNIMPLEMENTED"), ("method", "unknown")] == 20
    assert not any("method1" in str(key) for key in found)


@given(st.lists(st.text(max_size=8), max_size=200))
def test_engines_are_bounded(names):
    """Past 32 engines the rest are counted together; no face is lost."""
    metrics = Metrics()
    for name in names:
        metrics.faces_generated(name, 2)
    faces = [
        s
        for family in metrics.registry.collect()
        if family.name == "mien_faces_generated"
        for s in family.samples
    ]
    assert len(faces) <= MOST_ENGINES + 1
    assert sum(s.value for s in faces) == 2 * len(names)


def test_a_figure_that_cannot_be_had_hides_no_other(start):
    """A job book that is down costs its own figures only."""
    frame, _ = start(metrics_address="127.0.0.1:0")

    def broken():
        raise OSError("the database is away")

    frame.metrics.jobs(broken)
    frame.metrics.queue("q", lambda: 1)
    found = read(frame)
    assert found["mien_queue", ("queue", "q")] == 1
    assert not any(key[0] == "mien_jobs" for key in found)
