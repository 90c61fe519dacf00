"""The executors that keep one contract, and how a launcher in another process makes the same one.

A real control plane (``tests/contract/control_plane.py``) is one more, where its binaries can be
had. Its node runs ``fake_mien.py`` in the place of the image's ``python -m mien``.

``python -m tests.contract.executors SPEC TASK ...`` is such a launcher: both are JSON.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from mien.adapters.executors.local import InlineExecutor, LocalExecutor
from mien.adapters.kubernetes.api import OLDEST, KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task
from tests.contract import fake_mien
from tests.contract.kube_stand_in import StandIn

FAKE = Path(__file__).with_name("fake_mien.py")
LOCAL = ("inline", "process", "persistent")
CLUSTERS = ("stand-in", "control plane")
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Executors:
    """Makes executors of one kind.

    Attributes:
        kind: ``inline``, ``process``, ``persistent`` or ``kubernetes``.
        folder: for logs.
        given: what else a launcher must know.
    """

    kind: str
    folder: Path
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def inline(self):
        """Whether tasks run in this process, one at a time."""
        return self.kind == "inline"

    @property
    def outlives(self):
        """Whether work goes on when its launcher is killed; else it stops with a checkpoint."""
        return self.kind == "kubernetes"

    def spec(self, **options):
        """Describe an executor as plain values."""
        folder = str(self.folder / "logs")
        return {"kind": self.kind, "logs": folder, **self.given, **options}

    def make(self, **options):
        """Make an executor; options: slots, retries, grace_s."""
        return make(self.spec(**options))


def make(spec):
    """Make the executor of a spec."""
    defaults = {"slots": 2, "retries": 2, "grace_s": 5}
    kind, logs = spec["kind"], Path(spec["logs"])
    options = {name: spec.get(name, value) for name, value in defaults.items()}
    if kind == "inline":
        return InlineExecutor(call=fake_mien.run, log_dir=logs, retries=options["retries"])
    if kind == "kubernetes":
        profile = KubernetesProfile(
            kubeconfig=spec["kubeconfig"],
            namespace=spec["namespace"],
            image=spec.get("image", "mien-services"),
            **spec.get("profile", {}),
            **options,
        )
        oldest = tuple(spec.get("oldest", OLDEST))
        api = KubernetesApi(profile, rate_per_s=1000.0, oldest=oldest)
        return KubernetesJobExecutor(profile, api)
    command = (sys.executable, str(FAKE))
    return LocalExecutor(command=command, log_dir=logs, mode=kind, **options)


@pytest.fixture
def executors(request, tmp_path):
    """Executors of the kind that a test is parametrised with (``every``, ``processes``)."""
    kind = request.param
    if kind == "stand-in":
        server = StandIn(tmp_path, slots=10)
        where = {"kubeconfig": str(server.kubeconfig), "namespace": "mien"}
        yield Executors("kubernetes", tmp_path, where)
        server.close()
    elif kind == "control plane":
        plane = request.getfixturevalue("control_plane")
        plane.admit(request.node.originalname)
        where = {"kubeconfig": str(plane.kubeconfig), "namespace": plane.namespace}
        where["oldest"] = plane.oldest
        yield Executors("kubernetes", tmp_path, where)
    else:
        yield Executors(kind, tmp_path)


every = pytest.mark.parametrize("executors", [*LOCAL, *CLUSTERS], indirect=True)
processes = pytest.mark.parametrize("executors", [*LOCAL[1:], *CLUSTERS], indirect=True)


def task(tmp_path, key, verb, *arguments, env=None):
    """A task whose marker is the verb's first argument."""
    marker = tmp_path / f"{key}.done"
    return Task(key, tuple(str(a) for a in (verb, marker, *arguments)), str(marker), env or {})


def run(runner, tasks, **hooks):
    """Run tasks, unheard where no hooks are given."""
    return runner.run(tasks, **{"progress": no_progress, "cancelled": never_cancelled, **hooks})


def until(condition, timeout_s=DEADLINE_S):
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def running(pid):
    """Whether a process lives."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def launcher(spec, *tasks):
    """Say how to start a process that runs these tasks by the executor of a spec."""
    plain = [json.dumps(asdict(each)) for each in tasks]
    return [sys.executable, "-m", "tests.contract.executors", json.dumps(spec), *plain]


def main():
    """Be a launcher."""
    spec, *given = map(json.loads, sys.argv[1:])
    run(make(spec), [Task(**{**each, "argv": tuple(each["argv"])}) for each in given])


if __name__ == "__main__":
    main()
