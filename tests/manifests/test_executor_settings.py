"""The services that submit Jobs are told what the code reads; their Pods find what they name."""

import re
from pathlib import Path

import pytest
import yaml

from mien.adapters.kubernetes.jobs import render_job
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.tasks import Task
from mien.settings import Settings
from services.chassis.settings import PORTS, ServerSettings
from tests.manifests.conftest import K8S, containers

SUBMIT = ("training", "generation")
TASK = Task("k", ("trial", "s3://mien/work/plan.json"), "s3://mien/work/result.json")


def environment(everything, name):
    """What a service's container is told: its own variables, and those of its ConfigMaps."""
    (container,) = [c for w, c in containers(everything) if w["metadata"]["name"] == name]
    maps = {d["metadata"]["name"]: d["data"] for d in everything if d["kind"] == "ConfigMap"}
    told = {}
    for source in container.get("envFrom", ()):
        told |= maps[source["configMapRef"]["name"]]
    return told | {e["name"]: e.get("value", "") for e in container.get("env", ())}


@pytest.mark.parametrize("service", SUBMIT)
def test_settings_are_read_as_they_are_meant(everything, service, monkeypatch):
    """The executor is the cluster, its profile a mounted file, its store the same for all."""
    told = environment(everything, service)
    for name in list(told):
        monkeypatch.setenv(name, told[name])
    monkeypatch.delenv("MIEN_SECRETS_DIR", raising=False)
    settings, server = Settings(), ServerSettings()
    assert settings.executor == "kubernetes"
    assert settings.kubernetes == Path("/etc/mien/cluster.yaml")
    assert settings.work_url.startswith("s3://")
    assert "@sha256:" in settings.kubernetes_image
    if service == "training":
        assert settings.work_url in server.work_urls, "plans that others carried are taken"


def test_all_who_carry_work_mean_one_place(everything):
    """What one service puts into the store, the other's workers find."""
    places = {environment(everything, service)["MIEN_WORK_URL"] for service in SUBMIT}
    assert len(places) == 1


def test_every_variable_is_one_that_the_code_reads(everything):
    """In every ConfigMap and service: a misspelt one would be ignored in silence."""
    known = {f"MIEN_{n.upper()}" for n in Settings.model_fields}
    known |= {f"MIEN_SERVER_{n.upper()}" for n in ServerSettings.model_fields}
    known |= {"MIEN_SECRETS_DIR"}
    given = {k for d in everything if d["kind"] == "ConfigMap" for k in d["data"]}
    ours = [c for w, c in containers(everything) if w["metadata"]["name"] in PORTS]
    given |= {e["name"] for c in ours for e in c.get("env", ())}
    assert {name for name in given if name.startswith("MIEN_")} <= known


def profiles(everything):
    """The profiles that are mounted, by the name of their ConfigMap."""
    return {
        d["metadata"]["name"]: KubernetesProfile.model_validate(
            yaml.safe_load(d["data"]["cluster.yaml"])
        )
        for d in everything
        if d["kind"] == "ConfigMap" and "cluster.yaml" in d["data"]
    }


def test_jobs_name_only_what_is_there(everything):
    """ConfigMaps under that very name, not one with a suffix; a ServiceAccount that exists."""
    names = {(d["kind"], d["metadata"]["name"]) for d in everything}
    found = profiles(everything)
    assert found
    for profile in found.values():
        assert {("ConfigMap", n) for n in profile.config_maps} <= names
        assert ("ServiceAccount", profile.service_account) in names


def test_jobs_keep_to_the_restricted_standard(everything):
    """Pod Security would admit them: no root, no privilege, no token, a read-only disk."""
    for profile in profiles(everything).values():
        pod = render_job([TASK], profile)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_workers_write_only_where_they_may(everything):
    """Every folder that their environment names lies on a volume of theirs."""
    maps = {d["metadata"]["name"]: d["data"] for d in everything if d["kind"] == "ConfigMap"}
    for profile in profiles(everything).values():
        pod = render_job([TASK], profile)["spec"]["template"]["spec"]
        mounts = [m["mountPath"] for m in pod["containers"][0]["volumeMounts"]]
        told = {k: v for name in profile.config_maps for k, v in maps[name].items()}
        for name in ("MIEN_CACHE", "HOME", "AWS_SHARED_CREDENTIALS_FILE"):
            assert any(told[name] == m or told[name].startswith(f"{m}/") for m in mounts), name


def test_workers_are_told_of_no_service(everything):
    """A worker does its work itself; it never asks the service that started it."""
    maps = {d["metadata"]["name"]: d["data"] for d in everything if d["kind"] == "ConfigMap"}
    for profile in profiles(everything).values():
        for name in profile.config_maps:
            assert not [k for k in maps[name] if re.fullmatch(r"MIEN_\w+_TARGET", k)]
            assert "MIEN_EXECUTOR" not in maps[name]


def test_the_gpu_profile_says_the_same():
    """Another profile, the same names of secrets and settings."""
    base, gpu = (
        KubernetesProfile.model_validate(yaml.safe_load((K8S / place / "cluster.yaml").read_text()))
        for place in ("base", "components/gpu")
    )
    assert (base.secrets, base.config_maps) == (gpu.secrets, gpu.config_maps)
    assert gpu.shape("train-generator").gpus > 1
