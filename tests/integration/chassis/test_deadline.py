"""Deadlines: late calls are not started, and calls made on the way end no later."""

from __future__ import annotations

import math
import time

import grpc
import pytest

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.settings import Settings
from mien.wire.channel import open_channel
from services.chassis.testing import framed
from tests.integration.chassis.fake_registry import FakeRegistry, mounting
from tests.integration.chassis.test_room import until


def test_a_call_that_is_late_before_it_begins_is_not_started(start, fake):
    """It waited for a worker longer than its caller does."""
    frame, stub = start(max_concurrent=1, queue=5)
    held = stub.GetVersion.future(pb.GetVersionRequest(reference="hold"))
    assert fake.began.acquire(timeout=30)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetVersion(pb.GetVersionRequest(reference="late"), timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    fake.release.set()
    assert held.result(30).name == "hold"
    until(lambda: frame._lanes["calls"]._inside == 0)
    assert [name for name, _ in fake.calls] == ["hold"]


def test_a_cancelled_call_that_has_not_begun_is_not_started(start, fake):
    """Nobody waits for its answer."""
    frame, stub = start(max_concurrent=1, queue=5)
    held = stub.GetVersion.future(pb.GetVersionRequest(reference="hold"))
    assert fake.began.acquire(timeout=30)
    waiting = stub.GetVersion.future(pb.GetVersionRequest(reference="cancelled"))
    until(lambda: frame._lanes["calls"].waiting == 1)
    waiting.cancel()
    time.sleep(0.05)
    fake.release.set()
    assert held.result(30).name == "hold"
    until(lambda: frame._lanes["calls"]._inside == 0)
    assert [name for name, _ in fake.calls] == ["hold"]


def test_a_servicer_knows_the_deadline_and_who_asks(start, fake):
    """Also that there is none."""
    _, stub = start()
    stub.GetVersion(
        pb.GetVersionRequest(reference="a"), timeout=60, metadata=(("x-request-id", "r-1"),)
    )
    stub.GetVersion(pb.GetVersionRequest(reference="b"))
    first, second = (call for _, call in fake.calls)
    assert first.request_id == "r-1"
    assert 20 < first.remaining_s() <= 61  # the transport rounds a deadline up
    assert second.deadline == math.inf


def test_the_deadline_and_the_id_travel_on(start, fake):
    """A server that asks another passes on what is left of the time, and the request's id."""
    below, _ = start()

    class Asking(FakeRegistry):
        def GetVersion(self, request, context):
            with open_channel(below.target, Settings()) as channel:
                return rpc.RegistryServiceStub(channel).GetVersion(request)

    with (
        framed("registry", mounting(Asking())) as above,
        grpc.insecure_channel(above.target) as channel,
    ):
        stub = rpc.RegistryServiceStub(channel)
        metadata = (("x-request-id", "r-7"),)
        stub.GetVersion(pb.GetVersionRequest(reference="a"), timeout=10, metadata=metadata)
        (_, seen), *_ = fake.calls
        assert seen.request_id == "r-7"
        assert seen.remaining_s() <= 11  # the transport rounds a deadline up
        with pytest.raises(grpc.RpcError) as caught:  # passed through as what it is
            stub.GetVersion(pb.GetVersionRequest(reference="sleep:2"), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
