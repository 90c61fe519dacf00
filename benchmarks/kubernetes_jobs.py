"""What it costs to submit and watch many Jobs: calls to the API server, memory, time.

The API server is the tests' stand-in, in a process of its own: its Pods run nothing: after a
while their marker is there. So this measures the launcher, not a cluster.

``python -m benchmarks.kubernetes_jobs``
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task

MOST_CALLS_A_S = 20.0
MOST_MB = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """One launcher's run.

    Attributes:
        name: what was submitted.
        jobs: on the cluster.
        wall_s: seconds, submission to the last result.
        cpu_s: of this process.
        said: what the stand-in counted.
        peak_mb: of this process since it began.
        bad: tasks that did not succeed.
    """

    name: str
    jobs: int
    wall_s: float
    cpu_s: float
    said: dict[str, Any]
    peak_mb: float
    bad: int


class Server:
    """The stand-in, in its own process."""

    def __init__(self, folder: Path, **options: object) -> None:
        given = [f"{key}={json.dumps(value)}" for key, value in options.items()]
        command = [sys.executable, "-m", "tests.contract.kube_stand_in", str(folder), *given]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.kubeconfig = Path(self.process.stdout.readline().strip())

    def said(self) -> dict[str, Any]:
        """Read its counters."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def busiest(times: list[float], window_s: float) -> float:
    """Find the most calls a second in any window."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most / window_s


def launch(name: str, folder: Path, tasks: list[Task], slots: int, **options: object) -> Run:
    """Run tasks against a fresh stand-in."""
    folder.mkdir(parents=True)
    server = Server(folder, instant=True, slots=10_000, **options)
    profile = KubernetesProfile(
        namespace="mien", image="mien-services", kubeconfig=server.kubeconfig, slots=slots
    )
    began, cpu = time.perf_counter(), time.process_time()
    results = KubernetesJobExecutor(profile).run(
        tasks, progress=no_progress, cancelled=never_cancelled
    )
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    said = server.said()
    server.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bad = sum(r.state != "SUCCEEDED" for r in results)
    return Run(name, said["created"], wall_s, cpu_s, said, peak_mb, bad)


def singles(folder: Path, count: int) -> list[Task]:
    """One Job a task."""
    markers = [folder / f"{i:05d}.done" for i in range(count)]
    return [Task(f"trial-{i}", ("ok", str(m)), str(m)) for i, m in enumerate(markers)]


def row(run: Run) -> str:
    """One line of the table."""
    calls, times = run.said["calls"], run.said["times"]
    rate = calls / max(1.0, times[-1] - times[0])
    kept = busiest(times, 1.0) <= MOST_CALLS_A_S and run.peak_mb <= MOST_MB and not run.bad
    return (
        f"{run.name:<26}{run.jobs:>6}{calls:>8}{calls / max(1, run.jobs):>10.2f}{rate:>9.1f}"
        f"{busiest(times, 1.0):>10.0f}{run.wall_s:>9.1f}{run.cpu_s:>8.1f}{run.peak_mb:>9.0f}"
        f"{run.said['most_jobs']:>9}  {'kept' if kept else 'NOT KEPT'}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=100, help="Jobs at once.")
    parser.add_argument("--pod-s", type=float, default=5.0, help="How long a Pod takes.")
    given = parser.parse_args()
    before_mb = psutil.Process().memory_info().rss / 2**20
    out = sys.stdout.write
    out(
        f"launcher before: {before_mb:.0f} MB; at most {MOST_CALLS_A_S:g} calls/s, {MOST_MB:g} MB\n"
    )
    out(
        f"{'':<26}{'Jobs':>6}{'calls':>8}{'calls/Job':>10}{'calls/s':>9}{'worst s':>10}"
        f"{'wall s':>9}{'cpu s':>8}{'peak MB':>9}{'at once':>9}\n"
    )
    runs = []
    with tempfile.TemporaryDirectory() as place:
        for name, slots in (("slots", given.slots), ("all at once", given.jobs)):
            folder = Path(place) / name.replace(" ", "-")
            tasks = singles(folder, given.jobs)
            runs.append(
                launch(f"{given.jobs} Jobs, {name}", folder, tasks, slots, pod_s=given.pod_s)
            )
            out(row(runs[-1]) + "\n")
            sys.stdout.flush()
    return int(any("NOT" in row(run) for run in runs))


if __name__ == "__main__":
    raise SystemExit(main())
