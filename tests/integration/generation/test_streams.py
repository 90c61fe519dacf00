"""Streams of faces: no more is made than is wanted, however the caller behaves."""

from __future__ import annotations

import time

import grpc
import pytest

from mien.api.generation.v1 import generation_pb2 as pb
from mien.api.generation.v1.generation_pb2_grpc import GenerationServiceStub
from mien.api.type.v1 import face_pb2
from mien.core.errors import Invalid
from mien.core.generation import FaceRequest, WantedFace
from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.errors import error_of
from mien.wire.generation import plan_message
from mien.wire.generation_client import GenerationClient, GenerationJobsClient
from services.chassis.testing import framed
from services.generation.mount import mount
from tests.integration.generation.conftest import TWO, plan
from tests.unit.generators.test_described import described

FEW_S = 30


@pytest.fixture
def roots(tmp_path):
    """A folder with five generators."""
    for name in "cadbe":
        described(tmp_path / "generators" / name)
    return tmp_path / "generators"


@pytest.fixture
def frame(plugins, roots, monkeypatch):
    """A service in this process with the quick engine."""
    monkeypatch.syspath_prepend(str(plugins))
    with framed("generation", mount, work_roots=(roots,), idle_s=3.0) as server:
        yield server


@pytest.fixture
def channel(frame, tmp_path):
    with open_channel(frame.target, load_settings(tmp_path)) as opened:
        yield opened


def faces_made(frame) -> float:
    """How many faces the service has sent or handed over to be sent."""
    return frame.metrics.registry.get_sample_value("mien_faces_generated_total", _QUICK) or 0.0


_QUICK = {"engine": "quick"}


def settled(frame) -> float:
    """Wait until no more faces are made; returns their number."""
    until, before = time.monotonic() + FEW_S, -1.0
    while (now := faces_made(frame)) != before and time.monotonic() < until:
        before = now
        time.sleep(0.5)
    return now


def test_a_cancelled_stream_stops_between_two_faces(frame, channel):
    """A million were asked for; nobody makes them."""
    faces = GenerationClient(channel).stream_faces(plan(1_000_000, face_s=0.01))
    seen = [next(faces) for _ in range(5)]
    faces.close()
    assert len({face.item.sample.digest for face in seen}) == 5
    assert settled(frame) < 100


def test_a_caller_that_does_not_read_is_not_made_for(frame, channel):
    """What is made waits for room; the memory of the service does not grow."""
    stub = GenerationServiceStub(channel)
    call = stub.StreamFaces(pb.StreamFacesRequest(plan=plan_message(plan(100_000, size_px=64))))
    next(call)
    made = settled(frame)
    assert made * 64 * 64 * 3 < 32 << 20
    call.cancel()


def test_a_deadline_ends_a_stream(frame, channel):
    """And the work."""
    stub = GenerationServiceStub(channel)
    request = pb.StreamFacesRequest(plan=plan_message(plan(1_000_000, face_s=0.01)))
    with pytest.raises(grpc.RpcError) as error:
        list(stub.StreamFaces(request, timeout=1.0))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert settled(frame) < 400


def test_answers_come_while_requests_still_go(frame, channel):
    """An engine without a network answers after few requests, not at the end of the stream."""
    sent = []

    def wanted():
        for i in range(1000):
            sent.append(i)
            yield WantedFace(FaceRequest(f"q/{i}", 0, "a", TWO[0]))

    faces = GenerationClient(channel).make_faces("quick", {"face_s": 0.005}, wanted())
    first = next(faces)
    assert first.item.sample.id == "q/0"
    assert len(sent) < 1000
    assert sum(1 for _ in faces) == 999
    assert faces_made(frame) == 1000


def choice(name="quick", params="") -> pb.MakeFacesRequest:
    return pb.MakeFacesRequest(engine=pb.EngineChoice(name=name, params_json=params))


ASKED = pb.MakeFacesRequest(request=pb.FaceRequest(id="a", expression=face_pb2.EXPRESSION_ANGER))


@pytest.mark.parametrize(
    "messages",
    [[], [ASKED], [pb.MakeFacesRequest()], [choice(), choice()], [choice(), pb.MakeFacesRequest()]],
)
def test_a_stream_begins_with_its_engine_and_names_it_once(channel, messages):
    """Everything else is the caller's mistake."""
    with pytest.raises(grpc.RpcError) as error:
        list(GenerationServiceStub(channel).MakeFaces(iter(messages)))
    found = error_of(error.value)
    assert isinstance(found, Invalid)
    assert found.reason == "STREAM_HEADER"


def test_pages_of_generators(channel):
    """All of them once, in their order; tokens are not made up."""
    stub = GenerationServiceStub(channel)
    names, token = [], ""
    while True:
        page = stub.ListGenerators(pb.ListGeneratorsRequest(page_size=2, page_token=token))
        names += [g.name for g in page.generators]
        token = page.next_page_token
        if not token:
            break
    assert names == list("abcde")
    for request, reason in (
        (pb.ListGeneratorsRequest(page_token="%%%"), "PAGE_TOKEN"),
        (pb.ListGeneratorsRequest(page_size=-1), "PAGE_SIZE"),
        (pb.ListGeneratorsRequest(page_size=1001), "PAGE_SIZE"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            stub.ListGenerators(request)
        assert error_of(error.value).reason == reason
    assert [g.name for g in GenerationClient(channel).generators()] == list("abcde")


def test_nothing_of_this_machine_is_told(channel, roots):
    """Neither folders nor tracebacks, whatever is asked."""
    stub = GenerationServiceStub(channel)
    bad = plan_message(plan(1))
    bad.engine, bad.params_json = "noise", '{"generator": "a"}'  # described, but has no weights
    with pytest.raises(grpc.RpcError) as error:
        list(stub.StreamFaces(pb.StreamFacesRequest(plan=bad)))
    found = error_of(error.value)
    assert found.reason == "GENERATOR_FILE"
    assert str(roots) not in f"{found.message} {found.hint} {found.details}"


def test_many_callers_get_what_each_asked_for(channel):
    """Interleaved streams of one engine: none gets another's faces."""
    client = GenerationClient(channel)
    plans = [plan(20, seed=seed) for seed in range(4)]
    alone = [[f.item.sample.digest for f in client.stream_faces(p)] for p in plans]
    streams = [client.stream_faces(p) for p in plans]
    together = [[] for _ in plans]
    for _ in range(40):
        for stream, digests in zip(streams, together, strict=True):
            digests.append(next(stream).item.sample.digest)
    assert together == alone


def test_jobs_are_listed_page_by_page(channel):
    """Newest first."""
    jobs = GenerationJobsClient(channel)
    asked = [jobs.create(plan(1, face_s=10.0, seed=i), f"v{i}").name for i in range(3)]
    first = jobs.jobs(page_size=2)
    second = jobs.jobs(page_size=2, page_token=first.next_page_token)
    assert [j.name for j in (*first.jobs, *second.jobs)] == asked[::-1]
    for name in asked:
        jobs.cancel(name)
