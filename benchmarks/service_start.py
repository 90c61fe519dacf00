"""How fast a service starts, and what it weighs while nobody calls it.

Seconds from ``python -m services.<name>`` to its ``ready`` line, processor seconds of that, and
resident memory two seconds later: of the service alone, and with what it started (Triton). Seconds
on a busy machine say little; its processor seconds are what a quiet one takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

from services.chassis.settings import PORTS

START_S, IDLE_MB = 1.5, 120
FREE = ["--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]


def start(name: str, folder: str) -> tuple[float, float, float, float]:
    """Start once: (seconds, processor seconds, MiB, MiB with children)."""
    command = [sys.executable, "-m", f"services.{name}", *FREE]
    env = {**os.environ, "MIEN_SERVER_DATA": folder, "MIEN_SERVER_WORK_ROOTS": f'["{folder}"]'}
    started = time.perf_counter()
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        took = time.perf_counter() - started
        if not line.startswith("ready"):
            raise SystemExit(f"{name} did not start: {server.stderr.read()[-2000:]}")
        process = psutil.Process(server.pid)
        cpu_s = sum(process.cpu_times()[:2])
        time.sleep(2)
        family = [process, *process.children(recursive=True)]
        own, *others = (p.memory_info().rss / 2**20 for p in family)
        return took, cpu_s, own, own + sum(others)
    finally:
        server.terminate()
        server.communicate()


def empty() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PORTS), metavar="name")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    nothing = statistics.median(empty() for _ in range(given.runs))
    heads = ("median, s", "least, s", "cpu, s", "× empty", "MiB", "and others", "")
    print(f"{'':<12}" + "".join(f"{head:>11}" for head in heads))
    print(f"{'empty':<12}{nothing:>11.3f}")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names:
            found = [start(name, folder) for _ in range(given.runs)]
            took, cpu, own, whole = zip(*found, strict=True)
            seconds, least, cpu_s = statistics.median(took), min(took), statistics.median(cpu)
            good = least < START_S and max(own) < IDLE_MB
            busy = max(own) < IDLE_MB and os.getloadavg()[0] > (os.cpu_count() or 1)
            verdict = "good" if good else "busy" if busy else "TOO MUCH"
            print(
                f"{name:<12}{seconds:>11.3f}{least:>11.3f}{cpu_s:>11.2f}"
                f"{seconds / nothing:>11.1f}{max(own):>11.1f}{max(whole):>11.1f}{verdict:>11}"
            )
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
