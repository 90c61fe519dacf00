"""What the wire costs a stream of faces: the same plan in this process and from a service.

Both sides make every face of the plan once, one after the other, on one thread each, and their
digests are compared. The service is a process of its own; its memory is looked at while it streams.
CPU seconds are those of both ends: on a busy machine they tell more than the clock.

``--engine stack`` (the default) uses the ready weights of this repository, ``affect`` the engine
that needs none.

Run: ``python -m benchmarks.generation_wire``; ``--faces 1000`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil

from mien.core.expression import EKMAN_SIX
from mien.core.generation import FacePlan
from mien.generators.local import LocalGeneration
from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationClient

ROOT = Path(__file__).resolve().parents[1]
PARAMS = {
    "stack": {"identity": {"generator": "identities"}, "expression": {"generator": "expressions"}},
    "affect": {"size_px": 64},
}


def planned(engine, faces):
    """A balanced set of about so many faces."""
    return FacePlan(engine, EKMAN_SIX, max(1, faces // len(EKMAN_SIX)), PARAMS[engine])


def drained(faces):
    """Go through a stream: number, bytes, digests."""
    count, size, digests = 0, 0, []
    for face in faces:
        count += 1
        size += len(face.item.image)
        digests.append(face.item.sample.digest)
    return count, size, digests


def cpu_s(process):
    """Processor seconds of a process so far."""
    used = process.cpu_times()
    return used.user + used.system


class Watch(threading.Thread):
    """Notes the memory of a process twice a second."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.mb, self.over = process, [], threading.Event()

    def run(self):
        """Look, until told that it is over."""
        while not self.over.wait(0.5):
            self.mb.append(self.process.memory_info().rss / 2**20)

    def thirds(self):
        """Greatest of each third of the time."""
        n = max(1, len(self.mb) // 3)
        return [
            max(part, default=0.0) for part in (self.mb[:n], self.mb[n : 2 * n], self.mb[2 * n :])
        ]


def served(folder):
    """Start a service; its process and address."""
    env = {
        **os.environ,
        "MIEN_SERVER_DATA": str(folder),
        "MIEN_SERVER_WORK_ROOTS": f'["{ROOT / "weights"}"]',
        "MIEN_SERVER_LOG_LEVEL": "warning",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
    }
    command = [sys.executable, "-m", "services.generation", "--address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--metrics-address", "none"], env=env, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().split()[2]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--engine", choices=sorted(PARAMS), default="stack")
    options.add_argument("--faces", type=int, default=10_000)
    given = options.parse_args()
    plan, warm = planned(given.engine, given.faces), planned(given.engine, 60)
    here = psutil.Process()

    local = LocalGeneration(roots=[ROOT / "weights"])
    drained(local.stream_faces(warm))
    before, tick = cpu_s(here), time.perf_counter()
    count, size, digests = drained(local.stream_faces(plan))
    local_s, local_cpu = time.perf_counter() - tick, cpu_s(here) - before

    with tempfile.TemporaryDirectory() as folder:
        process, target = served(folder)
        there = psutil.Process(process.pid)
        try:
            idle = there.memory_info().rss / 2**20
            with open_channel(target, load_settings(ROOT)) as channel:
                client = GenerationClient(channel)
                drained(client.stream_faces(warm))
                watch = Watch(there)
                watch.start()
                mine, its, tick = cpu_s(here), cpu_s(there), time.perf_counter()
                wire_count, _, wire_digests = drained(client.stream_faces(plan))
                wire_s = time.perf_counter() - tick
                mine, its = cpu_s(here) - mine, cpu_s(there) - its
                watch.over.set()
        finally:
            process.terminate()
            process.wait(30)

    assert digests == wire_digests
    print(f"{given.engine}: {count:,} faces of {size / count / 1024:.1f} KiB; the same both ways")
    print(f"{'':<12} {'wall s':>8} {'faces/s':>9} {'CPU ms a face':>14}")
    print(
        f"{'in process':<12} {local_s:8.1f} {count / local_s:9,.0f} {1e3 * local_cpu / count:14.3f}"
    )
    cpu = 1e3 * (mine + its) / wire_count
    print(f"{'wire':<12} {wire_s:8.1f} {wire_count / wire_s:9,.0f} {cpu:14.3f}")
    print(
        f"of it: service {1e3 * its / count:.3f}, client {1e3 * mine / count:.3f} CPU ms a face; "
        f"wire/in process: {local_s / wire_s:.2f} of the faces/s, "
        f"{(mine + its) / local_cpu:.2f} of the CPU"
    )
    first, middle, last = watch.thirds()
    print(
        f"service's memory: idle {idle:.0f} MiB; while streaming, by thirds: {first:.0f}, "
        f"{middle:.0f}, {last:.0f} MiB"
    )


if __name__ == "__main__":
    main()
