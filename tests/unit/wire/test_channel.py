"""Every call carries what it should, and only harmless ones are repeated."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from mien.adapters.triton.server import free_port
from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1.registry_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from mien.api.type.v1 import face_pb2, version_pb2
from mien.core.errors import Unavailable
from mien.wire.call import CURRENT, CallInfo
from mien.wire.channel import DEADLINE_S, methods, open_channel, service_config
from mien.wire.registry_client import RegistryClient

from .servers import PLAIN, serving


class Registry(RegistryServiceServicer):
    """Fails as often as it is told, and remembers how it was called."""

    def __init__(self) -> None:
        self.failures = 0
        self.calls: list[tuple[dict[str, Any], float]] = []

    def called(self, context):
        self.calls.append((dict(context.invocation_metadata()), context.time_remaining()))
        if self.failures > 0:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")

    def GetVersion(self, request, context):
        self.called(context)
        return version_pb2.Version(name=request.reference, create_time={"seconds": 1})

    def SetAlias(self, request, context):
        self.called(context)
        return pb.Alias(name=request.name, update_time={"seconds": 1})

    def StreamItems(self, request, context):
        self.called(context)
        yield face_pb2.Item(sample=face_pb2.Sample(id="a", origin=1))


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    return file


@pytest.fixture
def servicer():
    return Registry()


@pytest.fixture
def client(servicer, token):
    given = SimpleNamespace(**{**vars(PLAIN), "token_file": token})
    with serving(add_RegistryServiceServicer_to_server, servicer, given) as channel:
        yield RegistryClient(channel)


def test_a_harmless_call_is_tried_again(client, servicer):
    """While the service says that it is unavailable, three times."""
    servicer.failures = 2
    assert client.get("x").name == "x"
    assert len(servicer.calls) == 3
    servicer.failures = 9
    with pytest.raises(Unavailable, match="not yet"):
        client.get("x")
    assert len(servicer.calls) == 7


def test_another_call_is_not(client, servicer):
    """Whether it was done or not, nobody knows: its caller decides."""
    servicer.failures = 1
    with pytest.raises(Unavailable):
        client.set_alias("x", "good", "y")
    assert len(servicer.calls) == 1


def test_what_is_repeated_stands_in_the_protos():
    """Reads and what is idempotent; never a promotion, a moved alias or a stream of items."""
    named = {
        (n["service"], n["method"]) for c in service_config()["methodConfig"] for n in c["name"]
    }
    known = {(service, m.name) for service, m in methods()}
    assert named < known
    safe = {method for _, method in named}
    assert safe >= {"GetVersion", "StreamItems", "CreateTrainingJob", "CancelTrainingJob"}
    assert not safe & {"PromoteModel", "RollbackModel", "SetAlias", "DeleteAlias", "CreateVersion"}


def test_every_call_carries_id_token_and_deadline(client, servicer, token):
    """The token is read anew each time; streams end when they end."""
    client.get("x")
    token.write_text("second")
    client.get("x")
    list(client.items("x"))
    (first, limit), (second, _), (stream, endless) = servicer.calls
    assert (first["authorization"], second["authorization"]) == ("Bearer first", "Bearer second")
    assert len({c["x-request-id"] for c in (first, second, stream)}) == 3
    assert 0 < limit < DEADLINE_S + 1
    assert endless is None or endless > 10**6


def test_calls_go_round_all_replicas():
    """Behind a headless Service every address gets its share, whoever connected first."""
    with ExitStack() as stack:
        first, second = Registry(), Registry()
        add = add_RegistryServiceServicer_to_server
        stack.enter_context(serving(add, first, address=f"127.0.0.2:{(port := free_port())}"))
        stack.enter_context(serving(add, second, address=f"127.0.0.3:{port}"))
        target = f"ipv4:127.0.0.2:{port},127.0.0.3:{port}"
        client = RegistryClient(stack.enter_context(open_channel(target, PLAIN)))
        deadline = time.monotonic() + 60.0
        while not (first.calls and second.calls) and time.monotonic() < deadline:
            client.get("x")  # the second connection may take a moment longer than the first
        before = len(first.calls), len(second.calls)
        for _ in range(10):
            client.get("x")
        assert (len(first.calls) - before[0], len(second.calls) - before[1]) == (5, 5)


def test_a_call_made_while_serving_belongs_to_that_one(client, servicer):
    """Its id, and no more time than its caller has."""
    served = CURRENT.set(CallInfo("r7", time.monotonic() + 5.0))
    try:
        client.get("x")
        list(client.items("x"))
    finally:
        CURRENT.reset(served)
    for metadata, left in servicer.calls:
        assert metadata["x-request-id"] == "r7"
        assert 0 < left < 6.0
