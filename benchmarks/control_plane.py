"""Jobs on a real control plane: how long until they run, and what the launcher asks.

``KUBEBUILDER_ASSETS`` names the binaries (``tests/contract/control_plane.py``). The node has four
GPUs and runs processes, so an image's pull is not in the figures; everything else is: the API
server with its admission and rights, the Job controller, the scheduler, the node's watch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.jobs import render_job
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task
from tests.contract.control_plane import VARIABLE, ControlPlane, missing


def profile_on(plane: ControlPlane, **options: object) -> KubernetesProfile:
    """Make a profile of a fresh namespace."""
    given = {"image": "mien-services", "slots": 1, "retries": 0, **options}
    return KubernetesProfile.model_validate(
        {"kubeconfig": plane.kubeconfig, "namespace": plane.make_namespace(), **given}
    )


def span_task(folder: Path, name: str, seconds: float) -> Task:
    """A task that writes when it ran."""
    marker = folder / f"{name}.done"
    return Task(name, ("span", str(marker), str(seconds)), str(marker))


def start_up(plane: ControlPlane, folder: Path, jobs: int) -> list[float]:
    """Seconds from a Job's creation to the first line of its process, one after another."""
    profile = profile_on(plane)
    api = KubernetesApi(profile, oldest=plane.oldest)
    waits = []
    for number in range(jobs):
        task = span_task(folder, f"alone-{number}", 0.0)
        began = time.monotonic()
        api.create_job(render_job([task], profile))
        while not Path(task.done).exists():
            time.sleep(0.01)
        waits.append(float(Path(task.done).read_text().split()[0]) - began)
    return waits


def sweep(plane: ControlPlane, folder: Path, trials: int, seconds: float) -> tuple[float, int, int]:
    """Run trials that need a GPU each; returns wall seconds, most Pods at once, API calls."""
    profile = profile_on(plane, slots=trials, work={"gpus": 1, "cpu": "1"})
    api = KubernetesApi(profile, oldest=plane.oldest)
    tasks = [span_task(folder, f"trial-{i}", seconds) for i in range(trials)]
    plane.kubelet.most_running = 0
    began = time.monotonic()
    results = KubernetesJobExecutor(profile, api).run(
        tasks, progress=no_progress, cancelled=never_cancelled
    )
    wall_s = time.monotonic() - began
    assert all(r.state == "SUCCEEDED" for r in results)
    return wall_s, plane.kubelet.most_running, api.calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    if why := missing():
        raise SystemExit(f"SKIPPED: {why}")
    with tempfile.TemporaryDirectory(prefix="mien-plane-") as folder:
        plane = ControlPlane(Path(os.environ[VARIABLE]), Path(folder) / "plane")
        try:
            waits = start_up(plane, Path(folder), given.jobs)
            wall_s, most, calls = sweep(plane, Path(folder), given.trials, given.seconds)
        finally:
            plane.close()
    least_s = given.trials / 4 * given.seconds
    print(f"Kubernetes {plane.git_version}, load {os.getloadavg()[0]:.1f}")
    print(f"created to running, {given.jobs} Jobs one by one, Python's start included: ", end="")
    print(f"median {statistics.median(waits):.2f} s, slowest {max(waits):.2f} s")
    print(f"{given.trials} trials of {given.seconds:g} s on 4 GPUs: {wall_s:.1f} s ", end="")
    print(f"({least_s:.1f} without any overhead), at most {most} at once, {calls} API calls")


if __name__ == "__main__":
    main()
