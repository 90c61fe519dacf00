"""Killed at any moment: no half version, and the same version in the end."""

from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import psutil

from mien.core.shards import MARKER
from tests.integration.generation.conftest import ended, plan, versions

KILLS = int(os.environ.get("KILLS", "4"))
SEED = int(os.environ.get("KILL_SEED", "20"))


def disturbed(service, name, rng, kills, most):
    """Kill service or worker at drawn moments until a job has ended, or often enough."""
    while sum(kills.values()) < most:
        time.sleep(rng.uniform(0.0, 2.0))
        if service.jobs.get(name).over:
            break
        workers = service.workers()
        if workers and kills["worker"] <= kills["service"]:
            kills["worker"] += 1
            with contextlib.suppress(psutil.NoSuchProcess):
                workers[int(rng.integers(len(workers)))].kill()
            continue
        kills["service"] += 1
        service.kill()
        versions(service)  # verified: none is half there
        service.start()
    return ended(service, name)


def test_killed_at_any_moment(service):
    """Service or worker, at drawn moments: the version of a job that nobody disturbed.

    ``KILLS`` is how often: 4 with the fast tests, 50 in ``make soak``; ``KILL_SEED`` chooses other
    moments.
    """
    rng = np.random.default_rng(SEED)
    kills = {"service": 0, "worker": 0}
    rounds = 0
    while sum(kills.values()) < KILLS:
        most = min(KILLS, sum(kills.values()) + 8)  # a worker is tried again three times only
        asked, slow = (plan(40, seed=rounds, face_s=s) for s in (0.0, 0.05))
        calm = service.jobs.create(asked, f"calm-{rounds}", shard_identities=8).name
        assert ended(service, calm).state == "SUCCEEDED"
        name = service.jobs.create(slow, f"killed-{rounds}", shard_identities=4).name
        job = disturbed(service, name, rng, kills, most)
        assert job.state == "SUCCEEDED", job.failure
        found = versions(service)
        assert found[f"killed-{rounds}"] == found[f"calm-{rounds}"], f"seed {SEED}"
        assert list((service.data / "generation" / "jobs").iterdir()) == []
        rounds += 1
    assert min(kills.values()) > 0, kills


def made_at(shards):
    """Return when each finished shard was finished."""
    found = {}
    for marker in shards.glob(f"[0-9]*/{MARKER}"):
        with contextlib.suppress(FileNotFoundError):
            found[marker.parent.name] = marker.stat().st_mtime_ns
    return found


def test_stopped_and_cancelled_it_keeps_its_shards(service):
    """SIGTERM: exit code 0, the job queues again. Cancelled: it goes on when asked for again."""
    asked = plan(16, face_s=0.1)
    name = service.jobs.create(asked, "stopped", shard_identities=2, request_id="one").name
    shards = service.data / "generation" / "jobs" / name / "shards"
    for job in service.jobs.watch(name):
        if job.done >= 4:
            break
    assert service.stop() == 0
    stopped = made_at(shards)
    assert 0 < len(stopped) < 8
    service.start()
    service.jobs.cancel(name)
    assert ended(service, name).state == "CANCELLED"
    kept = made_at(shards)
    assert stopped.items() <= kept.items()
    assert versions(service) == {}
    again = service.jobs.create(asked, "stopped", shard_identities=2, request_id="two")
    assert again.name == name
    for job in service.jobs.watch(name):
        now = made_at(shards)  # at the end they are cleared away, one by one
        assert all(now.get(shard, made) == made for shard, made in kept.items())
        last = job
    assert last.state == "SUCCEEDED", last.failure
    assert last.tries >= 2
    assert versions(service) == {"stopped": last.result["version"]["digest"]}
