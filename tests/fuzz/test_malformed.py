"""Malformed and hostile requests against every RPC of every service.

``FUZZ`` is the number of requests an RPC gets: 20 with the fast tests, 500 in CI, 10,000 in
``make soak``. ``FUZZ_SEED`` sends others. A failure names the seed of its request.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
from contextlib import ExitStack

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mien.compose import open_serving
from mien.core.digest import seed_of
from mien.settings import load_settings
from mien.wire.channel import methods
from services.chassis.testing import framed
from tests.fuzz.messages import damaged, plausible
from tests.fuzz.valid import valid

FUZZ = int(os.environ.get("FUZZ", "20"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
RPCS = {f"/{service}/{method.name}": method for service, method in methods()}
GOOD = [rpc for rpc in sorted(RPCS) if valid(rpc)]  # CreateVersion comes before its readers
# A request that is refused by nothing may run for long; nobody waits for it here.
PATIENCE_S = 5.0
# Everything else says that a request was understood, or what was wrong with it.
BROKEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Start each service when it is first asked for; their workers do nothing."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("fuzz")
        patch.chdir(home)
        patch.setenv("MIEN_CACHE", str(home / "cache"))
        patch.setenv("MIEN_TRITON", "none")
        patch.setenv("MIEN_TRACKING_URI", "none")
        patch.setattr(sys, "executable", "/bin/true")
        started = {}

        def frame_of(name):
            if name not in started:
                mount = mount_of(name, stack, home)
                settings = {"data": home / "server", "work_roots": (home,), "import_roots": (home,)}
                started[name] = stack.enter_context(framed(name, mount, **settings))
            return started[name]

        yield frame_of


def mount_of(name, stack, home):
    """Return what mounts a service."""
    module = importlib.import_module(f"services.{name}.mount")
    if name != "serving":
        return module.mount
    opened = open_serving(home / "serving", home, load_settings(home), wait_s=0)
    return module.mounted(stack.enter_context(opened))


def send(channel, rpc, number):
    """Send one damaged request; returns how it ended."""
    rng = random.Random(seed_of("fuzz", SEED, rpc, number))
    kind = GetMessageClass(RPCS[rpc].input_type)
    good = valid(rpc)
    if good and rng.random() < 0.5:
        at = rng.randrange(len(good))
        return ask(channel, rpc, [*good[:at], damaged(good[at], rng), *good[at + 1 :]])
    requests = [plausible(kind, rng).SerializeToString() for _ in range(rng.choice([1, 1, 2, 3]))]
    if rng.random() < 0.6:
        at = rng.randrange(len(requests))
        requests[at] = damaged(requests[at], rng)
    return ask(channel, rpc, requests)


def ask(channel, rpc, requests, timeout_s=PATIENCE_S):
    """Send requests as they are; returns how it ended."""
    method = RPCS[rpc]
    try:
        if method.client_streaming and method.server_streaming:
            answer = channel.stream_stream(rpc)(iter(requests), timeout=timeout_s)
        elif method.client_streaming:
            channel.stream_unary(rpc)(iter(requests), timeout=timeout_s)
            return grpc.StatusCode.OK
        elif method.server_streaming:
            answer = channel.unary_stream(rpc)(requests[0], timeout=timeout_s)
        else:
            channel.unary_unary(rpc)(requests[0], timeout=timeout_s)
            return grpc.StatusCode.OK
        for _, _ in zip(range(2), answer, strict=False):
            pass
        answer.cancel()
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


@pytest.mark.parametrize("rpc", GOOD)
def test_undamaged_they_are_answered(rpc, frames):
    """What is damaged below was good before."""
    frame = frames(rpc.split(".")[2])
    with grpc.insecure_channel(frame.target) as channel:
        assert ask(channel, rpc, valid(rpc), 300.0) is grpc.StatusCode.OK


@pytest.mark.parametrize("rpc", sorted(RPCS))
def test_no_request_is_more_than_refused(rpc, frames, caplog):
    """Whatever comes, there is a proper status, no unforeseen error, and the server serves on."""
    frame = frames(rpc.split(".")[2])
    with (
        caplog.at_level(logging.ERROR, "services.chassis.calls"),
        grpc.insecure_channel(frame.target) as channel,
    ):
        broken = {n: code.name for n in range(FUZZ) if (code := send(channel, rpc, n)) in BROKEN}
        unforeseen = {
            f"{type(r.exc_info[1]).__name__}: {r.exc_info[1]}" for r in caplog.records if r.exc_info
        }
        assert broken == {}, f"FUZZ_SEED={SEED}: {sorted(unforeseen)[:5]}"
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5)
