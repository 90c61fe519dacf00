"""Killed at any moment: no half version, and the same version in the end."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import psutil
import pytest

from tests.integration.generation.conftest import ended, plan, versions

LONGEST_S = 300


def disturbed(service, kills, seed):
    """Kill service or worker at drawn moments until a job has ended; count the kills."""
    rng = np.random.default_rng(seed)
    name = service.jobs.create(plan(40, face_s=0.05), "killed", shard_identities=4).name
    done = {"service": 0, "worker": 0}
    until = time.monotonic() + LONGEST_S
    while sum(done.values()) < kills and time.monotonic() < until:
        time.sleep(rng.uniform(0.0, 2.0))
        if service.jobs.get(name).over:
            break
        workers = service.workers()
        if workers and done["worker"] <= done["service"]:
            done["worker"] += 1
            with contextlib.suppress(psutil.NoSuchProcess):
                workers[int(rng.integers(len(workers)))].kill()
            continue
        done["service"] += 1
        service.kill()
        assert set(versions(service)) <= {"calm", "killed"}
        service.start()
    return ended(service, name), done


def hold_against_an_undisturbed_job(service, kills, seed):
    """Both give the same version, and leave nothing else behind."""
    calm = ended(service, service.jobs.create(plan(40), "calm", shard_identities=8).name)
    job, done = disturbed(service, kills, seed)
    assert job.state == "SUCCEEDED", job.failure
    assert min(done.values()) > 0, done
    found = versions(service)
    assert found["killed"] == found["calm"] == calm.result["version"]["digest"]
    assert list((service.data / "generation" / "jobs").iterdir()) == []


def test_killed_at_any_moment(service):
    """Service or worker, at drawn moments: as if nothing had happened."""
    hold_against_an_undisturbed_job(service, 4, 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(service, seed):
    """The same with many kills."""
    hold_against_an_undisturbed_job(service, 20, seed)


def test_stopped_and_cancelled_it_keeps_its_shards(service):
    """SIGTERM: exit code 0, the job queues again. Cancelled: it goes on when asked for again."""
    asked = plan(16, face_s=0.1)
    name = service.jobs.create(asked, "stopped", shard_identities=2, request_id="one").name
    shards = service.data / "generation" / "jobs" / name / "shards"
    for job in service.jobs.watch(name):
        if job.done >= 4:
            break
    assert service.stop() == 0
    stopped = {p.name: p.stat().st_mtime_ns for p in shards.glob("[0-9]*")}
    assert 0 < len(stopped) < 8
    service.start()
    service.jobs.cancel(name)
    assert ended(service, name).state == "CANCELLED"
    kept = {p.name: p.stat().st_mtime_ns for p in shards.glob("[0-9]*")}
    assert stopped.items() <= kept.items()
    assert versions(service) == {}
    again = service.jobs.create(asked, "stopped", shard_identities=2, request_id="two")
    assert again.name == name
    for job in service.jobs.watch(name):
        now = {p.name: p.stat().st_mtime_ns for p in shards.glob("[0-9]*")}
        assert job.state == "SUCCEEDED" or not now or kept.items() <= now.items()
    assert job.state == "SUCCEEDED", job.failure
    assert job.tries >= 2
    assert versions(service) == {"stopped": job.result["version"]["digest"]}
