"""Generation jobs around their commit, with the real book, registry and shards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mien.adapters.executors.local import InlineExecutor
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.generation import LocalGenerationJobs
from mien.cli.main import run as mien
from mien.core.errors import Exhausted, Interrupted, Unavailable
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.generators.local import LocalGeneration
from mien.registry.folder_registry import FolderRegistry

TWO = (Expression.ANGER, Expression.NEUTRAL)
PLAN = FacePlan("affect", TWO, 3, {"size_px": 32}, pool="p")


class Doomed:
    """A folder registry whose owner is stopped right after, or before, the first commits."""

    def __init__(self, root, before: Sequence[Exception] = (), after: Sequence[Exception] = ()):
        self.real = FolderRegistry(root)
        self.before, self.after = list(before), list(after)
        self.commits = 0

    def create(self, name, items, **more):
        if self.before:
            next(iter(items))
            raise self.before.pop(0)
        self.commits += 1
        info = self.real.create(name, items, **more)
        if self.after:
            raise self.after.pop(0)
        return info


@pytest.fixture
def make(tmp_path):
    """Build jobs around a registry; stopped in the end."""
    built = []

    def jobs(registry, call=mien):
        book = JobBook(f"sqlite:///{tmp_path / 'jobs.db'}")
        executor = InlineExecutor(call, tmp_path / "logs", retries=1)
        made = LocalGenerationJobs(
            book, LocalGeneration(), executor, lambda: registry, tmp_path / "work"
        )
        built.append(made)
        return made.start()

    yield jobs
    for each in built:
        each.drain(10)
        each.book.close()


def ended(jobs, name):
    *_, last = jobs.watch(name)
    return last


def test_stopped_between_the_commit_and_its_end(make, tmp_path):
    """It commits again, to the same version: nothing is there twice."""
    registry = Doomed(tmp_path / "r", after=[Interrupted("stopped"), Interrupted("again")])
    jobs = make(registry)
    job = ended(jobs, jobs.create(PLAN, "one", shard_identities=2).name)
    assert job.state == "SUCCEEDED", job.failure
    assert (job.tries, registry.commits) == (3, 3)
    (info,) = registry.real.versions()
    assert info.to_json() == job.result["version"]
    assert list((tmp_path / "work").iterdir()) == []


def test_stopped_within_the_commit(make, tmp_path):
    """Its shards are kept, and there is no version yet."""
    registry = Doomed(tmp_path / "r", before=[Interrupted("stopped")])
    jobs = make(registry)
    job = ended(jobs, jobs.create(PLAN, "one", shard_identities=2).name)
    assert job.state == "SUCCEEDED"
    assert (job.tries, registry.commits) == (2, 1)


def test_a_registry_that_is_away_is_waited_for(make, tmp_path):
    """The job does not fail because another service starts again."""
    away = Unavailable("REGISTRY_UNAVAILABLE", "the registry does not answer")
    registry = Doomed(tmp_path / "r", before=[away], after=[away])
    jobs = make(registry)
    job = ended(jobs, jobs.create(PLAN, "one", shard_identities=2).name)
    assert job.state == "SUCCEEDED", job.failure
    assert (job.tries, registry.commits) == (1, 2)
    assert len(registry.real.versions()) == 1


def test_a_full_disk_fails_the_job_and_its_shards_are_kept(make, tmp_path):
    """Asked for again it only commits."""
    registry = Doomed(tmp_path / "r", before=[Exhausted("DISK_FULL", "no space is left")])
    jobs = make(registry)
    name = jobs.create(PLAN, "one", shard_identities=2).name
    job = ended(jobs, name)
    assert (job.state, job.failure.kind, job.failure.reason) == ("FAILED", "Exhausted", "DISK_FULL")
    kept = sorted(p.name for p in (tmp_path / "work" / name / "shards").glob("[0-9]*"))
    assert kept == ["000000", "000001"]
    assert jobs.create(PLAN, "one", shard_identities=2, request_id="again").name == name
    assert ended(jobs, name).state == "SUCCEEDED"


def test_a_damaged_shard_is_made_again(make, tmp_path):
    """What a disk did to it does not reach the version."""
    whole = Doomed(tmp_path / "whole")
    calm = make(whole)
    digest = ended(calm, calm.create(PLAN, "one", shard_identities=1).name).result["version"]
    calm.drain(10)
    made = []

    def damaging(argv):
        code = mien(argv)
        index = argv[2]
        if index == "1" and "1" not in made:
            (file,) = tmp_path.glob("work/*/shards/000001/shards/*.parquet")
            data = bytearray(file.read_bytes())
            data[len(data) // 3] ^= 1
            file.write_bytes(data)
        made.append(index)
        return code

    jobs = make(Doomed(tmp_path / "again"), damaging)
    job = ended(jobs, jobs.create(PLAN, "two", shard_identities=1).name)
    assert job.state == "SUCCEEDED", job.failure
    assert sorted(made) == ["0", "1", "1", "2"]
    assert job.result["version"]["digest"] == digest["digest"]


def test_a_generator_that_changed_since_it_was_asked_for(make, tmp_path):
    """The job fails rather than mix the faces of two."""
    jobs = make(Doomed(tmp_path / "r"))
    jobs.drain(10)
    job = jobs.create(PLAN, "one")
    spec = {**job.spec, "engine_digest": "0" * 64}
    other = jobs.book.create("generation", spec, name="generation-other")[0]
    again = make(Doomed(tmp_path / "r"))
    last = ended(again, other.name)
    assert (last.state, last.failure.reason) == ("FAILED", "OTHER_ENGINE_DIGEST")
