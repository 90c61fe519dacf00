"""A server at three times its capacity: what accepted calls take, how fast the rest is refused.

The server is a process of its own, with a servicer that waits (as one that asks Triton does) or
computes. Callers come at random moments at three times the rate the server was measured to
sustain, whether earlier ones were answered or not.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

import grpc
import numpy as np
import psutil

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.api.type.v1 import version_pb2
from mien.wire.errors import error_of, retry_after_s
from services.chassis.frame import Frame
from services.chassis.main import run

SERVICE = "mien.api.registry.v1.RegistryService"


class Working(rpc.RegistryServiceServicer):
    """``wait:<ms>`` sleeps half to one and a half times as long, ``work:<ms>`` computes so long."""

    def GetVersion(self, request, context):  # noqa: ARG002, D102, N802  gRPC names it
        kind, _, ms = request.reference.partition(":")
        if kind == "wait":
            time.sleep(float(ms) / 1e3 * (0.5 + random.random()))
        else:
            until = time.thread_time() + float(ms) / 1e3
            while time.thread_time() < until:
                pass
        return version_pb2.Version(name=request.reference)


def serve(workers: int, queue: int) -> int:
    os.environ |= {
        "MIEN_SERVER_MAX_CONCURRENT": str(workers),
        "MIEN_SERVER_QUEUE": str(queue),
        "MIEN_SERVER_LOG_LEVEL": "info",
    }
    servicer: Any = Working  # what it lacks the frame calls unimplemented

    def mount(frame: Frame) -> None:
        frame.add(rpc.add_RegistryServiceServicer_to_server, servicer(), SERVICE)

    return run("registry", mount, ["--address", "127.0.0.1:0", "--metrics-address", "none"])


def closed_loop(stub, request, clients: int, seconds: float) -> tuple[float, list[float]]:
    """So many callers, each asking again when answered: (answers a second, seconds of each)."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def ask() -> None:
        while (started := time.perf_counter()) < end:
            stub.GetVersion(request)
            taken.append(time.perf_counter() - started)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(taken) / seconds, taken


def open_loop(stub, request, rate: float, seconds: float) -> tuple[list[float], list[float], int]:
    """Callers at random moments: seconds of the accepted, of the refused; refused without wait."""
    rng = random.Random(1)
    accepted: list[float] = []
    refused: list[float] = []
    bare = 0
    open_calls = []
    next_at = time.perf_counter()
    end = next_at + seconds
    while next_at < end:
        next_at += rng.expovariate(rate)
        time.sleep(max(0.0, next_at - time.perf_counter()))
        started = time.perf_counter()
        call = stub.GetVersion.future(request)
        stamp: dict[str, float] = {}
        call.add_done_callback(lambda _, s=stamp: s.setdefault("at", time.perf_counter()))
        open_calls.append((started, stamp, call))
    for started, stamp, call in open_calls:
        error = call.exception(30)
        while "at" not in stamp:
            time.sleep(0.001)
        if error is None:
            accepted.append(stamp["at"] - started)
            continue
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, call.code()
        refused.append(stamp["at"] - started)
        told = error_of(error)
        bare += told is None or retry_after_s(told) is None
    return accepted, refused, bare


def measure(kind: str, ms: float, workers: int, queue: int, seconds: float) -> None:
    command = [sys.executable, "-m", "benchmarks.overload", "--serve", str(workers), str(queue)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        target = server.stdout.readline().split()[2]
        memory = psutil.Process(server.pid).memory_info
        with grpc.insecure_channel(target) as channel:
            stub = rpc.RegistryServiceStub(channel)
            request = pb.GetVersionRequest(reference=f"{kind}:{ms}")
            closed_loop(stub, request, workers, 1.0)
            _, alone = closed_loop(stub, request, 1, seconds / 3)
            capacity, full = closed_loop(stub, request, workers, seconds / 3)
            before = memory().rss
            open_loop(stub, request, 3 * capacity, seconds / 3)
            half_way = memory().rss
            accepted, refused, bare = open_loop(stub, request, 3 * capacity, seconds)
            after = memory().rss
    finally:
        server.terminate()
        server.wait(20)
    row(f"{kind} {ms:g} ms, {workers} workers, {queue} may wait", None, None)
    row("  unloaded (one caller)", alone, None)
    row(f"  full ({workers} callers, {capacity:.0f}/s)", full, alone)
    row(f"  accepted at {3 * capacity:.0f}/s", accepted, alone)
    row("  refused", refused, alone)
    share = len(accepted) / (len(accepted) + len(refused))
    print(
        f"  accepted {share:.0%}, {len(accepted) / seconds:.0f}/s; refused without a wait: {bare}; "
        f"memory {before / 2**20:.1f} -> {half_way / 2**20:.1f} -> {after / 2**20:.1f} MiB"
    )


def row(name: str, taken: list[float] | None, alone: list[float] | None) -> None:
    if not taken:
        print(name)
        return
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3
    ratio = f"{p99 / (np.percentile(alone, 99) * 1e3):>7.2f}" if alone else ""
    print(f"{name:<44} {len(taken):>7} {p50:>9.2f} {p99:>9.2f} {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=2, type=int, metavar=("WORKERS", "QUEUE"))
    parser.add_argument("--seconds", type=float, default=12.0, help="of overload, each case")
    given = parser.parse_args()
    if given.serve:
        raise SystemExit(serve(*given.serve))
    print(f"{'':<44} {'calls':>7} {'p50, ms':>9} {'p99, ms':>9} {'× alone':>7}")
    measure("wait", 100, workers=8, queue=4, seconds=given.seconds)
    measure("wait", 50, workers=8, queue=4, seconds=given.seconds)
    measure("work", 20, workers=1, queue=0, seconds=given.seconds)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
