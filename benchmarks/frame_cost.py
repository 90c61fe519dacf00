"""What the frame of the services costs a call and a streamed message, against bare gRPC.

The server is a process of its own; its processor time is read from outside. ``bare`` is the same
servicer on a plain gRPC server: no line, no metrics, no limits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent import futures
from typing import Any

import grpc
import psutil

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.api.type.v1 import face_pb2, version_pb2
from services.chassis.frame import Frame
from services.chassis.main import run

SERVICE = "mien.api.registry.v1.RegistryService"
ITEM = face_pb2.Item(image=bytes(range(256)) * 16)  # 4 KiB: a face of 64 pixels a side


class Answering(rpc.RegistryServiceServicer):
    """Answers at once; ``StreamItems`` sends as many items as its reference says."""

    def GetVersion(self, request, context):  # noqa: ARG002, D102, N802  gRPC names it
        return version_pb2.Version(name=request.reference)

    def StreamItems(self, request, context):  # noqa: ARG002, D102, N802
        for _ in range(int(request.reference)):
            yield ITEM


def serve(kind: str) -> int:
    servicer: Any = Answering  # what it lacks is unimplemented
    if kind == "frame":

        def mount(frame: Frame) -> None:
            frame.add(rpc.add_RegistryServiceServicer_to_server, servicer(), SERVICE)

        return run("registry", mount, ["--address", "127.0.0.1:0", "--metrics-address", "none"])
    server = grpc.server(futures.ThreadPoolExecutor(16))
    rpc.add_RegistryServiceServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("ready", kind, f"127.0.0.1:{port}", flush=True)
    threading.Event().wait()
    return 0


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(kind: str, calls: int, items: int) -> tuple[float, float, float, float]:
    """Processor ms a call and µs an item, of the server; wall ms a call, items a second."""
    command = [sys.executable, "-m", "benchmarks.frame_cost", "--serve", kind]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        target = server.stdout.readline().split()[2]
        process = psutil.Process(server.pid)
        with grpc.insecure_channel(target) as channel:
            stub = rpc.RegistryServiceStub(channel)
            request = pb.GetVersionRequest(reference="a")
            for _ in range(200):
                stub.GetVersion(request)
            before, started = cpu_s(process), time.perf_counter()
            for _ in range(calls):
                stub.GetVersion(request)
            wall_ms = (time.perf_counter() - started) / calls * 1e3
            call_ms = (cpu_s(process) - before) / calls * 1e3
            before, started = cpu_s(process), time.perf_counter()
            got = sum(1 for _ in stub.StreamItems(pb.StreamItemsRequest(reference=str(items))))
            assert got == items
            rate = items / (time.perf_counter() - started)
            item_us = (cpu_s(process) - before) / items * 1e6
    finally:
        server.terminate()
        server.wait(20)
    return call_ms, wall_ms, item_us, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=["bare", "frame"])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    if given.serve:
        raise SystemExit(serve(given.serve))
    found: dict[str, list[tuple[float, float, float, float]]] = {"bare": [], "frame": []}
    for _ in range(given.runs):  # interleaved, so that a busy moment hits both alike
        for kind, measured in found.items():
            measured.append(measure(kind, given.calls, given.items))
    heads = ("cpu ms/call", "wall ms/call", "cpu µs/item", "items/s")
    print(f"{'':<8}" + "".join(f"{head:>14}" for head in heads))
    medians = {}
    for kind, measured in found.items():
        medians[kind] = [statistics.median(column) for column in zip(*measured, strict=True)]
        call_ms, wall_ms, item_us, rate = medians[kind]
        print(f"{kind:<8}{call_ms:>14.3f}{wall_ms:>14.3f}{item_us:>14.1f}{rate:>14.0f}")
    pairs = zip(medians["frame"], medians["bare"], strict=True)
    print(f"{'ratio':<8}" + "".join(f"{frame / bare:>14.2f}" for frame, bare in pairs))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
