"""A framed fake registry and a stub for it."""

from __future__ import annotations

import grpc
import pytest

from mien.api.registry.v1 import registry_pb2_grpc as rpc
from services.chassis.testing import framed
from tests.integration.chassis.fake_registry import FakeRegistry, mounting


@pytest.fixture
def fake():
    return FakeRegistry()


@pytest.fixture
def start(fake):
    """Start the fake with given settings; returns (frame, stub)."""
    opened = []

    def begin(**settings):
        context = framed("registry", mounting(fake), **settings)
        frame = context.__enter__()
        channel = grpc.insecure_channel(frame.target)
        opened.extend([channel.close, lambda: context.__exit__(None, None, None)])
        return frame, rpc.RegistryServiceStub(channel)

    yield begin
    fake.release.set()
    for close in opened:
        close()
