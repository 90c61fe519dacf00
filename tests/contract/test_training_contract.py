"""What training as jobs promises, in process and over the wire; the worker takes no time."""

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.roots import WorkRoots
from mien.adapters.jobs.training import LocalTraining
from mien.adapters.jobs.worker import JobWorker
from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.adapters.kubernetes.work import ClusterWork
from mien.api.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from mien.core.digest import digest_bytes, digest_of
from mien.core.errors import AlreadyExists, Exhausted, Forbidden, Invalid, NotFound
from mien.core.jobs import GeneratorWork, SweepWork, TrialWork
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.training_client import TrainingClient
from services.chassis.testing import running
from services.training.servicer import SERVICE, TrainingServicer
from tests.contract.kube_stand_in import StandIn

INSTANT = (sys.executable, str(Path(__file__).with_name("instant_mien.py")))


def local(home, *, slots=2, start=True, cluster=None, **options):
    """Training on this machine with an instant worker; plans lie in ``home/work``."""
    (home / "work").mkdir(exist_ok=True)
    worker = JobWorker(
        INSTANT,
        cache=home / "cache",
        scratch=home / "running",
        grace_s=10.0,
        retries=1,
        cluster=cluster,
    )
    training = LocalTraining(
        JobBook(f"sqlite:///{home}/jobs.db"),
        roots=WorkRoots.of([home / "work"]),
        worker=worker,
        slots=slots,
        **options,
    )
    return training.start() if start else training


@contextmanager
def in_process(home, **options):
    training = local(home, **options)
    try:
        yield training
    finally:
        assert training.drain(20.0)
        training.book.close()


@contextmanager
def over_the_wire(home, **options):
    def mount(frame):
        servicer = TrainingServicer(training, frame.ended)
        frame.add(add_TrainingServiceServicer_to_server, servicer, SERVICE)

    with in_process(home, **options) as training, running("training", mount) as target:
        channel = open_channel(target, Settings())
        try:
            yield TrainingClient(channel)
        finally:
            channel.close()


@contextmanager
def on_cluster(home, *, slots=2, **options):
    """Training whose trials are Jobs; its machines see the same paths."""
    server = StandIn(home, command=INSTANT, slots=10)
    try:
        with in_process(home, cluster=jobs_of(server, home, slots), slots=slots, **options) as made:
            yield made
    finally:
        server.close()


def jobs_of(server, home, slots=2, store="", image="mien-services"):
    """What runs trials as Jobs of a stand-in for a cluster."""
    profile = KubernetesProfile(
        namespace="mien",
        image=image,
        kubeconfig=server.kubeconfig,
        slots=slots,
        grace_s=10,
        retries=1,
        verbs={"train-generator": {"cpu": "4"}},
    )
    executor = KubernetesJobExecutor(profile, KubernetesApi(profile, rate_per_s=1000.0))
    logs = home / "cache" / "logs"
    return ClusterWork(executor, slots, store, home / "cache", logs, look_s=0.1)


@pytest.fixture(params=[in_process, over_the_wire, on_cluster])
def opened(request, tmp_path):
    """Open training with options."""
    return lambda **options: request.param(tmp_path, **options)


@pytest.fixture
def training(opened):
    with opened() as training:
        yield training


@pytest.fixture
def work(tmp_path):
    """Write a plan below the work root, and name the work."""

    def write(name="t", **plan):
        folder = tmp_path / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps({"name": name, **plan}))
        return TrialWork(str(folder / "plan.json"))

    return write


@pytest.fixture
def project(tmp_path):
    """Write a project below the work root."""

    def write(*trials, **more):
        folder = tmp_path / "work" / "project"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(yaml.safe_dump({"trials": list(trials), **more}))
        return SweepWork(str(folder))

    return write


def end(training, job, timeout_s=30.0):
    """Watch a job to its end."""
    deadline = time.monotonic() + timeout_s
    last = job
    for last in training.watch(job.name):
        assert time.monotonic() < deadline, last
    assert last.over, last
    return last


def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def beside(work, name):
    return Path(work.plan).with_name(name)


def test_a_trial_is_run(training, work):
    """A job goes from QUEUED to SUCCEEDED; its marker is there; figures of the moment are told."""
    asked = work(steps=40, step_s=0.02, say="hello")
    job = training.create(asked)
    assert job.kind == "trial"
    assert job.name == f"trial-{digest_bytes(Path(asked.plan).read_bytes())}"
    seen = list(training.watch(job.name))
    assert [s.revision for s in seen] == sorted({s.revision for s in seen})
    assert (seen[-1].state, seen[-1].tries, seen[-1].unit) == ("SUCCEEDED", 1, "steps")
    assert (seen[-1].done, seen[-1].total) == (40, 40)
    assert any(0 < s.metrics.get("step", 0) < 40 for s in seen)
    assert json.loads(beside(asked, "result.json").read_text())["steps"] == 40
    log = training.log(job.name)
    assert ("hello" in log.text, log.truncated) == (True, False)
    short = training.log(job.name, max_bytes=3)
    assert (len(short.text), short.truncated) == (3, True)


def test_the_same_work_is_the_same_job(training, work):
    """Asked twice, done once; also by a file URI and by a path relative to the root."""
    asked = work(pids=True)
    job = end(training, training.create(asked))
    for plan in (Path(asked.plan).as_uri(), "t/plan.json"):
        again = training.create(TrialWork(plan))
        assert (again.name, again.state, again.tries) == (job.name, "SUCCEEDED", 1)
    assert len(beside(asked, "pids").read_text().splitlines()) == 1
    beside(asked, "result.json").unlink()
    assert end(training, training.create(asked)).tries == 2  # its result was gone


def test_a_request_id_never_asks_twice(training, work):
    """The same request is the same job; other work under it is refused."""
    job = training.create(work("a"), request_id="r")
    assert training.create(work("a"), request_id="r").name == job.name
    with pytest.raises(AlreadyExists) as caught:
        training.create(work("b"), request_id="r")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_what_is_asked_is_checked(training, work, tmp_path):
    """Work that is none, is not there, or lies elsewhere is refused with a reason."""
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "work" / "link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "work" / "empty").mkdir(parents=True)
    outside = str(tmp_path / "secret.json")
    good = work("a").plan
    for asked, kind, reason in (
        (TrialWork(""), Invalid, "JOB_SPEC"),
        (TrialWork("a\0b"), Invalid, "JOB_SPEC"),
        (TrialWork(good, key="../x"), Invalid, "JOB_SPEC"),
        (TrialWork(str(tmp_path / "work" / "none.json")), NotFound, "PLAN_MISSING"),
        (TrialWork(str(tmp_path / "work" / "none.json"), key="k"), NotFound, "PLAN_MISSING"),
        (TrialWork(outside), Forbidden, "PLAN_FORBIDDEN"),
        (TrialWork("../secret.json"), Forbidden, "PLAN_FORBIDDEN"),
        (TrialWork(str(tmp_path / "work" / "link.json")), Forbidden, "PLAN_FORBIDDEN"),
        (TrialWork(good, done=outside), Forbidden, "PLAN_FORBIDDEN"),
        (TrialWork("s3://bucket/plan.json"), Forbidden, "PLAN_FORBIDDEN"),
        (TrialWork("http://127.0.0.1:1/plan.json"), Forbidden, "PLAN_FORBIDDEN"),
        (SweepWork(""), Invalid, "JOB_SPEC"),
        (SweepWork("/etc"), Forbidden, "PLAN_FORBIDDEN"),
        (SweepWork("nowhere"), NotFound, "PLAN_MISSING"),
        (SweepWork("empty"), NotFound, "PLAN_MISSING"),
        (SweepWork("empty", "x" * (1 << 20) + "y"), Invalid, "JOB_SPEC"),
        (GeneratorWork("empty", "../x", "a: 1"), Invalid, "JOB_SPEC"),
    ):
        with pytest.raises(kind) as caught:
            training.create(asked)
        assert caught.value.reason == reason, asked
    for request_id in ("x" * 201, "a\0b"):
        with pytest.raises(Invalid) as caught:
            training.create(TrialWork(good), request_id=request_id)
        assert caught.value.reason == "JOB_SPEC"
    assert training.jobs().jobs == ()


@pytest.mark.parametrize(("code", "kind", "tries"), [(2, "Invalid", 1), (42, "Corrupt", 1)])
def test_a_permanent_failure_is_told(training, work, code, kind, tries):
    """What the worker said is why the job failed; it is not tried again by itself."""
    asked = work(exit=code, pids=True)
    job = end(training, training.create(asked))
    failure = job.failure
    assert (job.state, failure.kind, failure.reason) == ("FAILED", kind, "PLANNED")
    assert (failure.message, failure.hint) == ("it was planned so", "plan better")
    assert failure.exit_code == code
    assert len(beside(asked, "pids").read_text().splitlines()) == tries


def test_an_unforeseen_failure_is_tried_again(training, work):
    """Any other exit code is tried again as often as the worker's settings say."""
    asked = work(exit=7, pids=True)
    job = end(training, training.create(asked))
    assert (job.state, job.failure.kind, job.failure.exit_code) == ("FAILED", "Unavailable", 7)
    assert len(beside(asked, "pids").read_text().splitlines()) == 2


def test_cancel_keeps_the_checkpoint(training, work):
    """A cancelled job stops with its state kept; asked again it goes on from there."""
    asked = work(steps=150, step_s=0.01, pids=True)
    job = training.create(asked)
    until(lambda: training.get(job.name).done > 3)
    assert training.cancel(job.name).state in ("CANCELLING", "CANCELLED")
    assert end(training, job).state == "CANCELLED"
    step = int(beside(asked, "checkpoint").read_text())
    assert 3 < step < 150
    assert training.cancel(job.name).state == "CANCELLED"
    assert end(training, training.create(asked)).state == "SUCCEEDED"
    assert f"from {step}" in training.log(job.name).text


def test_a_queued_job_is_cancelled_at_once(opened, work):
    """What has not begun ends CANCELLED without a try."""
    with opened(slots=1) as training:
        first = training.create(work("a", steps=10_000, step_s=0.01))
        until(lambda: training.get(first.name).state == "RUNNING")
        second = training.create(work("b"))
        job = training.cancel(second.name)
        assert (job.state, job.tries) == ("CANCELLED", 0)
        training.cancel(first.name)
        assert end(training, first).state == "CANCELLED"


def test_unknown_jobs(training):
    """Every question about a job that is not there says so."""
    for ask in (training.get, training.cancel, training.watch, training.log):
        with pytest.raises(NotFound) as caught:
            ask("trial-none")
        assert caught.value.reason == "UNKNOWN_JOB"


def test_pages(training, work):
    """Jobs are listed newest first, page by page; a bad size or token is refused."""
    names = [training.create(work(f"t{i}")).name for i in range(3)]
    first = training.jobs(page_size=2)
    rest = training.jobs(page_size=2, page_token=first.next_page_token)
    assert [j.name for j in (*first.jobs, *rest.jobs)] == names[::-1]
    assert rest.next_page_token == ""
    for wrong, reason in (({"page_size": 1001}, "PAGE_SIZE"), ({"page_token": "x"}, "PAGE_TOKEN")):
        with pytest.raises(Invalid) as caught:
            training.jobs(**wrong)
        assert caught.value.reason == reason


def test_a_full_queue_refuses(opened, work):
    """Past the limit new work is refused with a time to wait; known work is still found."""
    with opened(slots=1, most_queued=1) as training:
        running_job = training.create(work("a", steps=10_000, step_s=0.01))
        until(lambda: training.get(running_job.name).state == "RUNNING")
        waiting = training.create(work("b"))
        with pytest.raises(Exhausted) as caught:
            training.create(work("c"))
        assert caught.value.reason == "QUEUE_FULL"
        assert training.create(work("b")).name == waiting.name
        training.cancel(waiting.name)
        training.cancel(running_job.name)


def test_a_sweep_runs_its_trials_as_children(training, project, tmp_path):
    """A sweep plans, runs every trial as a job of its own, gathers, and says how far it is."""
    asked = project(*({"steps": 3, "n": n} for n in range(4)))
    job = training.create(SweepWork(asked.project, overrides=("a.b=1",)))
    seen = list(training.watch(job.name))
    last = seen[-1]
    assert (last.state, last.unit, last.done, last.total) == ("SUCCEEDED", "trials", 4, 4)
    children = training.jobs(parent=job.name).jobs
    assert sorted(c.name for c in children) == sorted(last.children)
    assert {(c.parent, c.state) for c in children} == {(job.name, "SUCCEEDED")}
    gathered = json.loads((Path(asked.project) / "data/sweep/trials.json").read_text())
    assert [r["steps"] for r in gathered["results"]] == [3] * 4
    assert gathered["set"] == ["a.b=1"]
    assert list((tmp_path / "running").iterdir()) == []


def test_one_key_in_two_places_is_two_jobs(training, work, project, tmp_path):
    """A trial asked for by its key elsewhere does not stand in the way of a sweep's own."""
    asked = project({"n": 0})
    key = digest_of({"n": 0})
    other = work("elsewhere")
    job = training.create(TrialWork(other.plan, key=key))
    assert job.name == f"trial-{key}"
    last = end(training, training.create(asked))
    assert last.state == "SUCCEEDED", last.failure
    (child,) = last.children
    assert child.startswith(f"trial-{key}-")
    assert end(training, job).state == "SUCCEEDED"


def test_a_sweep_asked_again_finds_its_trials(training, project):
    """Trials that are done are not run again; a changed parameter file is another sweep."""
    asked = project({"n": 0, "pids": True})
    first = end(training, training.create(asked))
    again = end(training, training.create(asked))
    assert (again.name, again.tries) == (first.name, 2)
    other = end(training, training.create(project({"n": 0, "pids": True}, {"n": 1})))
    assert other.name != first.name
    assert len(other.children) == 2
    assert training.get(first.children[0]).tries == 1


def test_a_sweep_with_a_failed_trial_fails(training, project):
    """The others are finished, and the sweep says which failed and why."""
    asked = project({"n": 0, "exit": 42}, {"n": 1})
    job = end(training, training.create(asked))
    assert (job.state, job.failure.reason, job.failure.kind) == (
        "FAILED",
        "TRIALS_FAILED",
        "Corrupt",
    )
    assert "it was planned so" in job.failure.message
    states = sorted(c.state for c in training.jobs(parent=job.name).jobs)
    assert states == ["FAILED", "SUCCEEDED"]


def test_cancelling_a_sweep_cancels_its_trials(training, project):
    """All children stop, checkpoints kept; asked again it goes on."""
    trials = ({"n": n, "steps": 60, "step_s": 0.01} for n in range(3))
    asked = project(*trials)
    job = training.create(asked)
    until(lambda: any(c.done > 3 for c in training.jobs(parent=job.name).jobs))
    training.cancel(job.name)
    assert end(training, job).state == "CANCELLED"
    until(lambda: all(c.over for c in training.jobs(parent=job.name).jobs))
    states = {c.state for c in training.jobs(parent=job.name).jobs}
    assert "CANCELLED" in states
    assert states <= {"CANCELLED", "SUCCEEDED"}  # one may have ended before it heard
    assert end(training, training.create(asked)).state == "SUCCEEDED"


def test_a_generator_is_trained(training, project):
    """The generator of that name, in the project's folder."""
    asked = project(generators={"stack": {"steps": 3}})
    job = end(training, training.create(GeneratorWork(asked.project, "stack")))
    assert (job.state, job.name.startswith("generator-")) == ("SUCCEEDED", True)
    out = Path(asked.project) / "data/train_generator/stack/generator.json"
    assert json.loads(out.read_text())["steps"] == 3


def test_every_slot_has_a_gpu_of_its_own(tmp_path, work):
    """Two slots, two GPUs: trials that run at once are given different ones."""
    worker = JobWorker(
        INSTANT, cache=tmp_path / "cache", scratch=tmp_path / "running", gpus=("3", "GPU-x")
    )
    (tmp_path / "work").mkdir()
    book, roots = JobBook(f"sqlite:///{tmp_path}/jobs.db"), WorkRoots.of([tmp_path / "work"])
    training = LocalTraining(book, roots=roots, worker=worker, slots=2).start()
    asked = [work(f"t{n}", steps=30, step_s=0.01, pids=True) for n in range(4)]
    for job in [training.create(each) for each in asked]:
        assert end(training, job).state == "SUCCEEDED"
    given = [beside(each, "pids").read_text().split() for each in asked]
    assert {gpu for _, gpu in given} == {"3", "GPU-x"}
    assert len(dict(given)) == len({(pid, gpu) for pid, gpu in given}), "a worker keeps its GPU"
    assert training.drain(10.0)
    book.close()


def test_a_drained_service_goes_on_where_it_was(tmp_path, work, project):
    """Drain: jobs save their state and queue again; the next process finishes them."""
    asked = work("long", steps=150, step_s=0.01)
    sweep = project(*({"n": n, "steps": 60, "step_s": 0.01} for n in range(3)))
    with in_process(tmp_path) as training:
        first, second = training.create(asked), training.create(sweep)
        until(lambda: training.get(first.name).done > 3)
    book = JobBook(f"sqlite:///{tmp_path}/jobs.db")
    states = {book.get(job.name).state for job in (first, second)}
    book.close()
    assert states == {"QUEUED"}
    step = int(beside(asked, "checkpoint").read_text())
    assert step > 3
    with in_process(tmp_path) as training:
        assert end(training, first).state == "SUCCEEDED"
        assert end(training, second).state == "SUCCEEDED"
        assert f"from {step}" in training.log(first.name).text
        assert training.get(first.name).tries == 2
