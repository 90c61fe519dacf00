"""Tokens and roles."""

from __future__ import annotations

import logging
import os
import time

import grpc
import pytest

from mien.api.registry.v1 import registry_pb2 as pb
from mien.core.errors import Invalid
from mien.wire.errors import error_of
from services.chassis import tokens
from services.chassis.testing import framed
from services.chassis.tokens import digest_of, main, read_tokens
from tests.integration.chassis.fake_registry import mounting

GET = pb.GetVersionRequest(reference="a")
IMPORT = pb.ImportVersionRequest(folder="a")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(
        "# who may what\n"
        f"ann writer {digest_of('anns-token')}\n\n"
        f"bob viewer {digest_of('bobs-token')}  # reads only\n"
    )
    return path


def refused(call, request, token=None):
    """Call and return the domain error."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with pytest.raises(grpc.RpcError) as caught:
        call(request, metadata=metadata)
    return error_of(caught.value)


def test_roles_decide(start, file, caplog):
    """A viewer reads, a writer writes too; the log names them."""
    _, stub = start(tokens_file=file)
    ann, bob = ((("authorization", f"Bearer {t}"),) for t in ("anns-token", "bobs-token"))
    with caplog.at_level(logging.INFO, "services"):
        assert stub.GetVersion(GET, metadata=bob).name == "a"
        assert stub.ImportVersion(IMPORT, metadata=ann).name == "a"
    assert [r.principal for r in caplog.records if r.message == "call"] == ["bob", "ann"]
    assert refused(stub.ImportVersion, IMPORT, "bobs-token").reason == "ROLE"


@pytest.mark.parametrize(
    ("token", "reason"),
    [(None, "TOKEN_MISSING"), ("wrong", "TOKEN_UNKNOWN"), ("", "TOKEN_UNKNOWN")],
)
def test_without_a_known_token_nothing_is_answered(start, file, fake, caplog, token, reason):
    """Whatever is asked for, and the token itself is nowhere in the log."""
    _, stub = start(tokens_file=file)
    with caplog.at_level(logging.DEBUG):
        assert refused(stub.GetVersion, GET, token).reason == reason
        assert refused(stub.DeleteAlias, pb.DeleteAliasRequest(), token).reason == reason
    assert fake.calls == []
    assert not token or all(token not in str(vars(r)) for r in caplog.records)


def test_probes_need_no_token_and_reflection_does(start, file):
    """Whoever supervises a server has no token; what it offers is not everybody's business."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2 as reflection
    from grpc_reflection.v1alpha import reflection_pb2_grpc

    frame, _ = start(tokens_file=file)
    with grpc.insecure_channel(frame.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = iter([reflection.ServerReflectionRequest(list_services="")])
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_file_is_read_again_and_a_broken_one_changes_nothing(start, file, monkeypatch):
    """A new line lets somebody in, a removed one out; a typing error locks nobody out."""
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    _, stub = start(tokens_file=file)
    cyd = (("authorization", "Bearer cyds-token"),)
    assert refused(stub.GetVersion, GET, "cyds-token").reason == "TOKEN_UNKNOWN"
    replace(file, f"cyd viewer {digest_of('cyds-token')}\n")
    assert stub.GetVersion(GET, metadata=cyd).name == "a"
    assert refused(stub.GetVersion, GET, "bobs-token").reason == "TOKEN_UNKNOWN"
    replace(file, "cyd viewer\n")
    assert stub.GetVersion(GET, metadata=cyd).name == "a"


def replace(file, text):
    """Write as careful people do: a new file in the old one's place."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    os.utime(fresh, ns=(time.time_ns(), time.time_ns()))
    fresh.replace(file)


@pytest.mark.parametrize(
    "line",
    [
        "ann",
        "ann writer",
        "ann king blake3:" + "a" * 64,
        "ann writer a b",
        "ann writer plain-token",
        "ann writer blake3:" + "g" * 64,
        "ann writer md5:" + "a" * 64,
    ],
)
def test_a_wrong_line_is_named_and_not_shown(tmp_path, line):
    """The number of the line, never what stands there: it may be a token."""
    file = tmp_path / "tokens"
    file.write_text(f"# first\n{line}\n")
    with pytest.raises(Invalid, match="line 2") as caught:
        read_tokens(file)
    assert "plain-token" not in str(caught.value)


def test_a_server_does_not_start_with_a_broken_token_file(tmp_path):
    """Otherwise nobody or everybody could call it."""
    with (
        pytest.raises(Invalid, match="cannot be read"),
        framed("registry", mounting(), tokens_file=tmp_path / "nothing"),
    ):
        pass


def test_a_made_token_opens_the_door(tmp_path, capsys, start):
    """The line on stdout belongs in the file, the token on stderr to its owner."""
    assert main(["ann", "promoter"]) == 0
    printed = capsys.readouterr()
    file = tmp_path / "tokens"
    file.write_text(printed.out)
    token = printed.err.strip()
    assert token not in printed.out
    _, stub = start(tokens_file=file)
    metadata = (("authorization", f"Bearer {token}"),)
    assert stub.GetVersion(GET, metadata=metadata).name == "a"


@pytest.mark.parametrize("argv", [[], ["ann"], ["ann", "king"], ["a b", "viewer"]])
def test_a_wrong_command_makes_no_token(argv, capsys):
    """Exit code 2 and how it is used."""
    assert main(argv) == 2
    assert capsys.readouterr().out == ""
