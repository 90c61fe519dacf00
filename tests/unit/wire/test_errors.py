"""The ten errors cross the wire unchanged; what else may happen is told apart."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import ERRORS, Exhausted, Invalid, NotFound, Unavailable, invalid_fields
from mien.wire.channel import open_channel, translated
from mien.wire.errors import (
    CODES,
    error_of,
    internal_status,
    last_words,
    retry_after_s,
    status_of,
)

PLAIN = SimpleNamespace(token_file=None, tls_ca_file=None, tls_cert_file=None, tls_key_file=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEY = st.text("abcdefghijklmnopqrstuvwxyz_:é", min_size=1, max_size=20)
REASONS = st.from_regex(r"[A-Z][A-Z0-9_]{2,30}", fullmatch=True)


class Raising:
    """Answers every call as it is told."""

    def __init__(self) -> None:
        self.answer = lambda _: None

    def __call__(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        self.answer(context)
        return Empty()


@contextmanager
def serving():
    """A real server whose one method does what `raising.answer` says."""
    raising = Raising()
    handler = grpc.unary_unary_rpc_method_handler(
        raising,
        request_deserializer=Empty.FromString,
        response_serializer=Empty.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"M": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open_channel(f"127.0.0.1:{port}", PLAIN) as channel:
        call = channel.unary_unary("/t.T/M", Empty.SerializeToString, Empty.FromString)
        yield raising, call
    server.stop(None)


@pytest.fixture(scope="module")
def wire():
    with serving() as both:
        yield both


def over(wire, error):
    """Raise an error in the server; return what the client makes of it."""
    raising, call = wire
    raising.answer = lambda context: context.abort_with_status(
        rpc_status.to_status(status_of(error, "r1"))
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(Empty())
    assert caught.value.code() == CODES[type(error)]
    return error_of(caught.value)


def same(one, other):
    return [type(one), one.reason, one.message, one.hint, one.details] == [
        type(other),
        other.reason,
        other.message,
        other.hint,
        other.details,
    ]


def test_the_table_is_total_and_goes_both_ways():
    """Every error has a code, every code one error."""
    assert set(CODES) == set(ERRORS)
    assert len(set(CODES.values())) == len(ERRORS)


@given(
    kind=st.sampled_from(ERRORS),
    reason=REASONS,
    message=TEXT,
    hint=TEXT,
    details=st.dictionaries(KEY, TEXT, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_an_error_survives_the_wire(wire, kind, reason, message, hint, details):
    """Class, reason, message, hint and details."""
    error = kind(reason, message, hint=hint, details=details)
    assert same(over(wire, error), error)


def test_field_violations_travel_as_such(wire):
    """Any client can read which field is wrong; ours has them where they were."""
    error = invalid_fields("ENGINE_PARAMS", "wrong", {"size_px": "is 3", "seed": "is negative"})
    assert same(over(wire, error), error)
    (bad,) = [d for d in status_of(error).details if d.Is(error_details_pb2.BadRequest.DESCRIPTOR)]
    request = error_details_pb2.BadRequest.FromString(bad.value)
    assert {v.field: v.description for v in request.field_violations} == error.violations


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Exhausted("QUEUE_FULL", "full", details={"retry_after_s": "2.5"}), 2.5),
        (Unavailable("TRITON_UNAVAILABLE", "down"), 1.0),
        (Unavailable("X", "a wait that is none", details={"retry_after_s": "nan"}), 1.0),
        (NotFound("UNKNOWN_VERSION", "no"), None),
    ],
)
def test_those_that_pass_say_when_to_try_again(error, wait):
    """RetryInfo for Exhausted and Unavailable, and for no other."""
    told = [d for d in status_of(error).details if d.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    found = [
        i.seconds + i.nanos / 1e9
        for i in (error_details_pb2.RetryInfo.FromString(d.value).retry_delay for d in told)
    ]
    assert found == ([] if wait is None else [wait])


def test_a_huge_error_still_arrives(wire):
    """Its texts are cut: headers are small, and a lost error helps nobody."""
    details = {f"key{i}": "é" * 5000 for i in range(50)} | {"field:x": "ü" * 5000}
    error = Invalid("BAD_SAMPLE", "é" * 50_000, hint="ü" * 50_000, details=details)
    back = over(wire, error)
    assert isinstance(back, Invalid)
    assert back.reason == "BAD_SAMPLE"
    assert back.message.startswith("ééé")
    assert back.message.endswith("…")
    assert len(status_of(error).SerializeToString()) < 6000


def test_a_text_that_is_no_utf8_still_arrives(wire):
    """File names may hold anything."""
    back = over(wire, NotFound("UNREADABLE", "no \udc80.png", details={"file": "\udc80"}))
    assert back.message == "no \N{REPLACEMENT CHARACTER}.png"


def test_cancelled_and_late_pass_through(wire):
    """They are the caller's own doing, and have no domain error."""
    raising, call = wire
    raising.answer = lambda _: time.sleep(0.5)
    with pytest.raises(grpc.RpcError) as late, translated():
        call(Empty(), timeout=0.05)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    future = call.future(Empty())
    future.cancel()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)), translated():
        future.result()


def test_an_unforeseen_error_tells_only_its_request(wire):
    """INTERNAL with the id to look up."""
    raising, call = wire
    raising.answer = lambda context: context.abort_with_status(
        rpc_status.to_status(internal_status("r77"))
    )
    with pytest.raises(grpc.RpcError) as caught, translated():
        call(Empty())
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error (request r77)"


def test_people_are_told_of_any_failed_call(wire):
    """In a sentence, with what to do."""
    raising, call = wire
    raising.answer = lambda _: time.sleep(0.5)
    with pytest.raises(grpc.RpcError) as late:
        call(Empty(), timeout=0.05)
    assert last_words(late.value).reason == "DEADLINE_EXCEEDED"
    raising.answer = lambda context: context.abort_with_status(
        rpc_status.to_status(internal_status("r77"))
    )
    with pytest.raises(grpc.RpcError) as internal:
        call(Empty())
    told = last_words(internal.value)
    assert (told.reason, "request r77" in told.message) == ("INTERNAL", True)
    assert "log" in told.hint


def test_what_others_say_becomes_a_domain_error_too(wire):
    """A plain gRPC server, a proxy, or nobody at the address."""
    raising, call = wire
    raising.answer = lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    with pytest.raises(NotFound) as caught, translated():
        call(Empty())
    assert (caught.value.reason, caught.value.message) == ("NOT_FOUND", "no such thing")
    with open_channel("127.0.0.1:1", PLAIN) as channel:
        nobody = channel.unary_unary("/t.T/M", Empty.SerializeToString, Empty.FromString)
        with pytest.raises(Unavailable) as down, translated():
            nobody(Empty())
    assert "running" in down.value.hint


def test_a_wait_that_others_name_is_kept(wire):
    """RetryInfo without our own words around it."""
    raising, call = wire
    status = status_of(Exhausted("QUEUE_FULL", "full", details={"retry_after_s": "0.25"}))
    kept = [d for d in status.details if d.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    del status.details[:]
    status.details.extend(kept)
    raising.answer = lambda context: context.abort_with_status(rpc_status.to_status(status))
    with pytest.raises(Exhausted) as caught, translated():
        call(Empty())
    assert retry_after_s(caught.value) == 0.25


def test_a_broken_trailer_is_no_crash(wire):
    """Whoever sends it."""
    raising, call = wire

    def broken(context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.ABORTED, "somebody was faster")

    raising.answer = broken
    with pytest.raises(grpc.RpcError) as caught:
        call(Empty())
    assert error_of(caught.value).reason == "ABORTED"


def test_every_file_of_credentials_is_named_when_missing(tmp_path):
    """Before anything is sent."""
    given = SimpleNamespace(**{**vars(PLAIN), "tls_ca_file": tmp_path / "ca.pem"})
    with pytest.raises(NotFound, match="CREDENTIALS_MISSING"):
        open_channel("localhost:1", given)


def test_a_token_is_not_sent_in_clear_to_another_machine(tmp_path):
    """On this machine it may be."""
    token = Path(tmp_path / "token")
    token.write_text("secret\n")
    given = SimpleNamespace(**{**vars(PLAIN), "token_file": token})
    with pytest.raises(Invalid, match="TOKEN_IN_CLEAR"):
        open_channel("example.org:7101", given)
    for here in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/tmp/x.sock", "dns:///localhost:1"):
        open_channel(here, given).close()
