"""A bad wire, preempted Pods, killed launchers, all at once: nothing is lost or done twice."""

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.contract.executors import Executors, launcher, run, task, until
from tests.contract.kube_stand_in import StandIn

pytestmark = pytest.mark.slow
TASKS = 30
KILLED = 3  # launchers
SECONDS = 300.0


class Trouble(threading.Thread):
    """Commits faults at random moments until it is told to stop."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster, self.dice = cluster, random.Random(seed)
        self.over = threading.Event()
        self.committed = {}

    def run(self):
        faults = [self.busy, self.away, self.forget, self.cut, self.preempt]
        while not self.over.wait(self.dice.uniform(0.1, 0.5)):
            fault = self.dice.choice(faults)
            fault()
            self.committed[fault.__name__] = self.committed.get(fault.__name__, 0) + 1

    def busy(self):
        self.cluster.busy = self.dice.randint(1, 4)

    def away(self):
        self.cluster.away_until = time.monotonic() + self.dice.uniform(0.1, 0.8)

    def forget(self):
        self.cluster.forget()

    def cut(self):
        self.cluster.cut_after = self.dice.randint(0, 5)

    def preempt(self):
        with self.cluster.changed:
            alive = [p["job"] for p in self.cluster.pods.values() if p["phase"] == "Running"]
        if alive:
            try:
                self.cluster.disrupt(self.dice.choice(alive))
            except (ValueError, ProcessLookupError):  # it has ended meanwhile
                return


@pytest.mark.parametrize("seed", [1, 2])
def test_all_is_done_once_whatever_happens(tmp_path, seed):
    """Each task ends well and no step of it is done twice, though launchers are killed midway."""
    server = StandIn(tmp_path, slots=6)
    where = {"kubeconfig": str(server.kubeconfig), "namespace": "mien"}
    executors = Executors("kubernetes", tmp_path, where)
    tasks = [
        task(tmp_path, f"t{i}", "work", tmp_path / f"c{i}", 60, tmp_path / f"p{i}")
        for i in range(TASKS)
    ]
    trouble = Trouble(server.cluster, seed)
    trouble.start()
    dice = random.Random(seed + 100)
    for _ in range(KILLED):
        process = subprocess.Popen(launcher(executors.spec(slots=6), *tasks))
        ended = sum(Path(t.done).exists() for t in tasks)
        goal = min(TASKS - 1, ended + dice.randint(2, 6))
        until(lambda goal=goal: sum(Path(t.done).exists() for t in tasks) >= goal, SECONDS)
        process.kill()
        process.wait()
    results = run(executors.make(slots=6), tasks)
    trouble.over.set()
    trouble.join()
    server.close()
    assert [r.state for r in results] == ["SUCCEEDED"] * TASKS
    for i in range(TASKS):
        assert (tmp_path / f"t{i}.done").read_text() == "60"
        begun = [int(step) for step in (tmp_path / f"c{i}.began").read_text().split()]
        assert begun == sorted(begun), "it never went back"
        assert begun.count(0) <= 1 + trouble.committed.get("preempt", 0)
    assert server.cluster.most_running <= 6
    assert sum(trouble.committed.values()) > 5, trouble.committed
