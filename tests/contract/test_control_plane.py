"""The executor on a real control plane with a node of our own: what its contract does not ask."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mien.adapters.kubernetes.api import OLDEST
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.jobs import job_name
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.errors import Exhausted, NotFound, Unauthenticated, WrongState
from mien.core.tasks import Task
from tests.contract.control_plane import SINCE
from tests.contract.executors import run, running, task, until
from tests.contract.kube_rest import MERGE

GPUS = 4


def in_thread(runner, tasks, results):
    thread = threading.Thread(target=lambda: results.extend(run(runner, tasks)))
    thread.start()
    return thread


def test_a_sweep_never_has_more_pods_than_gpus(control_plane, namespace, tmp_path):
    """Twelve trials at once on four devices: the scheduler holds back eight, and all are done."""
    kubelet = control_plane.kubelet
    kubelet.most_running = 0
    runner = control_plane.executor(namespace, slots=12, work={"gpus": 1, "cpu": "1"})
    tasks = [task(tmp_path, f"t{i}", "span", 0.5) for i in range(12)]
    results = run(runner, tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 12
    spans = [tuple(map(float, Path(t.done).read_text().split())) for t in tasks]
    together = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert together <= GPUS
    assert 1 <= kubelet.most_running <= GPUS


def test_what_needs_more_gpus_than_a_node_has_waits(control_plane, namespace, tmp_path):
    """The scheduler finds no place for five devices; cancelled, its Job is gone."""
    pod = []

    def waits():
        pods = control_plane.pods(namespace)
        found = [c for p in pods for c in p["status"].get("conditions", ())]
        pod.extend(c for c in found if c.get("reason") == "Unschedulable")
        return bool(pod)

    runner = control_plane.executor(namespace, work={"gpus": GPUS + 1})
    (result,) = run(runner, [task(tmp_path, "a", "ok")], cancelled=waits)
    assert result.state == "CANCELLED"
    assert "nvidia.com/gpu" in pod[0]["message"]
    assert control_plane.jobs(namespace) == []


def tries_of_disruptions(plane):
    """Retries that a disrupted Pod needs: none where the server knows that it was disrupted."""
    return 0 if plane.version >= SINCE["podFailurePolicy"] else 1


def test_an_evicted_pod_goes_on_from_its_checkpoint(control_plane, namespace, tmp_path):
    """A drained node's Pod saves its state and another goes on; it does not count as a try."""
    pid, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    work = task(tmp_path, "a", "work", checkpoint, 300, pid)
    results = []
    runner = control_plane.executor(namespace, retries=tries_of_disruptions(control_plane))
    thread = in_thread(runner, [work], results)
    until(pid.exists)
    (pod,) = control_plane.pods(namespace)
    control_plane.evict(pod)
    thread.join()
    assert results[0].state == "SUCCEEDED"
    begun = [int(step) for step in Path(f"{checkpoint}.began").read_text().split()]
    assert begun[0] == 0 < begun[1]


def test_a_pod_deleted_by_force_is_done_again(control_plane, namespace, tmp_path):
    """Without a grace: its process is killed on the node, and another Pod does the work."""
    pid = tmp_path / "pid"
    work = task(tmp_path, "a", "work", tmp_path / "checkpoint", 500, pid)
    results = []
    thread = in_thread(control_plane.executor(namespace, retries=2), [work], results)
    until(pid.exists)
    first = int(pid.read_text())
    (pod,) = control_plane.pods(namespace)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    control_plane.rest.call("DELETE", path, {"gracePeriodSeconds": 0})
    until(lambda: not running(first))
    thread.join()
    assert results[0].state == "SUCCEEDED"


def test_a_preempted_trial_makes_room_and_goes_on_later(control_plane, namespace, tmp_path):
    """The scheduler ends a trial for one that matters more; it goes on from its checkpoint."""
    for name, value in (("mien-low", 10), ("mien-high", 1000)):
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value}
        control_plane.rest.ensure(
            "/apis/scheduling.k8s.io/v1/priorityclasses", body | {"metadata": {"name": name}}
        )
    whole = {"work": {"gpus": GPUS, "cpu": "1"}}
    pid, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    work = task(tmp_path, "low", "work", checkpoint, 300, pid)
    results = []
    retries = tries_of_disruptions(control_plane)
    low = control_plane.executor(namespace, priority_class="mien-low", retries=retries, **whole)
    thread = in_thread(low, [work], results)
    until(pid.exists)
    high = control_plane.executor(namespace, priority_class="mien-high", **whole)
    (urgent,) = run(high, [task(tmp_path, "high", "ok")])
    assert urgent.state == "SUCCEEDED"
    assert not Path(work.done).exists()
    thread.join()
    assert results[0].state == "SUCCEEDED"
    begun = [int(step) for step in Path(f"{checkpoint}.began").read_text().split()]
    assert begun[0] == 0 < begun[1]


def test_an_array_is_one_indexed_job(control_plane, namespace, tmp_path):
    """Shards become one Job; a bad index fails alone, at once, and its log is told."""
    control_plane.needs("completionMode", "backoffLimitPerIndex", "podFailurePolicy")
    tasks = [
        Task(f"s{i}", ("shard", str(tmp_path), str(i)), str(tmp_path / f"{i}.done"), index=i)
        for i in range(5)
    ]
    results = run(control_plane.executor(namespace), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 3 + ["FAILED", "SUCCEEDED"]
    assert (results[3].exit_code, results[3].tries) == (42, 1)
    assert "no shard 3" in results[3].log
    assert len(control_plane.jobs(namespace)) == 1


def test_a_suspended_job_waits_for_its_queue(control_plane, namespace, tmp_path):
    """With a queue the Job has no Pods until somebody (Kueue; here the test) lets it go."""
    control_plane.needs("suspend")
    work = task(tmp_path, "a", "ok")
    results = []
    thread = in_thread(control_plane.executor(namespace, queue="research"), [work], results)
    until(lambda: control_plane.jobs(namespace))
    (job,) = control_plane.jobs(namespace)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert control_plane.pods(namespace) == []
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job_name([work])}"
    control_plane.rest.call("PATCH", path, {"spec": {"suspend": False}}, kind=MERGE)
    thread.join()
    assert results[0].state == "SUCCEEDED"


def test_an_api_server_that_is_upgraded_loses_nothing(control_plane, namespace, tmp_path):
    """It goes away in the middle and comes back: no trial is lost or done twice."""
    tasks = [task(tmp_path, f"t{i}", "once", tmp_path / f"n{i}", 1.0) for i in range(4)]
    results = []
    thread = in_thread(control_plane.executor(namespace, slots=2), tasks, results)
    until((tmp_path / "n0").exists)
    control_plane.stop_api()
    time.sleep(2.0)
    control_plane.start_api()
    thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"] * 4
    assert [(tmp_path / f"n{i}").read_text() for i in range(4)] == ["x"] * 4


def test_a_missing_image_is_named(control_plane, namespace, tmp_path):
    """A Pod whose image is not there fails its Job after a while, in the node's words."""
    runner = control_plane.executor(namespace, image="no-such-image", stuck_s=1.0)
    (result,) = run(runner, [task(tmp_path, "a", "ok")])
    assert result.state == "FAILED"
    assert "ErrImagePull" in result.log
    until(lambda: control_plane.jobs(namespace) == [])


def test_environment_of_a_config_map_arrives(control_plane, namespace, tmp_path):
    """What the profile's ConfigMaps say, and the task's own, is the worker's environment."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}}
    body["data"] = {"FLAVOUR": "mint"}
    control_plane.rest.post(f"/api/v1/namespaces/{namespace}/configmaps", body)
    runner = control_plane.executor(namespace, config_maps=("words",))
    tasks = [
        task(tmp_path, "a", "env", "FLAVOUR"),
        task(tmp_path, "b", "env", "FLAVOUR", env={"FLAVOUR": "lime"}),
    ]
    run(runner, tasks)
    assert [Path(t.done).read_text() for t in tasks] == ["mint", "lime"]


# -- what is refused -------------------------------------------------------------------------------


def test_a_namespace_that_is_not_there_is_said(control_plane, tmp_path):
    """Nothing is submitted."""
    with pytest.raises(NotFound) as caught:
        run(control_plane.executor("nowhere"), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "NAMESPACE_MISSING"


def test_a_quota_is_said(control_plane, namespace, tmp_path):
    """A ResourceQuota of no Jobs: its own words, and nothing submitted."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    quota["spec"] = {"hard": {"count/jobs.batch": "0"}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    control_plane.rest.post(path, quota)
    until(lambda: "hard" in control_plane.rest.get(f"{path}/none").get("status", {}))
    with pytest.raises(Exhausted) as caught:
        run(control_plane.executor(namespace), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "QUOTA_EXCEEDED"
    assert control_plane.jobs(namespace) == []


def test_a_login_that_nobody_knows_is_said(control_plane, namespace, tmp_path):
    """A token the server does not know is refused with what to do."""
    way_in = control_plane.write_kubeconfig(token="nobody")
    with pytest.raises(Unauthenticated) as caught:
        run(control_plane.executor(namespace, kubeconfig=way_in), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "CLUSTER_LOGIN"


def test_a_server_that_is_too_old_is_refused(control_plane, namespace, tmp_path):
    """Without being told otherwise the executor takes no server that would drop its fields."""
    if control_plane.version >= OLDEST:
        pytest.skip(f"{control_plane.git_version} is new enough")
    profile = KubernetesProfile(
        kubeconfig=control_plane.kubeconfig, namespace=namespace, image="mien-services"
    )
    with pytest.raises(WrongState) as caught:
        run(KubernetesJobExecutor(profile), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "CLUSTER_TOO_OLD"
    assert control_plane.jobs(namespace) == []


SESSION = """
import sys, time
from pathlib import Path
from tests.contract.control_plane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]), Path(sys.argv[2]))
print(*(p.pid for p in plane.running.values()), flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_session_that_is_killed(control_plane, tmp_path):
    """Kill -9 of the process that started a control plane ends all of it."""
    command = [sys.executable, "-c", SESSION, str(control_plane.assets), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        pids = [int(pid) for pid in session.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(running, pids))
        session.kill()
    until(lambda: not any(map(running, pids)))
