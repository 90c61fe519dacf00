"""A server as a process: its line, its signals, its exit code, its size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc

FAKE = [sys.executable, "-m", "tests.integration.chassis.fake_registry"]
FREE = ["--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]


@contextmanager
def process(command=FAKE, **environ):
    """Start a server; yields (process, target) once it says that it is ready."""
    env = {**os.environ, "PYTHONPATH": "src:.", **environ}
    started = subprocess.Popen(
        [*command, *FREE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        line = started.stdout.readline().split()
        assert line[:2] == ["ready", "registry"], started.stderr.read()
        assert line[3] == "metrics"
        yield started, line[2]
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def hold(target):
    """Start a call that waits, as a future; returns what keeps it alive as well."""
    channel = grpc.insecure_channel(target)
    call = rpc.RegistryServiceStub(channel).GetVersion.future(
        pb.GetVersionRequest(reference="sleep:0.6")
    )
    while not channel.unary_unary("/grpc.health.v1.Health/Check")(b""):
        pass
    time.sleep(0.2)
    return channel, call


def test_sigterm_drains_and_exits_with_0():
    """What has begun is answered, work saves its state, every line on stderr is JSON."""
    with process(FAKE_DRAIN_S="0.1", MIEN_SERVER_GRACE_S="5") as (server, target):
        channel, call = hold(target)
        server.send_signal(signal.SIGTERM)
        assert call.result(30).name == "sleep:0.6"
        out, err = server.communicate(timeout=30)
        channel.close()
        assert server.returncode == 0
        assert "saved with" in out
        events = [json.loads(line)["event"] for line in err.splitlines()]
        assert "call" in events
        assert events[-1] == "stopped"


def test_a_second_sigterm_ends_it_at_once():
    """Whoever asks twice means it."""
    with process(FAKE_DRAIN_S="30", MIEN_SERVER_GRACE_S="60") as (server, _):
        server.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.poll() is None
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 143


def test_a_killed_client_leaves_nothing_behind():
    """SIGKILL in the middle of streams and calls; the server serves on with all places free."""
    code = (
        "import grpc, sys, threading\n"
        "from mien.api.registry.v1 import registry_pb2 as pb, registry_pb2_grpc as rpc\n"
        "stub = rpc.RegistryServiceStub(grpc.insecure_channel(sys.argv[1]))\n"
        "streams = [stub.StreamItems(pb.StreamItemsRequest(reference='watch')) for _ in range(4)]\n"
        "[next(s) for s in streams]\n"
        "calls = [stub.GetVersion.future(pb.GetVersionRequest(reference='sleep:0.3'))"
        " for _ in range(4)]\n"
        "print('up', flush=True)\n"
        "threading.Event().wait()\n"
    )
    limits = {"MIEN_SERVER_MAX_STREAMS": "4", "MIEN_SERVER_STREAM_QUEUE": "0"}
    with process(**limits) as (server, target):
        for _ in range(3):  # each takes all places for streams
            client = subprocess.Popen(
                [sys.executable, "-c", code, target],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": "src"},
            )
            assert client.stdout.readline() == "up\n"
            client.kill()
            client.communicate()
            time.sleep(0.2)
        with grpc.insecure_channel(target) as channel:
            stub = rpc.RegistryServiceStub(channel)
            assert stub.GetVersion(pb.GetVersionRequest(reference="a"), timeout=30).name == "a"
            streams = [stub.StreamItems(pb.StreamItemsRequest(reference="watch")) for _ in "1234"]
            assert [next(s).image for s in streams] == [b"first"] * 4
            for stream in streams:
                stream.cancel()
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MIEN_SERVER_QUEUE": "-1"}, "MIEN_SERVER_QUEUE"),
        ({"MIEN_SERVER_GRACE_S": "soon"}, "MIEN_SERVER_GRACE_S"),
        ({"MIEN_SERVER_TOKENS_FILE": "no/such/file"}, "TOKENS_FILE"),
        ({"MIEN_SERVER_TLS_CERT_FILE": "no/such/file"}, "together"),
    ],
)
def test_a_wrong_setting_is_named_and_exits_with_2(environ, said):
    """One sentence and what to do, no traceback."""
    env = {**os.environ, "PYTHONPATH": "src:.", **environ}
    done = subprocess.run([*FAKE, *FREE], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_that_nothing_reads_is_named():
    """A typing error in a limit would otherwise be no limit."""
    with process(MIEN_SERVER_QUEU="5") as (server, _):
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=30)
    lines = [json.loads(line) for line in err.splitlines()]
    (said,) = [line for line in lines if line["event"] == "settings"]
    assert "MIEN_SERVER_QUEU " in said["what"]
    assert "MIEN_SERVER_QUEUE" in said["hint"]


def test_nothing_is_lost_when_it_ends_under_load():
    """What was done was answered; everything else is refused as one to be repeated.

    gRPC's own core cancels a call that comes in the very moment it shuts down; it has not begun.
    """
    outcomes = []

    def ask(target, ended):
        with grpc.insecure_channel(target) as channel:
            stub = rpc.RegistryServiceStub(channel)
            while not ended.is_set():
                call = stub.GetVersion.future(pb.GetVersionRequest(reference="sleep:0.01"))
                error = call.exception()
                outcomes.append(grpc.StatusCode.OK if error is None else call.code())
                if error is not None:
                    time.sleep(0.02)

    with process(MIEN_SERVER_GRACE_S="20", MIEN_SERVER_UNREADY_S="0.2") as (server, target):
        ended = threading.Event()
        callers = [threading.Thread(target=ask, args=(target, ended)) for _ in range(6)]
        for caller in callers:
            caller.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
        ended.set()
        for caller in callers:
            caller.join(60)
        assert server.returncode == 0
    done = [line for line in map(json.loads, err.splitlines()) if line["event"] == "call"]
    assert outcomes.count(grpc.StatusCode.OK) == sum(line["code"] == "OK" for line in done) > 0
    assert {line["code"] for line in done} <= {"OK", "UNAVAILABLE"}
    assert set(outcomes) - {grpc.StatusCode.CANCELLED} == {
        grpc.StatusCode.OK,
        grpc.StatusCode.UNAVAILABLE,
    }
    assert outcomes.count(grpc.StatusCode.CANCELLED) <= len(callers)


def test_a_port_that_is_taken_exits_with_2():
    """Two servers on one port would share the calls."""
    with process() as (_, target):
        env = {**os.environ, "PYTHONPATH": "src:."}
        done = subprocess.run(
            [*FAKE, "--address", target, "--metrics-address", "none"],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
    assert done.returncode == 2
    assert "PORT_IN_USE" in done.stderr


def test_nothing_heavy_is_imported():
    """A server starts at once: no torch, MLflow, OpenCV, pandas, SciPy, NumPy in the frame."""
    heavy = ("torch", "mlflow", "cv2", "pandas", "pyarrow", "sklearn", "scipy", "numpy")
    code = (
        "import sys; import services.chassis.main, services.chassis.frame; "
        f"print(' '.join(m for m in {heavy} if m in sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": "src:."}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert found.stdout.strip() == ""


def test_reflection_lists_what_is_mounted():
    """`grpcurl` needs no proto file."""
    from grpc_reflection.v1alpha import reflection_pb2 as reflection
    from grpc_reflection.v1alpha import reflection_pb2_grpc

    with process() as (_, target), grpc.insecure_channel(target) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status
        asked = iter([reflection.ServerReflectionRequest(list_services="")])
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(asked)
        names = {s.name for s in answer.list_services_response.service}
    assert names == {
        "mien.api.registry.v1.RegistryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
