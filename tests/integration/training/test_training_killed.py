"""The training service killed whenever, and cancelled at: nothing asked for is lost or left over.

The worker takes no time; the moments are what is tested.
"""

import json
import random
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest
import yaml

from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.roots import WorkRoots
from mien.adapters.jobs.training import LocalTraining
from mien.adapters.jobs.worker import JobWorker
from mien.core.errors import MienError, Unavailable
from mien.core.jobs import GeneratorWork, SweepWork, TrialWork
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.training_client import TrainingClient
from tests.integration.training.processes import INSTANT, Service, until, workers_of


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    service.start()
    yield service
    service.stop()
    until(lambda: not workers_of(tmp_path))


def write_trial(home, name, **plan):
    folder = home / "work" / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"name": name, **plan}))
    return TrialWork(str(folder / "plan.json"))


def write_project(home, trials):
    folder = home / "work" / "project"
    folder.mkdir()
    value = {"trials": trials, "generators": {"g": {"steps": 60, "step_s": 0.01}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(value))
    return str(folder)


def patiently(ask, tries=30):
    """Ask a service that may just have come back."""
    for _ in range(tries):
        try:
            return ask()
        except Unavailable:
            time.sleep(1.0)
    return ask()


class Asking(threading.Thread):
    """Asks for work until each is acknowledged, and watches one of them to its end."""

    def __init__(self, client, works, moments):
        super().__init__()
        self.client = client
        self.works = works
        self.moments = moments
        self.acknowledged = []
        self.seen = []
        self.watching = threading.Thread(target=self.watch, daemon=True)

    def run(self):
        for i, work in enumerate(self.works):
            time.sleep(self.moments.random() * 0.5)
            while True:
                try:
                    self.acknowledged.append(self.client.create(work, request_id=f"r{i}").name)
                    break
                except (MienError, grpc.RpcError):  # refused, away, or too late: ask again
                    time.sleep(0.1)
            if i == 0:
                self.watching.start()

    def watch(self):
        """Follow the first job to its end; begin again behind what was seen when it breaks."""
        while not (self.seen and self.seen[-1].over):
            after = self.seen[-1].revision if self.seen else 0
            try:
                for job in self.client.watch(self.acknowledged[0], after_revision=after):
                    self.seen.append(job)
            except Unavailable:
                time.sleep(0.1)


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_any_moment(service, tmp_path, kills):
    """Everything acknowledged is finished once, whatever was killed when; a watch goes on."""
    moments = random.Random(kills)
    scale = kills // 3
    trials = [{"n": n, "steps": 40, "step_s": 0.01} for n in range(3 * scale)]
    project = write_project(tmp_path, trials)
    works = [SweepWork(project), GeneratorWork(project, "g")]
    works += [write_trial(tmp_path, f"t{n}", steps=40, step_s=0.01) for n in range(2 * scale)]
    channel = open_channel(service.address, Settings())
    client = TrainingClient(channel)
    asking = Asking(client, works, random.Random(1))
    asking.start()
    for _ in range(kills):
        time.sleep(moments.random() * 1.5)
        service.stop()
        service.start()
    asking.join(150)
    assert len(asking.acknowledged) == len(works)
    for name in asking.acknowledged:
        last = patiently(lambda name=name: list(client.watch(name))[-1])
        assert last.state == "SUCCEEDED", last
    asking.watching.join(150)
    assert not asking.watching.is_alive()
    revisions = [job.revision for job in asking.seen]
    assert revisions == sorted(set(revisions))
    assert asking.seen[-1].state == "SUCCEEDED"
    channel.close()
    results = [*tmp_path.glob("work/t*/result.json"), *tmp_path.glob("cache/trials/*/result.json")]
    assert len(results) == len(trials) + len(works) - 2
    assert {json.loads(r.read_text())["steps"] for r in results} == {40}
    gathered = json.loads((Path(project) / "data/sweep/trials.json").read_text())
    assert len(gathered["results"]) == len(trials)
    assert not list(tmp_path.rglob("twice")), "two workers were at one trial at once"
    assert list((tmp_path / "server/training/running").iterdir()) == []


def test_asked_to_stop_it_saves_and_goes_on_later(service, tmp_path):
    """SIGTERM: running jobs keep a checkpoint and queue again; the next process goes on."""
    asked = write_trial(tmp_path, "t", steps=300, step_s=0.01)
    channel = open_channel(service.address, Settings())
    client = TrainingClient(channel)
    job = client.create(asked)
    until(lambda: client.get(job.name).done > 3)
    assert service.stop(signal.SIGTERM) == 0
    assert not workers_of(tmp_path)
    step = int((tmp_path / "work/t/checkpoint").read_text())
    assert 3 < step < 300
    service.start()
    last = list(client.watch(job.name))[-1]
    assert (last.state, last.tries) == ("SUCCEEDED", 2)
    assert f"from {step}" in client.log(job.name).text
    channel.close()


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_cancels_at_random_moments_leave_nothing(tmp_path, count):
    """Cancelled whenever: every job ends, and no process, folder or lease is left."""
    moments = random.Random(count)
    worker = JobWorker(
        INSTANT, cache=tmp_path / "cache", scratch=tmp_path / "running", grace_s=10.0
    )
    (tmp_path / "work").mkdir()
    book = JobBook(f"sqlite:///{tmp_path}/jobs.db")
    training = LocalTraining(
        book, roots=WorkRoots.of([tmp_path / "work"]), worker=worker, slots=2
    ).start()
    names = []
    for n in range(count):
        job = training.create(write_trial(tmp_path, f"t{n}", steps=20, step_s=0.01))
        names.append(job.name)
        time.sleep(moments.random() * 0.4)
        training.cancel(moments.choice(names[-3:]))
    for name in names:
        training.cancel(name)
    until(lambda: all(book.get(name).over for name in names))
    counts = book.count()
    assert set(counts) <= {"SUCCEEDED", "CANCELLED"}
    assert counts.get("CANCELLED", 0) > 0  # how many, the machine's speed decides
    again = training.create(write_trial(tmp_path, "last"))
    assert list(training.watch(again.name))[-1].state == "SUCCEEDED"
    assert list((tmp_path / "running").iterdir()) == []
    assert not list(tmp_path.rglob("twice"))
    assert training.drain(10.0)
    assert not workers_of(tmp_path)
    book.close()
