"""The training service with the real worker: the same bytes, however often it is disturbed."""

import contextlib
import json
import os
import random
import time

import pytest

from mien.core.digest import digest_file
from mien.core.errors import Unavailable
from mien.core.jobs import SweepWork, TrialWork
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.training_client import TrainingClient
from tests.integration.training.processes import Service, until, workers_of

KIMG = 2.0  # seconds of a quiet core: long enough to be caught in the middle


@pytest.fixture
def prepared(project, monkeypatch):
    """A project whose faces are prepared; in process, its sweep uses workers of one thread."""
    monkeypatch.setenv("MIEN_EXECUTOR", "persistent")
    steps = {"kimg": KIMG, "batch": 8, "evaluations": 2}
    sweep = {"steps": steps, "seeds": 1, "protocols": ["steps"], "ratios": [1]}
    return project.params(sweep=sweep).until("ingest", "split", "preprocess")


@pytest.fixture
def service(prepared, tmp_path):
    """The service as a process, with a cache of its own."""
    service = Service(tmp_path / "service", real=True, root=prepared.root)
    service.start()
    yield service
    service.stop()
    until(lambda: not workers_of(service.home))


@pytest.fixture
def client(service):
    channel = open_channel(service.address, Settings())
    yield TrainingClient(channel)
    channel.close()


def results(root):
    """Digest and trials that a sweep leaves; seconds are those of the clock."""
    trials = json.loads((root / "data/sweep/trials.json").read_text())
    for trial in trials:
        del trial["train_s"], trial["wall_s"]
    return digest_file(root / "data/sweep/predictions.parquet"), trials


def running_trial(client, sweep, past):
    """Wait for a trial of a sweep that has come so far, and return it."""

    def far():
        with contextlib.suppress(Unavailable):  # it has just been killed
            return trials()
        return []

    def trials():
        return [
            t
            for t in client.jobs(parent=sweep.name).jobs
            if t.state == "RUNNING" and past < t.done < 0.75 * KIMG
        ]

    found = []
    until(lambda: found.extend(far()) or found, 120.0)
    return found[0]


def test_a_sweep_gives_what_it_gives_in_process(prepared, service, client):
    """Killed in the middle, then cancelled and asked for again: the same to the byte."""
    expected = results(prepared.until("sweep").root)
    (prepared.root / "data/sweep/predictions.parquet").unlink()
    asked = SweepWork(str(prepared.root))
    job = client.create(asked)
    killed = running_trial(client, job, 0.02)
    service.stop()
    service.start()
    cancelled = running_trial(client, job, killed.done)
    client.cancel(job.name)
    until(lambda: client.get(job.name).over and client.get(cancelled.name).over)
    assert client.get(cancelled.name).state == "CANCELLED"
    trial = service.home / "cache/trials" / cancelled.spec["key"]
    assert (trial / "checkpoint").is_dir()
    last = list(client.watch(client.create(asked).name))[-1]
    assert last.state == "SUCCEEDED", last.failure
    assert client.get(cancelled.name).tries > 1
    assert results(prepared.root) == expected


@pytest.mark.slow
def test_twenty_cancels_of_the_real_worker(prepared, service, client):
    """Cancelled at random moments and asked for again: each time it stops, and the end is one."""
    moments = random.Random(20)
    prepared.until("sweep")
    plan = next(prepared.cache.glob("trials/*/plan.json"))
    expected = digest_file(plan.parent / "predictions.npz")
    asked = prepared.root / "trial"
    asked.mkdir()
    for file in ("plan.json", "rows.npz"):
        os.link(plan.parent / file, asked / file)
    work = TrialWork(str(asked / "plan.json"))
    for _ in range(20):
        job = client.create(work)
        time.sleep(moments.random() * 4.0)
        client.cancel(job.name)
        until(lambda job=job: client.get(job.name).over, 120.0)
        assert client.get(job.name).state in ("CANCELLED", "SUCCEEDED")
    last = list(client.watch(client.create(work).name))[-1]
    assert last.state == "SUCCEEDED", last.failure
    assert digest_file(asked / "predictions.npz") == expected
    assert not (asked / "checkpoint").exists()
