"""The Kubernetes executor over HTTP: what it asks of an API server, and how it takes faults."""

import threading
import time
from pathlib import Path

import pytest

from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.jobs import job_name, parse_indexes, render_job
from mien.adapters.kubernetes.profile import KubernetesProfile, load_profile, profile_of
from mien.core.errors import (
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
    WrongState,
)
from mien.core.tasks import Task
from mien.settings import load_settings
from tests.contract.executors import run, task, until
from tests.contract.kube_stand_in import StandIn


@pytest.fixture
def stand_in(tmp_path):
    started = []

    def start(**options):
        started.append(StandIn(tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def profile(server, **options):
    given = {"namespace": "mien", "image": "mien-services", "grace_s": 5, **options}
    return KubernetesProfile(kubeconfig=server.kubeconfig, **given)


def executor(server, *, away_s=5.0, rate_per_s=1000.0, stuck_s=120.0, **options):
    found = profile(server, **options)
    api = KubernetesApi(found, rate_per_s=rate_per_s, away_s=away_s)
    return KubernetesJobExecutor(found, api, stuck_s=stuck_s)


def test_found_done_asks_nothing_of_the_cluster(stand_in, tmp_path):
    """A task whose marker exists costs no call."""
    server = stand_in()
    done = task(tmp_path, "a", "exit")
    Path(done.done).touch()
    (result,) = run(executor(server), [done])
    assert (result.state, result.tries, server.cluster.calls) == ("SUCCEEDED", 0, [])


@pytest.mark.parametrize("slots", [1, 3])
def test_never_more_jobs_than_slots(stand_in, tmp_path, slots):
    """As many Jobs are on the cluster as there are slots."""
    server = stand_in(slots=10)
    tasks = [task(tmp_path, f"t{i}", "span", 0.2) for i in range(2 * slots)]
    run(executor(server, slots=slots), tasks)
    assert server.cluster.most_running == slots


def test_a_preempted_pod_goes_on_from_its_checkpoint(stand_in, tmp_path):
    """A disruption does not count as a try; the new Pod goes on."""
    server = stand_in()
    pid, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    work = task(tmp_path, "a", "work", checkpoint, 150, pid)
    results = []
    runner = executor(server, retries=0)
    thread = threading.Thread(target=lambda: results.extend(run(runner, [work])))
    thread.start()
    until(pid.exists)
    server.cluster.disrupt(job_name([work]))
    thread.join()
    assert results[0].state == "SUCCEEDED"
    assert "from 0" not in results[0].log


def test_a_new_launcher_joins_what_the_old_one_left(stand_in, tmp_path):
    """Jobs outlive their launcher: the next one finds them running, and runs nothing twice."""
    server = stand_in()
    once = task(tmp_path, "a", "once", tmp_path / "count", 0.6)
    api = KubernetesApi(profile(server))
    api.create_job(render_job([once], profile(server)))
    (result,) = run(executor(server), [once])
    assert result.state == "SUCCEEDED"
    assert (tmp_path / "count").read_text() == "x"


def test_a_job_that_failed_before_is_done_again(stand_in, tmp_path):
    """What failed in an earlier run gets a fresh Job."""
    server = stand_in()
    flaky = task(tmp_path, "a", "flaky", tmp_path / "count", 1)
    (first,) = run(executor(server, retries=0), [flaky])
    (second,) = run(executor(server, retries=0), [flaky])
    assert (first.state, second.state) == ("FAILED", "SUCCEEDED")


def test_an_array_is_one_indexed_job(stand_in, tmp_path):
    """Shards become one Job; a bad index fails alone and is named."""
    server = stand_in()
    tasks = [
        Task(f"s{i}", ("shard", str(tmp_path), str(i)), str(tmp_path / f"{i}.done"), index=i)
        for i in range(5)
    ]
    results = run(executor(server, retries=1), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 3 + ["FAILED", "SUCCEEDED"]
    assert (results[3].exit_code, results[3].tries) == (42, 1)
    assert len(server.cluster.jobs) == 1
    assert "no shard 3" in results[3].log


def test_wire_faults_are_lived_through(stand_in, tmp_path):
    """429, a cut watch, a forgotten history and a server that is away lose nothing."""
    server = stand_in()
    server.cluster.busy, server.cluster.cut_after = 3, 2
    tasks = [task(tmp_path, f"t{i}", "span", 0.4) for i in range(6)]
    results = []
    runner = executor(server, slots=2, away_s=20.0)
    thread = threading.Thread(target=lambda: results.extend(run(runner, tasks)))
    thread.start()
    until((tmp_path / "t0.done").exists)
    server.cluster.forget()
    server.cluster.away_until = time.monotonic() + 1.0
    server.cluster.busy = 4
    thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"] * 6
    assert all(r.tries == 1 for r in results)


def test_a_server_that_stays_away_is_an_error_and_jobs_go_on(stand_in, tmp_path):
    """Unreachable for longer than our patience: said so; the next run joins what goes on."""
    server = stand_in()
    work = task(tmp_path, "a", "span", 1.5)
    caught = []

    def launch():
        try:
            run(executor(server, away_s=0.5), [work])
        except Unavailable as error:
            caught.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    until(lambda: server.cluster.jobs)
    server.cluster.away_until = time.monotonic() + 4.0
    thread.join()
    assert [e.reason for e in caught] == ["CLUSTER_UNREACHABLE"]
    assert "join" in caught[0].hint
    server.cluster.away_until = 0.0
    (result,) = run(executor(server), [work])
    assert (result.state, server.cluster.most_running) == ("SUCCEEDED", 1)


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        ({"version": ("1", "20+")}, WrongState, "CLUSTER_TOO_OLD"),
        ({"namespace": "other"}, NotFound, "NAMESPACE_MISSING"),
        ({"forbidden": 'jobs.batch is forbidden: User "x"'}, Forbidden, "CLUSTER_FORBIDDEN"),
        ({"quota": 0}, Exhausted, "QUOTA_EXCEEDED"),
    ],
)
def test_what_the_cluster_refuses_is_said_before_anything_is_submitted(
    stand_in, tmp_path, fault, error, reason
):
    """Each refusal has its own words, and leaves nothing half-submitted."""
    server = stand_in(**fault)
    with pytest.raises(error) as caught:
        run(executor(server), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == reason
    assert caught.value.hint
    assert server.cluster.jobs == {}


def test_an_unreachable_cluster_is_said(tmp_path, stand_in):
    """No server at all."""
    server = stand_in()
    server.close()
    with pytest.raises(Unavailable) as caught:
        run(executor(server, away_s=0.3), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "CLUSTER_UNREACHABLE"


def test_quota_in_the_middle_waits_for_room(stand_in, tmp_path, monkeypatch):
    """When the quota is used up by ours, the rest waits for them."""
    monkeypatch.setattr("mien.adapters.kubernetes.executor._QUOTA_S", 0.2)
    server = stand_in(quota=2)
    tasks = [task(tmp_path, f"t{i}", "span", 0.2) for i in range(4)]
    results = []
    runner = executor(server, ttl_s=0)
    thread = threading.Thread(target=lambda: results.extend(run(runner, tasks)))
    thread.start()
    while thread.is_alive():  # the TTL controller
        with server.cluster.changed:
            for job in list(server.cluster.jobs.values()):
                if job["status"].get("conditions"):
                    job["metadata"]["deletionTimestamp"] = "now"
        thread.join(0.05)
    assert [r.state for r in results] == ["SUCCEEDED"] * 4


def test_a_missing_image_is_named(stand_in, tmp_path):
    """A Pod that cannot get its image fails its Job after a while, with the cluster's words."""
    server = stand_in(bad_image=True)
    (result,) = run(executor(server, stuck_s=0.5), [task(tmp_path, "a", "ok")])
    assert result.state == "FAILED"
    assert "ErrImagePull: no such image" in result.log
    assert "`image` in the cluster profile" in result.log
    until(lambda: server.cluster.jobs == {})


def test_pods_that_are_never_created_fail_their_job(stand_in, tmp_path):
    """No such service account, or a Pod that admission refuses: said in the cluster's words."""
    words = 'pods "x" is forbidden: error looking up service account mien/mien-worker: not found'
    server = stand_in(refuses_pods=words)
    (result,) = run(executor(server, stuck_s=0.5), [task(tmp_path, "a", "ok")])
    assert result.state == "FAILED"
    assert words in result.log
    assert "service_account" in result.log
    until(lambda: server.cluster.jobs == {})


def test_pods_without_quota_are_waited_for(stand_in, tmp_path, caplog):
    """Others' work ends some day; meanwhile the log says what is missing."""
    server = stand_in(refuses_pods='pods "x" is forbidden: exceeded quota: gpus, used: 4')
    results = []
    runner = executor(server, stuck_s=0.2)
    waits = task(tmp_path, "a", "ok")
    thread = threading.Thread(target=lambda: results.extend(run(runner, [waits])))
    thread.start()
    until(lambda: "waits for quota" in caplog.text)
    server.cluster.refuses_pods = ""
    thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"]


def test_a_missing_secret_is_told_apart(stand_in, tmp_path, monkeypatch):
    """A Pod whose configuration is not there says what it lacks, not that its image is missing."""
    server = stand_in(bad_image=True)
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "mien" not found'}
    pod = server.server.RequestHandlerClass.pod

    def without(self, found):
        said = pod(self, found)
        said["status"]["containerStatuses"][0]["state"] = {"waiting": waiting}
        return said

    monkeypatch.setattr(server.server.RequestHandlerClass, "pod", without)
    (result,) = run(executor(server, stuck_s=0.5), [task(tmp_path, "a", "ok")])
    assert 'secret "mien" not found' in result.log
    assert "`secrets`" in result.log


def test_why_a_pod_ended_is_told(stand_in, tmp_path, monkeypatch):
    """Out of memory, evicted: what the cluster knows is in the log, not only a signal's number."""
    server = stand_in()
    pod = server.server.RequestHandlerClass.pod

    def killed(self, found):
        said = pod(self, found)
        ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        said["status"]["containerStatuses"][0]["state"] = ended
        return said

    monkeypatch.setattr(server.server.RequestHandlerClass, "pod", killed)
    tasks = [Task("a", ("exit", "137"), str(tmp_path / "no"))]
    (result,) = run(executor(server, retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 137)
    assert "OOMKilled" in result.log
    assert "profile" in result.log


def test_a_pod_that_was_stopped_by_nobody_here_has_failed(stand_in, tmp_path):
    """A deadline of the cluster sends SIGTERM as well: that is no cancellation of ours."""
    tasks = [Task("a", ("exit", "143"), str(tmp_path / "no"))]
    (result,) = run(executor(stand_in(), retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 1)


def test_few_calls_a_second(stand_in, tmp_path):
    """The pace holds whatever there is to do."""
    server = stand_in(instant=True, slots=100)
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(30)]
    run(executor(server, rate_per_s=40.0, slots=30), tasks)
    times = [at for at, _, _ in server.cluster.calls]
    assert len(times) / (times[-1] - times[0] + 1.0) <= 40.0


def test_a_job_says_what_the_cluster_must_know(tmp_path):
    """GPUs, torchrun, Kueue, taints, priority, deadline; and nothing the models do not know."""
    from kubernetes import client

    given = KubernetesProfile(
        namespace="mien",
        image="mien-services@sha256:0",
        queue="research",
        priority_class="low",
        node_selector={"pool": "gpu"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists"},),
        verbs={"train-generator": {"gpus": 4, "cpu": "16", "deadline_s": 60}},
        secrets=("s3",),
        claims={"work": "/work"},
    )
    job = render_job([Task("k", ("train-generator", "identities"), "s3://b/done")], given)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["command"] == ["python", "-m", "mien.cli.crew", "4"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert pod["priorityClassName"] == "low"
    assert pod["automountServiceAccountToken"] is False
    known = client.ApiClient().sanitize_for_serialization(client.V1Job.from_dict(job))
    assert known == job


def test_a_profile_names_its_mistakes(tmp_path):
    """Unknown keys and impossible numbers, by key; a missing file says where to start."""
    file = tmp_path / "cluster.yaml"
    with pytest.raises(NotFound, match="PROFILE_MISSING"):
        load_profile(file)
    file.write_text("namespace: mien\nimage: x\nslots: 0\ngpu: 1\n")
    with pytest.raises(Invalid) as caught:
        load_profile(file)
    assert set(caught.value.violations) == {"slots", "gpu"}


def test_settings_go_before_the_profile(tmp_path, monkeypatch):
    """The image of the service that submits, and the queue of the cluster."""
    monkeypatch.setenv("MIEN_EXECUTOR", "kubernetes")
    with pytest.raises(WrongState, match="NO_PROFILE"):
        profile_of(load_settings(tmp_path))
    (tmp_path / "cluster.yaml").write_text("namespace: mien\nimage: mien-services\n")
    monkeypatch.setenv("MIEN_KUBERNETES", "cluster.yaml")
    monkeypatch.setenv("MIEN_KUBERNETES_IMAGE", "mien-services@sha256:1")
    monkeypatch.setenv("MIEN_KUBERNETES_QUEUE", "research")
    found = profile_of(load_settings(tmp_path))
    assert (found.image, found.queue) == ("mien-services@sha256:1", "research")


def test_indexes_are_read():
    """As the controller writes them."""
    assert parse_indexes("0-3,7,9-10") == {0, 1, 2, 3, 7, 9, 10}
    assert parse_indexes("") == set()
