"""Readiness and the way out: not ready, drain, stop."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.settings import Settings
from mien.wire.errors import error_of
from mien.wire.health import probe
from tests.integration.chassis.fake_registry import SERVICE
from tests.integration.chassis.test_room import HOLD, WATCH, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def status(channel, service=""):
    """Probe once."""
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status


def test_a_service_is_ready_when_its_checks_say_so(start):
    """By its name and as part of the whole; an unknown name is not found."""
    frame, _ = start()
    why = ["no champion in /srv/data/x"]
    with grpc.insecure_channel(frame.target) as channel:
        assert status(channel, SERVICE) == status(channel) == SERVING
        frame.ready(lambda: why[0], service=SERVICE)
        frame._readiness.look()
        assert status(channel, SERVICE) == status(channel) == NOT_SERVING
        told = probe(frame.target, Settings())
        assert (told.reached, told.ready) == (True, False)
        assert told.why == "RegistryService: no champion in ?/x"
        why[0] = None
        frame._readiness.look()
        assert status(channel, SERVICE) == status(channel) == SERVING
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE)
        )
        assert next(watch).status == SERVING
        frame.ready(lambda: 1 / 0, service=SERVICE)
        frame._readiness.look()
        assert next(watch).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            status(channel, "nobody")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch.cancel()


def test_a_probe_says_what_is_wrong(start):
    """Ready, stopping, or nobody there."""
    frame, _ = start()
    assert probe(frame.target, Settings()).ready
    frame.drain(0.1)
    assert not probe(frame.target, Settings()).reached
    assert probe("127.0.0.1:1", Settings()).why == "nothing listens there"


def test_draining_finishes_what_has_begun_and_takes_nothing_new(start, fake):
    """Not ready first; watches end; work saves its state; the last answer is still given."""
    frame, stub = start(grace_s=10)
    told = []
    saved = threading.Event()

    def save(left_s):
        told.append(left_s)
        saved.wait(5)

    frame.on_drain(save)
    held = stub.GetVersion.future(HOLD)
    watch = stub.StreamItems(WATCH)
    assert next(watch).image == b"first"
    assert fake.began.acquire(timeout=30)
    drain = threading.Thread(target=frame.drain, args=(10.0,))
    drain.start()
    assert list(watch) == []  # it ends although nobody cancelled it
    until(lambda: told != [])
    with grpc.insecure_channel(frame.target) as channel:
        assert status(channel) == NOT_SERVING
        assert status(channel, SERVICE) == NOT_SERVING
    refused = stub.GetVersion.future(pb.GetVersionRequest(reference="a"))
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert error_of(refused.exception()).reason == "SERVER_STOPPING"
    saved.set()
    time.sleep(0.05)
    fake.release.set()
    assert held.result(30).name == "hold"
    drain.join(30)
    assert not drain.is_alive()
    assert 0 < told[0] <= 10


def test_a_call_that_outlasts_the_grace_is_cut_off(start, fake):
    """The end comes at its time."""
    frame, stub = start()
    held = stub.GetVersion.future(HOLD)
    assert fake.began.acquire(timeout=30)
    started = time.monotonic()
    frame.drain(0.3)
    assert time.monotonic() - started < 5
    assert held.code() is not grpc.StatusCode.OK


def test_calls_are_answered_while_a_load_balancer_looks_elsewhere(start):
    """Not ready at once; refusing only after ``unready_s``."""
    frame, stub = start(unready_s=0.5, grace_s=5)
    drain = threading.Thread(target=frame.drain, args=(5.0,))
    drain.start()
    with grpc.insecure_channel(frame.target) as channel:
        until(lambda: status(channel) == NOT_SERVING)
    assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"
    drain.join(30)
    assert not drain.is_alive()


def test_a_failing_drain_does_not_keep_the_others_from_saving(start):
    """Each callback is called, in order."""
    frame, _ = start()
    called = []

    def fail(_left_s):
        called.append("first")
        raise RuntimeError("no")

    frame.on_drain(fail)
    frame.on_drain(lambda _left_s: called.append("second"))
    frame.drain(1.0)
    assert called == ["first", "second"]


def test_an_end_is_seen_by_waits_that_begin_later(start, fake):
    """A watch that is opened while draining ends at once instead of waiting for ever."""
    frame, _ = start()
    frame.stopping.set()

    class Context:
        def add_callback(self, _callback):
            return True

    assert frame.ended(Context()).is_set()
