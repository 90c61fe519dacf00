"""What must hold of every manifest, whatever the overlay."""

import ast
import os
import re
from pathlib import Path

import pytest
import yaml

from mien.adapters.serving.store import ModelStore
from mien.adapters.triton.repository import HostSpec, model_config
from mien.adapters.triton.rollout import MODELS
from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.recognition.package import PackageSpec
from mien.settings import SECRETS_DIR, Settings, load_settings, unknown_variables
from services.chassis.readiness import LIVENESS
from services.chassis.settings import PORTS, ServerSettings
from services.chassis.settings import load_settings as load_server_settings
from tests.manifests.conftest import (
    COMPONENTS,
    K8S,
    TESTED,
    combination,
    containers,
    kustomize,
    workloads,
)

SRC = K8S.parent / "src" / "mien"
ENTRY = K8S.parent / "mlflow" / "entrypoint.sh"
CORE_GROUPS = ("", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io")


def ours(key):
    return key.startswith("MIEN_")


def name(document):
    return f"{document['kind']}/{document['metadata']['name']}"


@pytest.mark.parametrize("overlay", sorted(p.name for p in (K8S / "overlays").iterdir()))
def test_every_overlay_renders(overlay):
    """Each overlay is whole, and no two objects share a name."""
    documents = kustomize(K8S / "overlays" / overlay)
    names = [name(d) for d in documents]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("components", TESTED, ids="+".join)
def test_every_combination_renders(components, tmp_path):
    """Components do not depend on one another: none, each, each pair, and all."""
    assert workloads(combination(tmp_path, components))


def test_the_base_needs_no_custom_resources():
    """It applies on a bare cluster: only groups that every API server has."""
    groups = {d["apiVersion"].rpartition("/")[0] for d in kustomize(K8S / "base")}
    assert groups <= set(CORE_GROUPS)


def test_pods_are_restricted(everything):
    """Pod Security `restricted`, a read-only root, no token unless the code asks the API server."""
    for workload in workloads(everything):
        pod = workload["spec"]["template"]["spec"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name(workload)
        assert context["seccompProfile"]["type"] == "RuntimeDefault", name(workload)
        asks = workload["metadata"]["name"] in ("training", "generation", "serving")
        assert pod["automountServiceAccountToken"] is asks, name(workload)
    for workload, container in containers(everything):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"], name(workload)
        assert context["allowPrivilegeEscalation"] is False, name(workload)
        assert context["capabilities"]["drop"] == ["ALL"], name(workload)


def test_images_come_by_digest(everything):
    """Nothing runs by tag alone, the workers' image included."""
    for workload, container in containers(everything):
        assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), name(workload)
    handed = {
        e["value"]
        for _, c in containers(everything)
        for e in c.get("env", ())
        if e["name"] == "MIEN_KUBERNETES_IMAGE"
    }
    services = {c["image"] for w, c in containers(everything) if c["name"] == "training"}
    assert handed == services


def test_every_container_says_what_it_needs(everything):
    """Requests and limits of processor and memory, and all three probes."""
    for workload, container in containers(everything):
        for side in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][side]), name(workload)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe in container, name(workload)


def test_probes_ask_for_services_that_exist(everything):
    """Native gRPC probes name a service of the proto, or what the chassis answers for itself."""
    known = {None, LIVENESS}
    for file in (K8S.parent / "proto").rglob("*.proto"):
        text = file.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.M)[1]
        known |= {f"{package}.{s}" for s in re.findall(r"^service (\w+)", text, re.M)}
    asked = {
        container[probe]["grpc"].get("service")
        for _, container in containers(everything)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if "grpc" in container[probe]
    }
    assert asked <= known
    assert LIVENESS in asked


def test_workloads_survive_a_drained_node(everything):
    """A disruption budget and a spread for each; more time to end than the drain takes."""
    budgets = {
        d["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
        for d in everything
        if d["kind"] == "PodDisruptionBudget"
    }
    settings = next(
        d for d in everything if d["kind"] == "ConfigMap" and "MIEN_SERVER_GRACE_S" in d["data"]
    )
    drain_s = float(settings["data"]["MIEN_SERVER_GRACE_S"])
    for workload in workloads(everything):
        pod = workload["spec"]["template"]["spec"]
        assert workload["metadata"]["name"] in budgets
        assert pod["topologySpreadConstraints"], name(workload)
        if workload["metadata"]["name"] in PORTS:
            assert pod["terminationGracePeriodSeconds"] > drain_s, name(workload)


def test_triton_has_time_for_the_calls_that_it_has_taken(everything):
    """Its own patience ends before the kubelet's."""
    workload, container = next(
        (w, c) for w, c in containers(everything) if w["metadata"]["name"] == "triton"
    )
    (said,) = [a for a in container["args"] if a.startswith("--exit-timeout-secs=")]
    grace_s = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > int(said.partition("=")[2])


def test_the_namespace_enforces_what_pods_promise(everything):
    """Pod Security `restricted` is the cluster's law, not our intention."""
    (namespace,) = [d for d in everything if d["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_gpus_are_asked_for_where_the_code_uses_them(everything):
    """Workers' Jobs; what Triton serves is configured for processors."""
    config = model_config(tiny(), "expression-1", "", HostSpec(backend="onnxruntime"))
    assert "KIND_CPU" in config
    for workload, container in containers(everything):
        assert not any("gpu" in key for key in container["resources"]["limits"]), name(workload)


def tiny():
    """A model's description."""
    spec = PreprocessSpec(size_px=64)
    return PackageSpec(EKMAN_SIX, affect=False, preprocess=spec, temperature=1.0)


def test_tracking_is_in_postgresql_and_its_artefacts_in_s3(everything):
    """Neither in the Pod: the address of the one is a secret, of the other a bucket."""
    told = environment(everything, "mlflow")
    assert told["MIEN_MLFLOW_ARTIFACTS"].startswith("s3://")
    workload = next(w for w in workloads(everything) if w["metadata"]["name"] == "mlflow")
    (secrets,) = [v for v in workload["spec"]["template"]["spec"]["volumes"] if "secret" in v]
    (mount,) = [
        m
        for m in workload["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if m["name"] == secrets["name"]
    ]
    keys = {i["path"] for i in secrets["secret"]["items"]}
    for variable in ("MIEN_MLFLOW_BACKEND_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        folder, _, file = told[variable].rpartition("/")
        assert (folder, file in keys) == (mount["mountPath"], True)


@pytest.mark.parametrize("workload", ["serving", "triton", "mlflow", "postgres"])
def test_who_needs_one_secret_sees_no_other(everything, workload):
    """Keys of the Secret are named one by one."""
    found = next(w for w in workloads(everything) if w["metadata"]["name"] == workload)
    for volume in found["spec"]["template"]["spec"]["volumes"]:
        if "secret" in volume and volume["secret"]["secretName"] == "mien":
            assert volume["secret"]["items"], volume


def test_clients_can_spread_their_calls(everything):
    """Services of gRPC are headless: behind a virtual address one connection meets one replica."""
    for document in everything:
        if document["kind"] == "Service" and any(
            p.get("appProtocol") == "grpc" for p in document["spec"]["ports"]
        ):
            assert document["spec"]["clusterIP"] == "None", name(document)


def test_ports_are_those_of_the_code(everything):
    """One number a service, in code and manifests."""
    for workload, container in containers(everything):
        if (port := PORTS.get(workload["metadata"]["name"])) is not None:
            ports = {p["name"]: p["containerPort"] for p in container["ports"]}
            assert ports == {"grpc": port, "metrics": port + 100}


def environment(documents, workload):
    """All that a workload's container is told: its own variables, and those of ConfigMaps."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    found = {}
    for owner, container in containers(documents):
        if owner["metadata"]["name"] == workload:
            for source in container.get("envFrom", ()):
                found |= maps[source["configMapRef"]["name"]]
            found |= {e["name"]: e["value"] for e in container.get("env", ())}
    return found


def test_servers_are_told_only_what_they_read(everything):
    """Every MIEN_ variable in the manifests is one that something reads."""
    known = {f"MIEN_SERVER_{n.upper()}" for n in ServerSettings.model_fields}
    known |= {f"MIEN_{n.upper()}" for n in Settings.model_fields}
    known |= {SECRETS_DIR, MODELS}  # of the chassis; of Triton's arguments and promotion
    known |= set(re.findall(r"MIEN_MLFLOW_\w+", ENTRY.read_text()))
    given = {key for d in everything if d["kind"] == "ConfigMap" for key in d["data"] if ours(key)}
    given |= {e["name"] for _, c in containers(everything) for e in c.get("env", ())}
    assert {g for g in given if ours(g)} <= known


@pytest.mark.parametrize("service", sorted(PORTS))
def test_services_start_with_what_they_are_told(everything, service, monkeypatch, tmp_path):
    """The settings take the very values of the manifests."""
    for key in [k for k in os.environ if ours(k)]:
        monkeypatch.delenv(key)
    for key, value in environment(everything, service).items():
        monkeypatch.setenv(key, value)
    assert load_settings(tmp_path).tracking_uri == "http://mlflow:5000"
    assert unknown_variables() == {}
    assert load_server_settings().address == f"0.0.0.0:{PORTS[service]}"


def test_promotion_and_triton_mean_the_same_place(everything):
    """The service calls the replicas at their own port; what they serve only promotion says.

    Were it in the manifest, applying that again would take the champion away.
    """
    told = environment(everything, "serving")
    triton = next(c for w, c in containers(everything) if w["metadata"]["name"] == "triton")
    assert f"--model-repository=$({MODELS})" in triton["args"]
    assert "--model-control-mode=none" in triton["args"]
    assert MODELS not in environment(everything, "triton")
    assert ModelStore(told["MIEN_TRITON_MODELS"]).url.startswith("s3://")
    port = next(p["containerPort"] for p in triton["ports"] if p["name"] == "grpc")
    assert told["MIEN_TRITON"] == f"dns:///triton:{port}"


def test_a_rollout_takes_nobody_away_before_another_is_there(everything):
    """Deployments surge: at no moment are there fewer replicas than asked for."""
    for workload in workloads(everything):
        if workload["kind"] == "Deployment":
            strategy = workload["spec"]["strategy"]["rollingUpdate"]
            assert strategy == {"maxUnavailable": 0, "maxSurge": 1}, name(workload)


JOBS, ROLLOUT = "Role/mien-jobs", "Role/mien-rollout"
ASKS = {JOBS: "kubernetes/*.py", ROLLOUT: "triton/rollout.py"}
CALLS = {
    "create_namespaced_job": {("jobs", "create")},
    "read_namespaced_job": {("jobs", "get")},
    "delete_namespaced_job": {("jobs", "delete")},
    "list_namespaced_job": {("jobs", "list"), ("jobs", "watch")},
    "list_namespaced_pod": {("pods", "list")},
    "read_namespaced_pod_log": {("pods/log", "get")},
    "list_namespaced_event": {("events", "list")},
    "read_namespaced_deployment": {("deployments", "get")},
    "patch_namespaced_deployment": {("deployments", "patch")},
}


@pytest.mark.parametrize("role", ASKS)
def test_nobody_may_more_than_the_code_asks(everything, role):
    """Each role has exactly the verbs of the calls in the code that it is for."""
    rules = next(d for d in everything if name(d) == role)["rules"]
    granted = {(r, v) for rule in rules for r in rule["resources"] for v in rule["verbs"]}
    assert granted == called(ASKS[role])


def test_there_are_no_other_roles(everything):
    """Nothing for the whole cluster, and nobody has a role whose code does not call."""
    kinds = {d["kind"] for d in everything}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    assert {name(d) for d in everything if d["kind"] == "Role"} == set(ASKS)
    bound = {
        d["roleRef"]["name"]: {s["name"] for s in d["subjects"]}
        for d in everything
        if d["kind"] == "RoleBinding"
    }
    assert bound == {"mien-jobs": {"training", "generation"}, "mien-rollout": {"serving"}}


def test_promotion_may_touch_the_deployment_it_rolls_over_and_no_other(everything):
    """Its name is in the role, and is the one that the service is told."""
    (rule,) = next(d for d in everything if name(d) == ROLLOUT)["rules"]
    told = environment(everything, "serving")["MIEN_TRITON_ROLLOUT"]
    assert [told] == [f"mien/{each}" for each in rule["resourceNames"]]
    assert f"Deployment/{told.partition('/')[2]}" in {name(d) for d in everything}


def called(files):
    """(resource, verb) of every namespaced call that some adapters make."""
    found = set()
    for file in (SRC / "adapters").glob(files):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and "_namespaced_" in node.attr:
                found |= CALLS[node.attr]
    return found


def test_everything_is_denied_first(everything):
    """Default-deny both ways, and a policy for every service."""
    policies = {
        d["metadata"]["name"]: d["spec"] for d in everything if d["kind"] == "NetworkPolicy"
    }
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allowed = str(policies)
    for workload in workloads(everything):
        assert workload["metadata"]["name"] in allowed


def test_everybody_reaches_whom_they_are_told_of(everything):
    """Each address that a container is given is allowed by the policies of both ends."""
    policies = [d["spec"] for d in everything if d["kind"] == "NetworkPolicy"]
    labels = {
        w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"]
        for w in workloads(everything)
    }
    labels["worker"] = {"app.kubernetes.io/managed-by": "mien"}
    # The tracker's address is in the map of all services; these are who reads it.
    asked = {("serving", "mlflow", "5000"), ("worker", "mlflow", "5000")}
    for client, container in containers(everything):
        for each in container.get("env", ()):
            found = re.findall(r"//(\w+):(\d+)$", each["value"])
            asked |= {(client["metadata"]["name"], *target) for target in found}
    assert {("serving", "triton", "8001"), ("generation", "registry", "7101")} <= asked
    for client, server, port in asked:
        out = allowed(policies, "egress", labels[client], labels[server], int(port))
        into = allowed(policies, "ingress", labels[server], labels[client], int(port))
        assert out, f"{client} may not call {server}:{port}"
        assert into, f"{server}:{port} takes no calls from {client}"
    assert not allowed(policies, "egress", labels["triton"], labels["postgres"], 5432)
    assert not allowed(policies, "ingress", labels["postgres"], labels["serving"], 5432)


def allowed(policies, way, mine, theirs, port):
    """Whether a Pod's policies let it call (egress) or be called (ingress) inside the namespace."""
    peers = "to" if way == "egress" else "from"
    return any(
        selected(policy["podSelector"], mine)
        and any(p["port"] == port for p in rule.get("ports", ()))
        and any(
            selected(peer["podSelector"], theirs) for peer in rule[peers] if "podSelector" in peer
        )
        for policy in policies
        for rule in policy.get(way, ())
        if peers in rule
    )


def selected(selector, labels):
    """Whether a label selector means a Pod."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", ()):
        found = labels.get(each["key"]) in each["values"]
        if found is not (each["operator"] == "In"):
            return False
    return True


def test_no_secret_is_written_down():
    """Secrets come from outside; no manifest holds one."""
    for file in K8S.rglob("*.yaml"):
        documents = yaml.safe_load_all(file.read_text())
        assert all(d["kind"] != "Secret" for d in documents if isinstance(d, dict) and "kind" in d)


def test_the_profiles_of_workers_are_right():
    """What the manifests hand to the executor is what it reads."""
    from mien.adapters.kubernetes.profile import load_profile

    for file in sorted(K8S.rglob("cluster.yaml")):
        assert load_profile(Path(file)).namespace == "mien"


def test_components_are_known():
    """A new component is tested with the others."""
    assert {"gpu", "kueue", "tls", "network-policies", "monitoring"} == set(COMPONENTS)
