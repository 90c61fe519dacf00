"""Streams to a registry service and back: whole or not at all, in order, refused by name."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1.registry_pb2_grpc import RegistryServiceStub
from mien.core.errors import Forbidden, Invalid, MienError, NotFound
from mien.registry.write import write_version
from mien.settings import Settings
from mien.wire.channel import open_channel, translated
from mien.wire.faces import item_message
from mien.wire.registry_client import RegistryClient
from services.chassis.testing import running
from services.registry.mount import mount
from tests.integration.registry.faces import MADE, faces


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def channel(home):
    (home / "open").mkdir()
    with (
        running("registry", mount, data=home, import_roots=(home / "open",)) as target,
        open_channel(target, Settings()) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def stub(channel):
    return RegistryServiceStub(channel)


@pytest.fixture(scope="module")
def registry(channel):
    return RegistryClient(channel)


def header(name="cut"):
    return pb.CreateVersionRequest(header=pb.CreateVersionHeader(name=name))


def batch(items):
    return pb.CreateVersionRequest(batch=pb.ItemBatch(items=[item_message(i) for i in items]))


def end(count):
    return pb.CreateVersionRequest(end=pb.CreateVersionEnd(items=count))


def refused(stub, *messages) -> MienError:
    with pytest.raises(MienError) as caught, translated():
        stub.CreateVersion(iter(messages))
    return caught.value


def nothing_left(home: Path) -> bool:
    versions = home / "registry" / "blobs" / "versions"
    return not versions.exists() or not list(versions.glob(".*"))


def wait_until(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


@pytest.mark.parametrize(
    "messages",
    [
        [header(), batch(faces(3, "x"))],
        [header()],
        [header(), batch(faces(3, "x")), end(4)],
        [header(), end(1)],
        [header(), batch(faces(3, "x")), end(3), batch(faces(1, "x"))],
    ],
)
def test_a_stream_without_its_right_end_makes_nothing(stub, registry, home, messages):
    """Broken off, or with another number of items than announced."""
    found = refused(stub, *messages)
    assert isinstance(found, Invalid)
    assert found.reason == "STREAM_CUT"
    with pytest.raises(NotFound):
        registry.get("cut")
    assert wait_until(lambda: nothing_left(home))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [batch(faces(1, "x"))],
        [header(), header()],
        [pb.CreateVersionRequest()],
        [header(), pb.CreateVersionRequest()],
    ],
)
def test_the_header_comes_first_and_once(stub, messages):
    """Anything else is refused by name."""
    assert refused(stub, *messages).reason == "STREAM_HEADER"


def test_an_item_that_cannot_be_stored_is_refused_by_name(stub):
    """No origin, no image, a digest of something else, an id that came before."""
    good = item_message(faces(1, "x")[0])
    for change, reason in (
        ({"origin": 0}, "BAD_SAMPLE"),
        ({"valence": 2.0}, "BAD_SAMPLE"),
        ({"digest": "0" * 64}, "DIGEST_MISMATCH"),
    ):
        wrong = type(good)()
        wrong.CopyFrom(good)
        for field, value in change.items():
            setattr(wrong.sample, field, value)
        message = pb.CreateVersionRequest(batch=pb.ItemBatch(items=[wrong]))
        assert refused(stub, header(), message, end(1)).reason == reason
    empty = type(good)(sample=good.sample)
    message = pb.CreateVersionRequest(batch=pb.ItemBatch(items=[empty]))
    assert refused(stub, header(), message, end(1)).reason == "EMPTY_IMAGE"
    assert refused(stub, header(), batch(faces(1, "x") * 2), end(2)).reason == "DUPLICATE_ID"
    assert refused(stub, header("../x"), end(0)).reason == "VERSION_NAME"


SENDER = """
import sys, time
from mien.api.registry.v1.registry_pb2_grpc import RegistryServiceStub
from mien.settings import Settings
from mien.wire.channel import open_channel
from tests.integration.registry.faces import faces
from tests.integration.registry.test_streams import batch, end, header

def messages():
    yield header("cut")
    items = faces(3000, "killed")
    for start in range(0, 2000, 100):
        yield batch(items[start : start + 100])
    print("half", flush=True)
    time.sleep(60)

RegistryServiceStub(open_channel(sys.argv[1], Settings())).CreateVersion(messages())
"""


def test_a_client_that_is_killed_leaves_nothing(home, tmp_path):
    """In the middle of its stream: no version, no staging folder, and the service goes on."""
    with running("registry", mount, data=tmp_path) as target:
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER, target],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": "src:."},
        )
        assert sender.stdout is not None
        assert sender.stdout.readline() == "half\n"
        assert wait_until(lambda: not nothing_left(tmp_path))  # it is being written
        sender.send_signal(signal.SIGKILL)
        sender.communicate()
        assert wait_until(lambda: nothing_left(tmp_path))
        with open_channel(target, Settings()) as channel:
            registry = RegistryClient(channel)
            assert list(registry.versions()) == []
            assert registry.create("cut", faces(3, "x"), provenance=MADE, licences={}).rows == 3


def test_a_client_that_cancels_leaves_nothing(stub, registry, home):
    """Politely, while the service waits for more."""
    first = [header("cancelled"), batch(faces(50, "x"))]

    def messages():
        yield from first
        while call.is_active():
            time.sleep(0.01)

    call = stub.CreateVersion.future(messages())
    assert wait_until(lambda: not nothing_left(home))
    call.cancel()
    assert wait_until(lambda: nothing_left(home))
    with pytest.raises(NotFound):
        registry.get("cancelled")


def test_a_reader_that_leaves_half_way_is_let_go(stub, registry):
    """A stream nobody reads stops where it is; the next one is whole."""
    registry.create("long", faces(3000, "long"), provenance=MADE, licences={})
    call = stub.StreamItems(pb.StreamItemsRequest(reference="long"))
    assert next(iter(call)).sample.id == "a/00000"
    call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert [i.sample.id for i in registry.items("long")] == [f"a/{i:05d}" for i in range(3000)]


def test_pages_hold_what_was_asked_for(stub, registry):
    """All of them, once, in order; the last page says so."""
    for number in range(5):
        registry.create(f"page-{number}", faces(2, f"p{number}"), provenance=MADE, licences={})
        registry.set_alias(f"page-{number}", "good", f"page-{number}")
    for call, kind, field in (
        (stub.ListVersions, pb.ListVersionsRequest, "versions"),
        (stub.ListAliases, pb.ListAliasesRequest, "aliases"),
    ):
        found, token, pages = [], "", 0
        while True:
            answer = call(kind(page_size=2, page_token=token))
            rows = getattr(answer, field)
            assert 0 < len(rows) <= 2
            found += [row.name for row in rows if row.name.startswith("page-")]
            pages += 1
            token = answer.next_page_token
            if not token:
                break
        assert found == [f"page-{n}" for n in range(5)]
        assert pages >= 3


def test_wrong_pages_are_refused(stub, registry):
    """A token of another list, one that was altered, a size that is none."""
    registry.create("a-1", faces(2, "a1"), provenance=MADE, licences={})
    registry.create("a-2", faces(2, "a2"), provenance=MADE, licences={})
    token = stub.ListVersions(pb.ListVersionsRequest(page_size=1)).next_page_token
    assert token

    def reason(call, **fields):
        with pytest.raises(Invalid) as caught, translated():
            call(fields)
        return caught.value.reason

    def versions(fields):
        return stub.ListVersions(pb.ListVersionsRequest(**fields))

    def aliases(fields):
        return stub.ListAliases(pb.ListAliasesRequest(**fields))

    assert reason(versions, page_token=token, name="a-1") == "PAGE_TOKEN"
    assert reason(aliases, page_token=token) == "PAGE_TOKEN"
    for altered in (token[:-1], "A" + token[1:], "é", "x", token + "AAAA", "="):
        assert reason(versions, page_token=altered) == "PAGE_TOKEN"
    for size in (-1, 1001):
        assert reason(versions, page_size=size) == "PAGE_SIZE"
        assert reason(aliases, page_size=size) == "PAGE_SIZE"


def test_only_what_lies_below_an_import_root_is_imported(registry, home, tmp_path):
    """Not beside it, not through a link, not what is no path; and never is told what exists."""
    outside = tmp_path / "outside"
    write_version(faces(3, "i"), outside, name="i", provenance=MADE, licences={})
    inside = home / "open" / "inside"
    write_version(faces(3, "i"), inside, name="i", provenance=MADE, licences={})
    (home / "open" / "link").symlink_to(outside)
    assert registry.import_version("imported", inside).rows == 3
    for path in (
        outside,
        home / "open" / "link",
        home / "open" / ".." / ".." / "etc",
        home / "open" / "nothing",
        Path("/nothing"),
        Path("open/inside"),
    ):
        with pytest.raises(Forbidden) as caught:
            registry.import_version("other", path)
        assert caught.value.reason == "IMPORT_FORBIDDEN"
    with pytest.raises(NotFound) as missing:
        registry.import_version("other", home / "open")
    assert missing.value.reason == "VERSION_MISSING"
