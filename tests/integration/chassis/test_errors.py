"""What a caller sees of an error, and what it does not."""

from __future__ import annotations

import json
import logging
import time

import grpc
import pytest

from mien.api.registry.v1 import registry_pb2 as pb
from mien.core.errors import ERRORS, Interrupted, Invalid, NotFound
from mien.wire.errors import error_of
from services.chassis.refusal import without_paths
from tests.integration.chassis.fake_registry import GET

RAISE = pb.GetVersionRequest(reference="raise")


def failed(call, *args, **kwargs):
    """Call and return the error."""
    with pytest.raises(grpc.RpcError) as caught:
        list(answer) if hasattr(answer := call(*args, **kwargs), "__iter__") else answer
    return caught.value


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_domain_error_is_itself_on_the_other_side(start, fake, kind):
    """Class, reason, message, hint and details survive, from a call and from a stream."""
    _, stub = start()
    fake.error = kind("SOME_REASON", "what and where", hint="do this", details={"row": "7"})
    for error in (
        failed(stub.GetVersion, RAISE),
        failed(stub.StreamItems, pb.StreamItemsRequest(reference="raise:2")),
    ):
        found = error_of(error)
        assert type(found) is kind
        assert (found.reason, found.message, found.hint) == (
            "SOME_REASON",
            "what and where",
            "do this",
        )
        assert found.details["row"] == "7"


def test_an_unforeseen_error_tells_only_where_to_look(start, fake, caplog):
    """INTERNAL with the request id; class, text, traceback and paths stay in the log."""
    _, stub = start()
    fake.error = RuntimeError("the secret is in /srv/secrets/key.pem")
    with caplog.at_level(logging.INFO, "services"):
        error = failed(stub.GetVersion, RAISE, metadata=(("x-request-id", "mine-1"),))
    assert error.code() is grpc.StatusCode.INTERNAL
    told = f"{error.details()} {error.trailing_metadata()}"
    assert "mine-1" in error.details()
    for word in ("secret", "RuntimeError", "Traceback", ".py"):
        assert word not in told
    logged = next(r for r in caplog.records if r.exc_info)
    assert "secret" in str(logged.exc_info[1])


def test_folders_of_the_server_are_not_told(start, fake):
    """Of a path only the last part leaves the server; words and addresses are left alone."""
    _, stub = start()
    fake.error = NotFound(
        "NO_VERSION",
        "/srv/data/versions/faces.parquet is not there",
        hint="see 'file:///srv/data/x.log' or http://example.org/a/b",
        details={"file": "/srv/data/y"},
    )
    found = error_of(failed(stub.GetVersion, RAISE))
    assert found.message == "…/faces.parquet is not there"
    assert found.hint == "see '…/x.log' or http://example.org/a/b"
    assert found.details["file"] == "…/y"


@pytest.mark.parametrize(
    "text", ["1/2 and/or 3/4", "demo_lab/017/anger.png", "n/a", "a/", "expression/7"]
)
def test_relative_names_are_told(text):
    """Sample ids and model names look like paths and are none."""
    assert without_paths(Invalid("X", text)).message == text


def test_interrupted_work_asks_to_try_again(start, fake):
    """Work that a stopping server interrupted is unavailable, not broken."""
    _, stub = start()
    fake.error = Interrupted()
    assert failed(stub.GetVersion, RAISE).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7fshort"])
def test_a_malformed_message_is_the_callers_mistake(start, data):
    """Bytes that are no message, and strings that are no UTF-8, are INVALID_ARGUMENT."""
    frame, _ = start()
    with grpc.insecure_channel(frame.target) as channel:
        error = failed(channel.unary_unary(GET), data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_of(error).reason == "MALFORMED_MESSAGE"


def test_a_unary_call_without_message_is_refused(start):
    """Zero messages where one belongs."""
    frame, _ = start()
    with grpc.insecure_channel(frame.target) as channel:
        error = failed(channel.stream_unary(GET), iter([]))
    assert error_of(error).reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("method", ["/mien.api.registry.v1.RegistryService/Gone", "/x/y", "/"])
def test_an_unknown_method_is_unimplemented(start, method):
    """So gRPC says; the hint of our clients is that this is another service or release."""
    frame, _ = start()
    with grpc.insecure_channel(frame.target) as channel:
        error = failed(channel.unary_unary(method), b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "there is no" in error.details()
    assert "another service" in error_of(error).hint


def test_a_bug_is_logged_although_its_caller_went_away(start, fake, caplog):
    """Nobody hears of it, but whoever reads the log does."""
    _, stub = start()

    class Bug(Exception):
        pass

    def late(reference):
        time.sleep(0.3)
        raise Bug

    fake._version = late
    error = failed(stub.GetVersion, RAISE, timeout=0.05)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    end = time.monotonic() + 5
    while not any(r.exc_info and r.exc_info[0] is Bug for r in caplog.records):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_rpc_without_code_is_unimplemented(start):
    """What the servicer does not override says so, without a traceback in the answer."""
    _, stub = start()
    error = failed(stub.DeleteAlias, pb.DeleteAliasRequest())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_too_large_ends_only_its_call(start):
    """Past the limit the call is refused; the connection serves on."""
    _, stub = start(max_message_mb=0.1)
    error = failed(stub.GetVersion, pb.GetVersionRequest(reference="x" * 200_000))
    assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
    assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"


def test_the_request_id_comes_back_and_stands_in_every_line(start, fake, capsys):
    """In the trailing metadata, in the call's line and in lines written meanwhile."""
    from mien.logs import configure

    _, stub = start()
    configure(form="json")
    logging.getLogger("services").setLevel(logging.INFO)
    try:
        fake.error = RuntimeError("x")
        error = failed(stub.GetVersion, RAISE, metadata=(("x-request-id", "r-42"),))
        _, call = stub.GetVersion.with_call(pb.GetVersionRequest(reference="a"))
    finally:
        logging.getLogger().handlers.clear()
        logging.getLogger("services").setLevel(logging.NOTSET)
    assert dict(error.trailing_metadata())["x-request-id"] == "r-42"
    made = dict(call.trailing_metadata())["x-request-id"]
    assert made not in ("", "r-42")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines if line.get("request_id") == "r-42"] == [
        "unforeseen",
        "call",
    ]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'quote"', "semi;colon"])
def test_an_odd_request_id_is_replaced(start, given):
    """It goes into logs and headers, hence only plain ones are taken."""
    _, stub = start()
    _, call = stub.GetVersion.with_call(
        pb.GetVersionRequest(reference="a"), metadata=(("x-request-id", given),)
    )
    made = dict(call.trailing_metadata())["x-request-id"]
    assert made != given
    assert len(made) == 16


def test_one_line_a_call_with_everything(start, caplog):
    """Method, code, duration, peer, principal, id, messages and bytes both ways."""
    _, stub = start()
    request = pb.StreamItemsRequest(reference="some:4")
    with caplog.at_level(logging.INFO, "services"):
        received = list(stub.StreamItems(request))
        assert stub.GetVersion(pb.GetVersionRequest(reference="a")).name == "a"
    lines = [r for r in caplog.records if r.message == "call"]
    assert len(lines) == 2
    line = vars(next(r for r in lines if r.method.endswith("StreamItems")))
    assert line["code"] == "OK"
    assert (line["messages_in"], line["bytes_in"]) == (1, request.ByteSize())
    assert (line["messages_out"], line["bytes_out"]) == (4, sum(i.ByteSize() for i in received))
    assert line["peer"].startswith("ipv4:127.0.0.1")
    assert line["duration_ms"] >= line["waited_ms"] >= 0
    assert len(line["request_id"]) == 16
