"""The manifests on a real control plane: rights, Pod Security, promotion, and that they apply."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mien.adapters.kubernetes.jobs import render_job
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.adapters.triton.rollout import TritonRollout
from mien.core.errors import Conflict, Forbidden, WrongState
from mien.core.tasks import Task
from tests.contract.executors import run, task, until
from tests.contract.kube_rest import Refused, Rest

K8S = Path(__file__).resolve().parents[2] / "k8s"
APPLY = "application/apply-patch+yaml"


# -- rights ----------------------------------------------------------------------------------------


def granted(plane, namespace):
    """Put the accounts and roles of k8s/base/access.yaml into a namespace."""
    for found in yaml.safe_load_all((K8S / "base" / "access.yaml").read_text()):
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
    documents = [
        yaml.safe_load(t) for t in (K8S / "base" / "access.yaml").read_text().split("\n---\n")
    ]
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
    good, bad = run(control_plane.executor(namespace, **ours), tasks)
    assert (good.state, bad.state, bad.exit_code) == ("SUCCEEDED", "FAILED", 3)
    assert "words" in good.log
    pid = tmp_path / "pid"
    work = task(tmp_path, "c", "work", tmp_path / "checkpoint", 100_000, pid)
    (cancelled,) = run(control_plane.executor(namespace, **ours), [work], cancelled=pid.exists)
    assert cancelled.state == "CANCELLED"
    assert (tmp_path / "checkpoint").exists()
    runner = control_plane.executor(namespace, image="no-such-image", stuck_s=1.0, **ours)
    (stuck,) = run(runner, [task(tmp_path, "d", "ok")])
    assert "ErrImagePull" in stuck.log


def test_without_the_role_it_is_said_and_nothing_submitted(control_plane, namespace, tmp_path):
    """The workers' own account may submit nothing."""
    way_in = control_plane.write_kubeconfig(token=control_plane.token(namespace, "mien-worker"))
    with pytest.raises(Forbidden) as caught:
        run(control_plane.executor(namespace, kubeconfig=way_in), [task(tmp_path, "a", "ok")])
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
        "progressDeadlineSeconds": 30,
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
    assert rollout.wait(120.0, lambda: None).models == "s3://mien/models/a"

    rollout.change("", journal="one", models="s3://mien/models/b")
    seen = rollout.wait(120.0, lambda: None)
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
        rollout.wait(120.0, lambda: None)
    assert caught.value.reason == "ROLLOUT_FAILED"
    assert control_plane.rest.get(path)["status"]["availableReplicas"] == 2

    rollout.change("three", journal="", models="s3://mien/models/b")
    seen = rollout.wait(120.0, lambda: None)
    assert (seen.models, seen.journal) == ("s3://mien/models/b", "")
    control_plane.rest.call("DELETE", path)
    until(lambda: control_plane.pods(namespace) == [])


# -- that they apply -------------------------------------------------------------------------------


def rendered(overlay):
    """The documents of an overlay, or a skip where nothing can render."""
    if shutil.which("kubectl") is None:
        pytest.skip("no real control plane: kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no real control plane: kubectl cannot render: {done.stderr[:200]}")
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def known_to(version, documents):
    """Leave out what a server of this release has no words for."""
    for document in documents:
        if document["kind"] == "PodDisruptionBudget" and version < (1, 21):
            continue
        for container in containers(document) if version < (1, 24) else ():
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "grpc" in container.get(probe, {}):
                    del container[probe]
        yield document


def containers(document):
    spec = document.get("spec", {}).get("template", {}).get("spec", {})
    return list(spec.get("containers", ()))


def places(plane):
    """(version, kind) → path of its collection, with {namespace} where it has one."""
    groups = [
        "v1",
        *(v["groupVersion"] for g in plane.rest.get("/apis")["groups"] for v in g["versions"]),
    ]
    found = {}
    for version in groups:
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        for each in plane.rest.get(root)["resources"]:
            if "/" not in each["name"]:
                place = "namespaces/{namespace}/" if each["namespaced"] else ""
                found[version, each["kind"]] = f"{root}/{place}{each['name']}"
    return found


def apply(plane, documents):
    """Apply each on the server's side, as `kubectl apply --server-side` does.

    Created where the server is so old that it cannot take a port without its protocol that way.
    """
    known = places(plane)
    for document in documents:
        at = document["metadata"]
        path = known[document["apiVersion"], document["kind"]].format(
            namespace=at.get("namespace", "")
        )
        if plane.version < (1, 22):
            plane.rest.ensure(path, document)
            continue
        options = {"kind": APPLY, "fieldManager": "t", "force": "true"}
        plane.rest.call("PATCH", f"{path}/{at['name']}", document, **options)


def test_the_server_takes_what_it_knows_of_every_component(control_plane):
    """Tried dry: all but the custom resources of operators, which a bare server does not know."""
    known = places(control_plane)
    documents = list(known_to(control_plane.version, rendered(K8S / "overlays" / "gpu")))
    ours = [d for d in documents if (d["apiVersion"], d["kind"]) in known]
    for document in ours:
        path = known[document["apiVersion"], document["kind"]].format(namespace="mien")
        dry = {} if document["kind"] == "Namespace" else {"dryRun": "All"}
        control_plane.rest.ensure(path, document, **dry)
    assert {"NetworkPolicy", "Deployment", "StatefulSet", "Role"} <= {d["kind"] for d in ours}
    theirs = {d["apiVersion"].split("/")[0] for d in documents if d not in ours}
    assert theirs == {"cert-manager.io", "kueue.x-k8s.io", "monitoring.coreos.com"}


def test_the_server_takes_every_object_of_the_base(control_plane):
    """Twice, and its controllers find nothing wrong: every Deployment gets its Pods.

    What the release is too old for (probes over gRPC, budgets) is left out there.
    """
    overlay = K8S / "overlays" / "local"
    for _ in range(2):
        apply(control_plane, known_to(control_plane.version, rendered(overlay)))
    path = "/apis/apps/v1/namespaces/mien"

    def have_pods():
        found = [
            d
            for kind in ("deployments", "statefulsets")
            for d in control_plane.rest.get(f"{path}/{kind}")["items"]
        ]
        return len(found) >= 7 and all(
            d["status"].get("replicas", 0) >= d["spec"]["replicas"] for d in found
        )

    until(have_pods)
    wrong = [
        c["message"]
        for d in control_plane.rest.get(f"{path}/deployments")["items"]
        for c in d["status"].get("conditions", ())
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]
    assert wrong == []
    assert len(control_plane.pods("mien")) >= 7


def test_kubectl_applies_the_overlay(control_plane):
    """As the page says, with probes and budgets: `kubectl apply --server-side -k`."""
    control_plane.needs("PodSecurity", "grpcProbes")
    overlay = K8S / "overlays" / "local"
    rendered(overlay)
    for _ in range(2):
        done = subprocess.run(
            [
                "kubectl",
                f"--kubeconfig={control_plane.kubeconfig}",
                "apply",
                "--server-side",
                "--force-conflicts",
                "-k",
                str(overlay),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "serverside-applied" in done.stdout
