"""Bounded concurrency: who gets in, who is told to come back, who is never kept waiting."""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.wire.errors import error_of, retry_after_s
from services.chassis.lanes import Lane
from tests.integration.chassis.fake_registry import GET

HOLD = pb.GetVersionRequest(reference="hold")
WATCH = pb.StreamItemsRequest(reference="watch")


def lane_of(frame, name="calls"):
    """Return the lane as it is now."""
    return frame._lanes[name]


def until(check, timeout_s=30.0):
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_past_workers_and_queue_a_call_is_refused_with_a_wait(start, fake):
    """Two work, two wait; the fifth is told when to come back, and no worker was needed for it."""
    frame, stub = start(max_concurrent=2, queue=2)
    held = [stub.GetVersion.future(HOLD) for _ in range(4)]
    until(lambda: lane_of(frame).running == 2 and lane_of(frame).waiting == 2)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetVersion(HOLD)
    error = error_of(caught.value)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.reason == "SERVER_BUSY"
    assert retry_after_s(error) > 0
    assert [name for name, _ in fake.calls] == ["hold", "hold"]
    fake.release.set()
    assert [call.result(30).name for call in held] == ["hold"] * 4
    until(lambda: lane_of(frame).running == lane_of(frame).waiting == 0)


def test_a_full_server_still_answers_probes(start, fake):
    """Health has its own threads, however many calls wait."""
    frame, stub = start(max_concurrent=1, queue=1)
    held = [stub.GetVersion.future(HOLD) for _ in range(8)]
    until(lambda: lane_of(frame).waiting == 1)
    with grpc.insecure_channel(frame.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
    fake.release.set()
    codes = [call.code() for call in held]
    assert codes.count(grpc.StatusCode.OK) == 2
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 6


def test_streams_do_not_starve_calls(start, fake):
    """With every place for streams taken, a call is answered; one more stream is refused."""
    frame, stub = start(max_streams=2, stream_queue=0, max_concurrent=1)
    streams = [stub.StreamItems(WATCH) for _ in range(2)]
    for _ in streams:
        assert fake.began.acquire(timeout=30)
    assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.StreamItems(WATCH))
    assert error_of(caught.value).details["lane"] == "streams"
    for stream in streams:
        stream.cancel()
    until(lambda: lane_of(frame, "streams").running == 0)
    assert next(stub.StreamItems(WATCH)).image == b"first"


def test_a_place_is_given_back_however_a_call_ends(start, fake):
    """Answers, errors, cancels before and after the beginning, vanished clients: no place leaks."""
    frame, stub = start(max_concurrent=3, queue=5, max_streams=3)
    rng = random.Random(5)
    fake.error = RuntimeError("x")

    def one(number):
        kind = rng.choice(["good", "raise", "cancel", "late", "stream", "malformed"])
        request = pb.GetVersionRequest(reference="sleep:0.003")
        if kind == "good":
            stub.GetVersion.future(request).exception()
        elif kind == "raise":
            stub.GetVersion.future(pb.GetVersionRequest(reference="raise")).exception()
        elif kind == "cancel":
            call = stub.GetVersion.future(request)
            time.sleep(rng.random() * 0.004)
            call.cancel()
        elif kind == "late":
            stub.GetVersion.future(request, timeout=rng.random() * 0.004).exception()
        elif kind == "stream":
            call = stub.StreamItems(pb.StreamItemsRequest(reference="some:500"))
            try:
                for _ in range(rng.randrange(400)):
                    next(call)
            except (grpc.RpcError, StopIteration):
                pass
            call.cancel()
        else:
            with grpc.insecure_channel(frame.target) as channel:
                channel.unary_unary(GET).future(b"\xff")  # and gone

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))
    for name in ("calls", "streams", "watches"):
        until(lambda name=name: lane_of(frame, name)._inside == 0)
    assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"


def test_an_announced_request_that_never_comes_is_given_up(start, caplog):
    """Callers that open a call and keep silent do not hold the workers."""
    frame, stub = start(max_concurrent=2, queue=0, patience_s=0.2)
    caplog.set_level(logging.INFO, "services")
    silent = threading.Event()

    def nothing():
        silent.wait(30)
        return
        yield

    with grpc.insecure_channel(frame.target) as channel:
        calls = [channel.stream_unary(GET).future(nothing()) for _ in range(2)]
        until(lambda: lane_of(frame).running == 2)
        until(lambda: lane_of(frame).running == 0)
        assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"
        assert [call.code() for call in calls] == [grpc.StatusCode.CANCELLED] * 2
        until(lambda: len([r for r in caplog.records if r.message == "call"]) == 3)
        ended = [r for r in caplog.records if r.message == "call" and r.code == "CANCELLED"]
        assert [r.reason for r in ended] == ["CALLER_SILENT"] * 2
        silent.set()


def test_a_reader_that_stands_still_is_given_up(start, fake):
    """A caller that takes nothing off a stream loses it."""
    frame, _ = start(max_streams=1, stream_queue=0, idle_s=0.3)
    with grpc.insecure_channel(frame.target) as channel:
        stream = rpc.RegistryServiceStub(channel).StreamItems(
            pb.StreamItemsRequest(reference="some:100000")
        )
        next(stream)
        until(lambda: fake.ended == ["some:100000"])
        until(lambda: lane_of(frame, "streams").running == 0)
        stream.cancel()


def test_the_wait_grows_with_the_queue_and_stays_sensible():
    """Longer work and fuller queues ask for longer waits, between a tenth and half a minute."""
    lane = Lane("x", workers=1, queue=1)
    waits = []
    for seconds in (0.0, 5.0, 1000.0):
        lane._usual_s = seconds
        lane.enter()
        lane.enter()
        waits.append(float(lane.enter().details["retry_after_s"]))
        lane._inside = 0
    assert waits == [0.1, 10.0, 30.0]
    lane.close()
