"""What every executor promises, kept by one whose tasks are jobs of a training service."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mien.adapters.executors.service import ServiceExecutor
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.roots import WorkRoots
from mien.adapters.jobs.training import LocalTraining
from mien.adapters.jobs.worker import JobWorker
from mien.api.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from mien.core.errors import Forbidden, Invalid, Unavailable
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.training_client import TrainingClient
from services.chassis.testing import running
from services.training.servicer import SERVICE, TrainingServicer

INSTANT = (sys.executable, str(Path(__file__).with_name("instant_mien.py")))


class Service:
    """A training service that can be stopped and started again at the same address."""

    def __init__(self, home: Path, **options) -> None:
        self.home, self.options = home, options
        self.address = "127.0.0.1:0"
        self.stack = ExitStack()

    def start(self) -> None:
        home = self.home
        worker = JobWorker(
            INSTANT, cache=home / "cache", scratch=home / "running", grace_s=5.0, retries=1
        )
        book = JobBook(f"sqlite:///{home}/jobs.db")
        training = LocalTraining(
            book, roots=WorkRoots.of([home / "work"]), worker=worker, slots=2, **self.options
        ).start()
        self.stack.callback(book.close)
        self.stack.callback(training.drain, 20.0)

        def mount(frame):
            servicer = TrainingServicer(training, frame.ended)
            frame.add(add_TrainingServiceServicer_to_server, servicer, SERVICE)

        served = running("training", mount, address=self.address)
        self.address = self.stack.enter_context(served)

    def stop(self) -> None:
        self.stack.close()
        self.stack = ExitStack()


@pytest.fixture
def service(tmp_path):
    (tmp_path / "work").mkdir()
    service = Service(tmp_path)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def runner(service):
    with open_channel(service.address, Settings()) as channel:
        yield ServiceExecutor(TrainingClient(channel), slots=2, grace_s=10.0)


@pytest.fixture
def task(tmp_path):
    def write(key, **plan):
        folder = tmp_path / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps({"key": key, "pids": True, **plan}))
        return Task(key, ("trial", str(folder / "plan.json")), str(folder / "result.json"))

    return write


def run(runner, tasks, **hooks):
    hooks = {"progress": no_progress, "cancelled": never_cancelled, **hooks}
    return runner.run(tasks, **hooks)


def runs(task):
    """How often a worker took it up."""
    file = Path(task.done).with_name("pids")
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_runs_all_and_answers_in_order(runner, task):
    """Results come in the order of the tasks; each key is told about once; progress ends full."""
    told, events = [], []
    tasks = [task(f"t{i}", steps=5 - i, step_s=0.02) for i in range(4)]
    results = run(runner, tasks, progress=events.append, on_done=told.append)
    assert [r.key for r in results] == [t.key for t in tasks]
    assert all((r.state, r.exit_code, r.tries) == ("SUCCEEDED", 0, 1) for r in results)
    assert sorted(r.key for r in told) == sorted(t.key for t in tasks)
    assert (events[-1].done, events[-1].total) == (4, 4)
    assert all(runs(t) == 1 and r.wall_s > 0 for t, r in zip(tasks, results, strict=True))
    assert run(runner, []) == []


def test_found_done_is_not_run(runner, task):
    """A task whose marker exists is SUCCEEDED with no try; a key twice is run once."""
    done, other = task("a"), task("b")
    Path(done.done).touch()
    results = run(runner, [done, other, other])
    assert [(r.state, r.tries) for r in results] == [("SUCCEEDED", 0)] + 2 * [("SUCCEEDED", 1)]
    assert (runs(done), runs(other)) == (0, 1)


@pytest.mark.parametrize(("code", "tries"), [(2, 1), (42, 1), (7, 2)])
def test_a_failure_has_its_exit_code_and_last_words(runner, task, code, tries):
    """What will fail again is not tried again; asked for later, it is."""
    bad = task("bad", exit=code)
    result, good = run(runner, [bad, task("good")])
    assert (result.state, result.exit_code, good.state) == ("FAILED", code, "SUCCEEDED")
    assert "it was planned so" in result.log
    assert runs(bad) == tries
    mended = task("bad")
    assert run(runner, [mended])[0].state == "SUCCEEDED"


def test_success_without_marker_is_not_believed(runner, task, tmp_path):
    """The marker the task names decides, not what the worker says."""
    asked = task("t")
    (result,) = run(runner, [Task("t", asked.argv, str(tmp_path / "work" / "t" / "other.json"))])
    assert result.state == "FAILED"


def test_cancel_keeps_a_checkpoint_and_goes_on_later(runner, task):
    """Running tasks stop with their state kept, others never run; the next run goes on."""
    long, queued = task("long", steps=500, step_s=0.01), task("queued", steps=500, step_s=0.01)
    third = task("third", steps=500, step_s=0.01)
    results = run(runner, [long, queued, third], cancelled=lambda: runs(long) and runs(queued))
    assert [r.state for r in results] == ["CANCELLED"] * 3
    checkpoint = Path(long.done).with_name("checkpoint")
    assert checkpoint.exists()
    Path(long.argv[1]).write_text(json.dumps({"steps": int(checkpoint.read_text()) + 1}))
    assert run(runner, [long])[0].state == "SUCCEEDED"


def test_a_full_queue_is_waited_for(tmp_path, task):
    """More tasks than the service takes at once are asked for later."""
    service = Service(tmp_path, most_queued=1)
    service.start()
    tasks = [task(f"t{i}", steps=10, step_s=0.02) for i in range(5)]
    with open_channel(service.address, Settings()) as channel:
        results = run(hurried(TrainingClient(channel)), tasks)
    service.stop()
    assert [r.state for r in results] == ["SUCCEEDED"] * 5


def hurried(training):
    """An executor that is told to come back at once where the service says ten seconds."""

    class Hurried:
        def __getattr__(self, name):
            return getattr(training, name)

        def create(self, work, *, request_id=""):
            try:
                return training.create(work, request_id=request_id)
            except Exception as error:
                error.details["retry_after_s"] = "0.05"
                raise

    return ServiceExecutor(Hurried(), slots=2)


def test_a_service_that_restarts_is_waited_for(service, runner, task):
    """Its jobs go on where they were, and nothing is run twice from the start."""
    tasks = [task(f"t{i}", steps=150, step_s=0.01) for i in range(2)]
    found = []
    work = threading.Thread(target=lambda: found.extend(run(runner, tasks)))
    work.start()
    deadline = time.monotonic() + 20
    while not all(runs(t) for t in tasks):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    service.stop()
    service.start()
    work.join(30)
    assert [r.state for r in found] == ["SUCCEEDED"] * 2
    assert all(json.loads(Path(t.done).read_text())["steps"] == 150 for t in tasks)


def test_what_it_cannot_run_is_refused(runner, task, tmp_path):
    """Other verbs, and plans where the service may not read."""
    with pytest.raises(Invalid, match="TASK_VERB"):
        run(runner, [Task("k", ("shard", "plan", "1"), str(tmp_path / "m"))])
    outside = tmp_path / "plan.json"
    outside.write_text("{}")
    with pytest.raises(Forbidden, match="PLAN_FORBIDDEN"):
        run(runner, [Task("k", ("trial", str(outside)), str(tmp_path / "result.json"))])


def test_a_service_that_stays_away_is_an_error(task, monkeypatch):
    """Not a hang: what was asked for goes on there, when it comes back."""
    monkeypatch.setattr("mien.adapters.executors.service._PATIENCE_S", 0.3)
    with open_channel("127.0.0.1:1", Settings()) as channel, pytest.raises(Unavailable):
        run(ServiceExecutor(TrainingClient(channel), slots=1), [task("t")])
