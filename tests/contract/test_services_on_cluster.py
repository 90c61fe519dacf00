"""The services as they are mounted, told by the environment to use a cluster."""

import json
import sys
from contextlib import contextmanager
from functools import partial

import pytest
import yaml

from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.core.jobs import TrialWork
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationJobsClient
from mien.wire.training_client import TrainingClient
from services.chassis.testing import running
from services.generation.mount import mount as mount_generation
from services.training.mount import mount as mount_training
from tests.contract.kube_stand_in import StandIn
from tests.contract.test_training_contract import INSTANT


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Start a cluster and tell the environment about it, as k8s/base does."""
    started = []

    def tell(command, **settings):
        server = StandIn(tmp_path, command=command, slots=4)
        started.append(server)
        profile = {
            "namespace": "mien",
            "image": "mien-services",
            "kubeconfig": str(server.kubeconfig),
            "slots": 3,
            "grace_s": 10,
        }
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(profile))
        given = {"EXECUTOR": "kubernetes", "KUBERNETES": str(tmp_path / "cluster.yaml")}
        given |= {"CACHE": str(tmp_path / "cache"), **settings}
        for name, value in given.items():
            monkeypatch.setenv(f"MIEN_{name}", value)
        return server.cluster

    yield tell
    for each in started:
        each.close()


@contextmanager
def client(name, mount, made, **options):
    """Mount a service and call it over the wire."""
    with running(name, mount, **options) as target, open_channel(target, Settings()) as channel:
        yield made(channel)


def test_the_training_service_submits_its_trials(told, tmp_path):
    """A trial asked for over the wire is a Job; its metrics come back while it runs."""
    cluster = told(INSTANT)
    folder = tmp_path / "work" / "t"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"steps": 250, "step_s": 0.02}))
    mount = partial(mount_training, command=("no", "worker", "here"))
    roots = (tmp_path / "work",)
    with client("training", mount, TrainingClient, work_roots=roots) as training:
        job = training.create(TrialWork(str(folder / "plan.json")))
        seen = list(training.watch(job.name))
    assert seen[-1].state == "SUCCEEDED", seen[-1].failure
    assert any(0 < each.metrics.get("step", 0) < 250 for each in seen)
    assert cluster.created == 1


def test_the_generation_service_submits_its_shards(told, tmp_path):
    """A version asked for over the wire is one Indexed Job over its shards, in a common folder."""
    cluster = told((sys.executable, "-m", "mien"), WORK_URL=str(tmp_path / "store"))
    plan = FacePlan("affect", (Expression.FEAR,), 2, {"size_px": 32}, pool="p")
    with client("generation", mount_generation, GenerationJobsClient) as generation:
        name = generation.create(plan, "v", shard_identities=2).name
        *_, job = generation.watch(name)
    assert job.state == "SUCCEEDED", job.failure
    (made,) = cluster.jobs.values()
    assert (made["spec"]["completionMode"], made["spec"]["completions"]) == ("Indexed", 1)
    assert made["metadata"]["labels"]["app.kubernetes.io/component"] == "shard"
    environment = made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert not [e for e in environment if e["name"] == "MIEN_ASSETS"], "the profile says where"
