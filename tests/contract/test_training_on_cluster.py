"""Training as Jobs of a cluster: they outlive the service, and say what became of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mien.core.jobs import GeneratorWork, TrialWork
from tests.contract.executors import until
from tests.contract.kube_stand_in import StandIn
from tests.contract.stores import bucket_url, object_store
from tests.contract.test_training_contract import INSTANT, end, jobs_of, local


@pytest.fixture
def cluster(tmp_path):
    server = StandIn(tmp_path, command=INSTANT, slots=10)
    yield server
    server.close()


@pytest.fixture
def training(cluster, tmp_path):
    """Start a service over the cluster; each is another process to the book."""
    started = []

    def start(**options):
        started.append(local(tmp_path, cluster=jobs_of(cluster, tmp_path, **options)))
        return started[-1]

    yield start
    for each in started:
        each.drain(30.0)
        each.book.close()


def plan(tmp_path, name="t", **given):
    folder = tmp_path / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"name": name, **given}))
    return TrialWork(str(folder / "plan.json"))


def began(work):
    """How often the work was begun, and from where."""
    return Path(work.plan).with_name("pids").read_text().splitlines()


def test_a_service_that_restarts_joins_its_jobs(cluster, training, tmp_path):
    """Drained, it leaves the Job alone; the next one hears of its progress and its end."""
    first = training()
    work = plan(tmp_path, steps=150, step_s=0.02, pids=True)
    name = first.create(work).name
    until(lambda: first.get(name).metrics.get("step", 0) > 1)
    assert first.drain(30.0)
    assert first.get(name).state == "QUEUED"
    assert len(cluster.cluster.jobs) == 1
    job = end(training(), first.get(name), 60.0)
    assert (job.state, job.tries) == ("SUCCEEDED", 2)
    assert len(began(work)) == 1
    assert cluster.cluster.created == 1


SERVICE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from tests.contract.test_training_contract import TrialWork, jobs_of, local
home, kubeconfig, plan = map(Path, sys.argv[1:])
service = local(home, cluster=jobs_of(SimpleNamespace(kubeconfig=kubeconfig), home))
print(service.create(TrialWork(str(plan))).name, flush=True)
time.sleep(300)
"""


def test_a_service_that_was_killed_leaves_its_jobs_to_the_next(cluster, training, tmp_path):
    """Kill -9: the Job runs on, and whoever takes the job up joins it; nothing is run twice."""
    work = plan(tmp_path, steps=300, step_s=0.02, pids=True)
    command = [sys.executable, "-c", SERVICE, str(tmp_path), str(cluster.kubeconfig), work.plan]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        name = process.stdout.readline().strip()
        until(Path(work.plan).with_name("pids").exists)
        process.kill()
    service = training()
    job = end(service, service.get(name), 60.0)
    assert job.state == "SUCCEEDED", job.failure
    assert len(began(work)) == 1
    assert cluster.cluster.created == 1


def test_a_generators_training_is_joined_too(cluster, training, tmp_path):
    """Its Job keeps its name over a restart: two never train at one checkpoint."""
    first = training()
    project = tmp_path / "work" / "project"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text(
        json.dumps({"generators": {"g": {"steps": 150, "step_s": 0.02, "pids": True}}})
    )
    name = first.create(GeneratorWork(str(project), "g")).name
    until(lambda: first.get(name).metrics.get("step", 0) > 1)
    (job,) = cluster.cluster.jobs.values()
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "train-generator"
    assert first.drain(30.0)
    ended = end(training(), first.get(name), 60.0)
    assert (ended.state, ended.failure) == ("SUCCEEDED", None)
    assert cluster.cluster.created == 1
    assert list((tmp_path / "running").iterdir()) == []


def test_cancelled_its_job_is_deleted_and_its_checkpoint_kept(cluster, training, tmp_path):
    """The Pod has its grace; asked for again, the work goes on from there."""
    service = training()
    work = plan(tmp_path, steps=300, step_s=0.02)
    name = service.create(work).name
    until(lambda: service.get(name).metrics.get("step", 0) > 1)
    service.cancel(name)
    assert end(service, service.get(name), 60.0).state == "CANCELLED"
    assert cluster.cluster.jobs == {}
    step = int(Path(work.plan).with_name("checkpoint").read_text())
    assert step > 0
    Path(work.plan).write_text(json.dumps({"name": "t", "steps": step + 2}))
    again = service.create(TrialWork(work.plan, key=name.removeprefix("trial-")), request_id="2")
    assert end(service, again, 60.0).state == "SUCCEEDED"
    assert f"from {step}" in service.log(again.name).text


def test_the_log_of_a_running_pod_can_be_read(cluster, training, tmp_path):
    """Whoever waits may look: what it has written so far is there before it ends."""
    service = training()
    job = service.create(plan(tmp_path, steps=500, step_s=0.02, say="begins now"))
    until(lambda: "begins now" in service.log(job.name).text)
    assert not service.get(job.name).over
    service.cancel(job.name)
    assert end(service, service.get(job.name), 60.0).state == "CANCELLED"


def test_a_failed_pods_words_are_the_jobs(cluster, training, tmp_path):
    """Its error, its hint and its exit code are the job's failure; its log is the job's log."""
    service = training()
    job = end(service, service.create(plan(tmp_path, exit=42, say="before it failed")), 60.0)
    assert job.state == "FAILED"
    failure = job.failure
    assert (failure.reason, failure.hint, failure.exit_code) == ("PLANNED", "plan better", 42)
    assert "before it failed" in service.log(job.name).text


def test_what_is_wrong_with_the_cluster_is_the_jobs_failure(cluster, training, tmp_path):
    """A namespace that is not there fails the job with what to do; later it may be done."""
    cluster.cluster.namespace = "elsewhere"
    service = training()
    job = end(service, service.create(plan(tmp_path)), 60.0)
    assert (job.state, job.failure.reason) == ("FAILED", "NAMESPACE_MISSING")
    assert "cluster profile" in job.failure.hint
    cluster.cluster.namespace = "mien"
    assert end(service, service.create(plan(tmp_path), request_id="2"), 60.0).state == "SUCCEEDED"


def test_many_jobs_share_one_watch(cluster, training, tmp_path):
    """Slots cost threads, not connections: there is one watch for all."""
    service = training(slots=6)
    jobs = [service.create(plan(tmp_path, f"t{i}", steps=5, step_s=0.02)) for i in range(12)]
    assert all(end(service, job, 60.0).state == "SUCCEEDED" for job in jobs)
    watches = [path for _, _, path in cluster.cluster.calls if "watch=true" in path.lower()]
    assert len(watches) == 1
    assert cluster.cluster.most_running <= 6


REAL = (sys.executable, "-m", "mien")
SMOKE = Path(__file__).resolve().parents[2] / "params" / "smoke.yaml"
THREE = ["anger", "fear", "happiness"]


@pytest.mark.slow
def test_a_real_generator_is_trained_where_only_a_store_is_common(tmp_path, monkeypatch):
    """The real verb in a Pod that sees neither project nor cache; figures and weights come back."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    params = yaml.safe_load(SMOKE.read_text())
    faces = {"subjects": 4, "size_px": 32, "expressions": THREE}
    params["train_generator"] = {
        "g": {
            "preset": "acgan",
            "size_px": 16,
            "channels": "rgb",
            "faces": {"database": {"reader": "demo_web", "params": faces}},
            "expressions": THREE,
            "params": {"width": 4, "z_dim": 8, "batch": 8, "ghost": 4, "kimg": 0.2},
        }
    }
    project = tmp_path / "work" / "project"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with object_store():
        server = StandIn(tmp_path, command=REAL, slots=1)
        store = bucket_url()
        service = local(tmp_path, cluster=jobs_of(server, tmp_path, store=store))
        job = end(service, service.create(GeneratorWork(str(project), "g")), 300.0)
        assert job.state == "SUCCEEDED", job.failure
        assert service.drain(30.0)
        service.book.close()
        server.close()
    assert (job.done, job.unit) == (0.2, "kimg")
    assert job.metrics["d_loss"] > 0
    made = project / "data" / "train_generator" / "g"
    assert (made / "generator" / "generator.json").exists()
    assert list((made / "sheets").glob("*.png"))
    assert not (tmp_path / "cache" / "generators").exists()
