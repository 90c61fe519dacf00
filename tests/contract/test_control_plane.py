"""The executor, the manifests and their rights, on a real control plane with a node of our own."""

import itertools
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from mien.adapters.kubernetes_api import OLDEST, KubernetesApi
from mien.adapters.kubernetes_executor import KubernetesJobExecutor
from mien.adapters.kubernetes_jobs import job_name, render_job
from mien.adapters.kubernetes_profile import KubernetesProfile
from mien.adapters.triton_rollout import TritonRollout
from mien.core.errors import Conflict, Exhausted, Forbidden, NotFound, Unauthenticated, WrongState
from mien.core.tasks import Task
from tests.contract.executors import run, task, until
from tests.contract.kube_rest import MERGE, Refused, Rest

BASE = Path(__file__).resolve().parents[2] / "k8s" / "base"
GPUS = 4


@pytest.fixture
def namespace(control_plane):
    """A namespace of one test, under Pod Security "restricted"."""
    return control_plane.make_namespace()


def executor(plane, namespace, *, kubeconfig=None, stuck_s=120.0, away_s=60.0, **options):
    """Make an executor; options go into the profile."""
    given = {"image": "mien-services", "grace_s": 20, "retries": 1, "slots": 8, **options}
    profile = KubernetesProfile(
        kubeconfig=kubeconfig or plane.kubeconfig, namespace=namespace, **given
    )
    api = KubernetesApi(profile, away_s=away_s, oldest=plane.oldest)
    return KubernetesJobExecutor(profile, api, stuck_s=stuck_s)


def in_thread(runner, tasks, results):
    thread = threading.Thread(target=lambda: results.extend(run(runner, tasks)))
    thread.start()
    return thread


def test_a_sweep_never_has_more_pods_than_gpus(control_plane, namespace, tmp_path):
    """Twelve trials at once on four devices: the scheduler holds back eight, and all are done."""
    kubelet = control_plane.kubelet
    kubelet.most_running = 0
    runner = executor(control_plane, namespace, slots=12, work={"gpus": 1, "cpu": "1"})
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

    runner = executor(control_plane, namespace, work={"gpus": GPUS + 1})
    (result,) = run(runner, [task(tmp_path, "a", "ok")], cancelled=waits)
    assert result.state == "CANCELLED"
    assert "nvidia.com/gpu" in pod[0]["message"]
    assert control_plane.jobs(namespace) == []


def test_an_evicted_pod_goes_on_from_its_checkpoint(control_plane, namespace, tmp_path):
    """A drained node's Pod saves its state and another goes on; it does not count as a try."""
    control_plane.needs("podFailurePolicy")
    pid, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    work = task(tmp_path, "a", "work", checkpoint, 300, pid)
    results = []
    thread = in_thread(executor(control_plane, namespace, retries=0), [work], results)
    until(pid.exists)
    (pod,) = control_plane.pods(namespace)
    control_plane.evict(pod)
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
    results = run(executor(control_plane, namespace), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 3 + ["FAILED", "SUCCEEDED"]
    assert (results[3].exit_code, results[3].tries) == (42, 1)
    assert "no shard 3" in results[3].log
    assert len(control_plane.jobs(namespace)) == 1


def test_a_suspended_job_waits_for_its_queue(control_plane, namespace, tmp_path):
    """With a queue the Job has no Pods until somebody (Kueue; here the test) lets it go."""
    control_plane.needs("suspend")
    work = task(tmp_path, "a", "ok")
    results = []
    thread = in_thread(executor(control_plane, namespace, queue="research"), [work], results)
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
    thread = in_thread(executor(control_plane, namespace, slots=2), tasks, results)
    until((tmp_path / "n0").exists)
    control_plane.stop_api()
    time.sleep(2.0)
    control_plane.start_api()
    thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"] * 4
    assert [(tmp_path / f"n{i}").read_text() for i in range(4)] == ["x"] * 4


def test_a_missing_image_is_named(control_plane, namespace, tmp_path):
    """A Pod whose image is not there fails its Job after a while, in the node's words."""
    runner = executor(control_plane, namespace, image="no-such-image", stuck_s=1.0)
    (result,) = run(runner, [task(tmp_path, "a", "ok")])
    assert result.state == "FAILED"
    assert "ErrImagePull" in result.log
    until(lambda: control_plane.jobs(namespace) == [])


def test_environment_of_a_config_map_arrives(control_plane, namespace, tmp_path):
    """What the profile's ConfigMaps say, and the task's own, is the worker's environment."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}}
    body["data"] = {"FLAVOUR": "mint"}
    control_plane.rest.post(f"/api/v1/namespaces/{namespace}/configmaps", body)
    runner = executor(control_plane, namespace, config_maps=("words",))
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
        run(executor(control_plane, "nowhere"), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "NAMESPACE_MISSING"


def test_a_quota_is_said(control_plane, namespace, tmp_path):
    """A ResourceQuota of no Jobs: its own words, and nothing submitted."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    quota["spec"] = {"hard": {"count/jobs.batch": "0"}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    control_plane.rest.post(path, quota)
    until(lambda: "hard" in control_plane.rest.get(f"{path}/none").get("status", {}))
    with pytest.raises(Exhausted) as caught:
        run(executor(control_plane, namespace), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "QUOTA_EXCEEDED"
    assert control_plane.jobs(namespace) == []


def test_a_login_that_nobody_knows_is_said(control_plane, namespace, tmp_path):
    """A token the server does not know is refused with what to do."""
    way_in = control_plane.write_kubeconfig(token="nobody")
    with pytest.raises(Unauthenticated) as caught:
        run(executor(control_plane, namespace, kubeconfig=way_in), [task(tmp_path, "a", "ok")])
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


# -- rights ----------------------------------------------------------------------------------------


def granted(plane, namespace):
    """Put the accounts and roles of k8s/base/access.yaml into a namespace."""
    for text in (BASE / "access.yaml").read_text().split("\n---\n"):
        found = yaml.safe_load(text)
        kind = found["kind"]
        group = "/api/v1" if found["apiVersion"] == "v1" else f"/apis/{found['apiVersion']}"
        for subject in found.get("subjects", ()):
            subject["namespace"] = namespace
            plane.account(namespace, subject["name"])
        plane.rest.ensure(f"{group}/namespaces/{namespace}/{kind.lower()}s", found)


def rights(plane, namespace, account, name=""):
    """Ask, as an account, what it may do in a namespace → {(group, resource, verb)}."""
    ours = Rest(plane.server, plane.certificates.authority, token=plane.token(namespace, account))
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    found = set()
    for (group, resource), verb in itertools.product(sorted(resources(plane)), verbs):
        kind, _, part = resource.partition("/")
        asked = {"namespace": namespace, "group": group, "resource": kind, "verb": verb}
        asked |= {"name": name} if name else {}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        body["spec"] = {"resourceAttributes": asked | ({"subresource": part} if part else {})}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        if ours.post(path, body)["status"]["allowed"]:
            found.add((group, resource, verb))
    return found


def resources(plane):
    """Every resource and part of one that the server knows in a namespace."""
    groups = [
        "",
        *(g["preferredVersion"]["groupVersion"] for g in plane.rest.get("/apis")["groups"]),
    ]
    found = set()
    for version in groups:
        listed = plane.rest.get(f"/apis/{version}" if version else "/api/v1")["resources"]
        group = version.rpartition("/")[0]
        found |= {(group, r["name"]) for r in listed if r["namespaced"]}
    return found


def wanted(account, name=""):
    """What access.yaml grants an account, on a thing of this name."""
    documents = [yaml.safe_load(t) for t in (BASE / "access.yaml").read_text().split("\n---\n")]
    roles = {
        d["roleRef"]["name"]
        for d in documents
        if d["kind"] == "RoleBinding" and account in [s["name"] for s in d["subjects"]]
    }
    return {
        (group, resource, verb)
        for d in documents
        if d["kind"] == "Role" and d["metadata"]["name"] in roles
        for rule in d["rules"]
        if name in rule.get("resourceNames", [name])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("account", ["training", "generation", "serving", "mien-worker"])
def test_an_account_may_what_the_manifests_say_and_nothing_else(control_plane, namespace, account):
    """Every verb on every resource is asked of the server; the workers' account may nothing."""
    granted(control_plane, namespace)
    for name in ("", "triton", "another"):
        assert rights(control_plane, namespace, account, name) == wanted(account, name)
    assert (wanted(account, "triton") == set()) is (account == "mien-worker")


def test_the_services_role_is_enough_for_every_call(control_plane, namespace, tmp_path):
    """As the training service's account: submit, watch, fail, read logs, cancel, clean up."""
    granted(control_plane, namespace)
    way_in = control_plane.write_kubeconfig(token=control_plane.token(namespace, "training"))
    ours = {"kubeconfig": way_in, "retries": 0}
    tasks = [task(tmp_path, "a", "ok", "words"), Task("b", ("exit", "3"), str(tmp_path / "no"))]
    good, bad = run(executor(control_plane, namespace, **ours), tasks)
    assert (good.state, bad.state, bad.exit_code) == ("SUCCEEDED", "FAILED", 3)
    assert "words" in good.log
    pid = tmp_path / "pid"
    work = task(tmp_path, "c", "work", tmp_path / "checkpoint", 100_000, pid)
    (cancelled,) = run(executor(control_plane, namespace, **ours), [work], cancelled=pid.exists)
    assert cancelled.state == "CANCELLED"
    assert (tmp_path / "checkpoint").exists()
    runner = executor(control_plane, namespace, image="no-such-image", stuck_s=1.0, **ours)
    (stuck,) = run(runner, [task(tmp_path, "d", "ok")])
    assert "ErrImagePull" in stuck.log


def test_without_the_role_it_is_said_and_nothing_submitted(control_plane, namespace, tmp_path):
    """The workers' own account may submit nothing."""
    way_in = control_plane.write_kubeconfig(token=control_plane.token(namespace, "mien-worker"))
    with pytest.raises(Forbidden) as caught:
        run(executor(control_plane, namespace, kubeconfig=way_in), [task(tmp_path, "a", "ok")])
    assert caught.value.reason == "CLUSTER_FORBIDDEN"
    assert control_plane.jobs(namespace) == []


def test_pod_security_is_on_and_takes_our_pods(control_plane, namespace, tmp_path):
    """A Pod that runs as root is refused in a namespace where ours are taken."""
    control_plane.needs("PodSecurity")
    profile = KubernetesProfile(namespace=namespace, image="mien-services")
    template = render_job([task(tmp_path, "a", "ok")], profile)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": template["spec"]}
    path = f"/api/v1/namespaces/{namespace}/pods"
    control_plane.rest.post(path, pod, dryRun="All")
    pod["spec"]["securityContext"] = {}
    pod["spec"]["containers"][0]["securityContext"] = {}
    with pytest.raises(Refused, match="PodSecurity"):
        control_plane.rest.post(path, pod, dryRun="All")


# -- promotion -------------------------------------------------------------------------------------


def triton(plane, namespace):
    """A Deployment of two as in k8s/base/triton.yaml, of servers that become ready."""
    labels = {"app": "triton"}
    container = {
        "name": "triton",
        "image": "server",
        "args": ["$(MIEN_MODELS)"],
        "env": [{"name": "MIEN_MODELS", "value": "s3://mien/models/a"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8000}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {
        "replicas": 2,
        "progressDeadlineSeconds": 5,
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "triton"}}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    plane.rest.post(path, body | {"spec": spec})
    return f"{path}/triton"


def test_triton_is_rolled_over_and_stays_where_it_cannot_be(control_plane, namespace):
    """As serving's account, with the real Deployment controller.

    Every replica runs the new models when the wait ends; models that cannot be loaded leave the old
    replicas serving, and the rollout back is seen to its end.
    """
    granted(control_plane, namespace)
    path = triton(control_plane, namespace)
    way_in = control_plane.write_kubeconfig(token=control_plane.token(namespace, "serving"))
    rollout = TritonRollout(f"{namespace}/triton", kubeconfig=way_in, interval_s=0.1)
    assert rollout.wait(60.0, lambda: None).models == "s3://mien/models/a"

    rollout.change("", journal="one", models="s3://mien/models/b")
    seen = rollout.wait(60.0, lambda: None)
    assert (seen.models, seen.journal, seen.rolled) == ("s3://mien/models/b", "one", True)
    running = [
        e["value"]
        for p in control_plane.pods(namespace)
        if not p["metadata"].get("deletionTimestamp")
        for e in p["spec"]["containers"][0]["env"]
    ]
    assert running == ["s3://mien/models/b"] * 2
    with pytest.raises(Conflict):
        rollout.change("", journal="two", models="s3://mien/models/c")

    rollout.change("one", journal="three", models="s3://mien/models/bad")
    with pytest.raises(WrongState) as caught:
        rollout.wait(60.0, lambda: None)
    assert caught.value.reason == "ROLLOUT_FAILED"
    assert control_plane.rest.get(path)["status"]["availableReplicas"] == 2

    rollout.change("three", journal="", models="s3://mien/models/b")
    seen = rollout.wait(60.0, lambda: None)
    assert (seen.models, seen.journal) == ("s3://mien/models/b", "")
    control_plane.rest.call("DELETE", path)
    until(lambda: control_plane.pods(namespace) == [])


# -- the manifests ---------------------------------------------------------------------------------


def kubectl(plane, *words):
    found = subprocess.run(
        ["kubectl", f"--kubeconfig={plane.kubeconfig}", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_base_applies_on_a_bare_cluster(control_plane):
    """`kubectl apply --server-side` twice; every Deployment gets its Pods past Pod Security."""
    control_plane.needs("PodSecurity", "grpcProbes")
    if shutil.which("kubectl") is None:
        pytest.skip("no real control plane: kubectl is not installed")
    overlay = str(BASE.parent / "overlays" / "local")
    kubectl(control_plane, "apply", "--server-side", "-k", overlay)
    again = kubectl(control_plane, "apply", "--server-side", "-k", overlay)
    assert "serverside-applied" in again
    path = "/apis/apps/v1/namespaces/mien/deployments"

    def settled():
        found = control_plane.rest.get(path)["items"]
        return found and all(d["status"].get("replicas", 0) >= d["spec"]["replicas"] for d in found)

    until(settled)
    conditions = [
        c
        for d in control_plane.rest.get(path)["items"]
        for c in d["status"].get("conditions", ())
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]
    assert conditions == []
    kubectl(control_plane, "delete", "namespace", "mien", "--wait=false")
