"""Streams of a client: errors at the call, nothing left open, the caller's own errors."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
from grpc_status import rpc_status

from mien.api.registry.v1.registry_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from mien.api.type.v1 import face_pb2, version_pb2
from mien.core.errors import Corrupt, NotFound
from mien.core.manifest import Provenance
from mien.core.sample import Item, Sample
from mien.wire.errors import status_of
from mien.wire.registry_client import RegistryClient
from mien.wire.streams import ACCEPTED

from .servers import serving

WAIT_S = 20.0


class Registry(RegistryServiceServicer):
    """Streams for ever, or fails; remembers what came and whether anybody listens."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.received: list[str] = []
        self.fails_after = None

    def StreamItems(self, request, context):
        if request.reference == "unknown":
            self.abort(context, NotFound("UNKNOWN_VERSION", "no such version"))
        context.add_callback(self.gone.set)
        if request.reference == "early":
            context.send_initial_metadata(ACCEPTED)
            self.gone.wait(WAIT_S)
            return
        count = 0
        while context.is_active():
            if request.reference == "damaged" and count == 3:
                self.abort(context, Corrupt("CORRUPT_SHARD", "three is damaged"))
            yield face_pb2.Item(sample=face_pb2.Sample(id=str(count), origin=1))
            count += 1

    def CreateVersion(self, request_iterator, context):
        for request in request_iterator:
            self.received.append(request.WhichOneof("part"))
            if self.fails_after == len(self.received):
                self.abort(context, NotFound("NO_ROOM", "the server had enough"))
        if self.received[-1] != "end":
            self.abort(context, Corrupt("STREAM_CUT", "it broke off"))
        return version_pb2.Version(name="made")

    def abort(self, context, error):
        context.abort_with_status(rpc_status.to_status(status_of(error)))


@pytest.fixture
def servicer():
    return Registry()


@pytest.fixture
def client(servicer):
    with serving(add_RegistryServiceServicer_to_server, servicer) as channel:
        yield RegistryClient(channel)


def test_an_error_of_the_call_is_raised_by_the_call(client):
    """Not by the first item, where nobody expects it."""
    with pytest.raises(NotFound, match="UNKNOWN_VERSION"):
        client.items("unknown")


def test_an_error_on_the_way_comes_after_what_was_right(client):
    """Items before it are handed out."""
    found = []
    with pytest.raises(Corrupt, match="CORRUPT_SHARD"):
        found.extend(item.sample.id for item in _kept(client.items("damaged"), found))
    assert found == ["0", "1", "2"]


def _kept(items, found):
    for item in items:
        found.append(item.sample.id)
    return []


def test_who_stops_listening_ends_the_call(client, servicer):
    """The server hears of it; nothing streams on."""
    items = client.items("endless")
    assert next(items).sample.id == "0"
    items.close()
    assert servicer.gone.wait(WAIT_S)


def test_an_accepted_stream_does_not_wait_for_its_first_item(client, servicer):
    """The call comes back as soon as the server has looked at the request."""
    items = client.items("early")
    assert not servicer.gone.is_set()
    servicer.gone.set()
    assert list(items) == []


def items(count, then=None):
    for i in range(count):
        yield Item(Sample(f"a/{i}", "a"), b"x" * 300_000)
    if then is not None:
        raise then


def create(client, given):
    return client.create("v", given, provenance=Provenance("test"), licences={})


def test_items_come_in_batches_with_their_end_said(client, servicer):
    """A header, about a megabyte a message, and how many there were."""
    assert create(client, items(10)).name == "made"
    assert servicer.received == ["header", "batch", "batch", "batch", "end"]


def test_the_callers_own_error_is_raised(client, servicer):
    """Whatever it is; the server is never told that all is there."""
    for error in (RuntimeError("the source broke"), KeyError("x"), Corrupt("MINE", "mine")):
        servicer.received.clear()
        with pytest.raises(type(error)) as caught:
            create(client, items(5, error))
        assert caught.value is error
        assert "end" not in servicer.received


def test_the_servers_refusal_ends_the_reading(client, servicer):
    """What comes after it is not made in vain."""
    servicer.fails_after = 2
    made = []

    def source():
        for item in items(100_000):
            made.append(item.sample.id)
            yield item

    with pytest.raises(NotFound, match="NO_ROOM"):
        create(client, source())
    time.sleep(0.2)
    read = len(made)
    time.sleep(0.2)
    assert len(made) == read < 50_000


def test_a_lost_server_is_an_error_of_ours(servicer):
    """In the middle of a stream as well."""
    with serving(add_RegistryServiceServicer_to_server, servicer) as channel:
        found = RegistryClient(channel).items("endless")
        next(found)
        channel.close()
        with pytest.raises((grpc.RpcError, ValueError)):
            list(found)
