"""A generation service that freezes its versions in a registry service."""

from __future__ import annotations

from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationJobsClient
from mien.wire.registry_client import RegistryClient
from services.chassis.testing import running
from services.generation.mount import mount
from services.registry.mount import mount as mount_registry
from tests.integration.generation.conftest import ended_of, plan


def test_versions_lie_in_the_registry(plugins, tmp_path, monkeypatch):
    """Found there under their name, with where they came from; nothing is kept here."""
    monkeypatch.syspath_prepend(str(plugins))
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    data = tmp_path / "generation"
    with running("registry", mount_registry) as registry_target:
        monkeypatch.setenv("MIEN_REGISTRY_TARGET", registry_target)
        settings = load_settings(tmp_path)
        with (
            running("generation", mount, data=data) as target,
            open_channel(target, settings) as channel,
            open_channel(registry_target, settings) as other,
        ):
            jobs, registry = GenerationJobsClient(channel), RegistryClient(other)
            job = ended_of(jobs, jobs.create(plan(4), "elsewhere", shard_identities=2).name)
            assert job.state == "SUCCEEDED", job.failure
            info = registry.get("elsewhere")
            assert info.to_json() == job.result["version"]
            assert info.provenance.maker == "engine:quick"
            assert len(info.provenance.parents["generator"]) == 64
            assert len(list(registry.items("elsewhere"))) == 8
    assert not (data / "generation" / "registry").exists()
