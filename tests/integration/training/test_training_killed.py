"""The training service killed whenever, and cancelled at: nothing asked for is lost or left over.

The worker takes no time; the moments are what is tested.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from mien.adapters.job_book import JobBook
from mien.adapters.job_worker import JobWorker
from mien.adapters.training_jobs import LocalTraining
from mien.adapters.work_roots import WorkRoots
from mien.core.errors import MienError
from mien.core.jobs import GeneratorWork, SweepWork, TrialWork
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.training_client import TrainingClient

REPOSITORY = Path(__file__).parents[3]
SERVER = Path(__file__).with_name("server_process.py")
INSTANT = (sys.executable, str(REPOSITORY / "tests" / "contract" / "instant_mien.py"))


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Service:
    """The service as a process, always at the same address."""

    def __init__(self, home):
        self.home = home
        (home / "work").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = None

    def start(self):
        """Start it and wait until it listens."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("MIEN_")}
        env |= {
            "PYTHONPATH": str(REPOSITORY),
            "MIEN_CACHE": str(self.home / "cache"),
            "MIEN_WORKERS": "2",
            "MIEN_SERVER_DATA": str(self.home / "server"),
            "MIEN_SERVER_WORK_ROOTS": json.dumps([str(self.home / "work")]),
            "MIEN_SERVER_LOG_LEVEL": "error",
        }
        argv = ["--address", self.address, "--metrics-address", "none"]
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *argv],
            cwd=self.home,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline().startswith("ready training")

    def stop(self, number=signal.SIGKILL):
        """End it by a signal; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    service.start()
    yield service
    service.stop()
    until(lambda: not workers_of(tmp_path))


def workers_of(home):
    """Processes of this user whose environment says that they work for this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MIEN_CACHE") == str(home / "cache"):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


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


class Asking(threading.Thread):
    """Asks for work until each is acknowledged, and watches one of them to its end."""

    def __init__(self, client, works, moments):
        super().__init__()
        self.client = client
        self.works = works
        self.moments = moments
        self.acknowledged = []
        self.seen = []
        self.watching = threading.Thread(target=self.watch)

    def run(self):
        for i, work in enumerate(self.works):
            time.sleep(self.moments.random() * 0.5)
            while True:
                try:
                    self.acknowledged.append(self.client.create(work, request_id=f"r{i}").name)
                    break
                except MienError:
                    time.sleep(0.1)
            if i == 0:
                self.watching.start()

    def watch(self):
        self.seen = list(self.client.watch(self.acknowledged[0]))


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
    asking.join(60)
    assert len(asking.acknowledged) == len(works)
    for name in asking.acknowledged:
        until(lambda name=name: client.get(name).over)
        assert client.get(name).state == "SUCCEEDED", client.get(name)
    asking.watching.join(60)
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
    assert not list(tmp_path.rglob("at_work"))
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
    assert counts.get("CANCELLED", 0) > count // 4
    again = training.create(write_trial(tmp_path, "last"))
    assert list(training.watch(again.name))[-1].state == "SUCCEEDED"
    assert list((tmp_path / "running").iterdir()) == []
    assert not list(tmp_path.rglob("at_work"))
    assert not list(tmp_path.rglob("twice"))
    assert not workers_of(tmp_path)
    assert training.drain(10.0)
    book.close()
