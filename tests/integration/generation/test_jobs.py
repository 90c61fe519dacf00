"""Generation as a service of its own process: jobs, streams, failures."""

from __future__ import annotations

import contextlib

import pytest

from mien.core.errors import AlreadyExists, Invalid, NotFound, Unavailable
from mien.registry.folder_registry import FolderRegistry
from tests.integration.generation.conftest import TWO, ended, plan, versions


def test_a_job_makes_one_balanced_version(calm):
    """Every identity in every expression, the rows those of a stream; the shards are gone."""
    job = ended(calm, calm.jobs.create(plan(), "undisturbed", shard_identities=5).name)
    assert job.state == "SUCCEEDED", job.failure
    assert (job.done, job.total, job.unit) == (24, 24, "faces")
    assert set(job.result["shards"]) == {"0", "1", "2"}
    assert versions(calm)["undisturbed"] == job.result["version"]["digest"]
    registry = FolderRegistry(calm.data / "generation" / "registry")
    made = {item.sample.id: item for item in registry.items("undisturbed")}
    streamed = {face.item.sample.id: face.item for face in calm.faces.stream_faces(plan())}
    assert made == streamed
    assert not list((calm.data / "generation" / "jobs").glob("*"))


def test_faces_that_are_all_alike_are_a_version_too(calm):
    """As the stage keeps them: whoever judges the pool will say what it is worth."""
    job = ended(calm, calm.jobs.create(plan(3, end="alike"), "alike").name)
    assert job.state == "SUCCEEDED", job.failure
    assert job.result["version"]["rows"] == 6


def test_asked_for_twice_it_is_done_once(calm):
    """By request or by what is asked; another question under a known request is refused."""
    first = calm.jobs.create(plan(2), "once", request_id="r")
    again = calm.jobs.create(plan(2), "once", request_id="r")
    same = calm.jobs.create(plan(2), "once")
    assert first.name == again.name == same.name
    with pytest.raises(AlreadyExists, match="REQUEST_ID_REUSED"):
        calm.jobs.create(plan(3), "once", request_id="r")
    assert first.name in [job.name for job in calm.jobs.jobs(page_size=1000).jobs]
    assert ended(calm, first.name).state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("wanted", "name", "more", "reason"),
    [
        (plan(2), "../up", {}, "VERSION_NAME"),
        (plan(2), "", {}, "VERSION_NAME"),
        (plan(2), "a" * 64, {}, "VERSION_NAME"),
        (plan(1_000_000), "many", {"shard_identities": 1}, "FACE_PLAN"),
        (plan(2, generator="/etc"), "g", {}, "UNKNOWN_GENERATOR"),
    ],
)
def test_wrong_jobs_are_refused(calm, wanted, name, more, reason):
    """At once, and nothing is written down."""
    before = len(calm.jobs.jobs(page_size=1000).jobs)
    with pytest.raises((Invalid, NotFound), match=reason):
        calm.jobs.create(wanted, name, **more)
    assert len(calm.jobs.jobs(page_size=1000).jobs) == before


def test_unknown_jobs_are_not_found(calm):
    """By every call that names one."""
    for call in (calm.jobs.get, calm.jobs.cancel, calm.jobs.watch):
        with pytest.raises(NotFound, match="UNKNOWN_JOB"):
            call("generation-of-nobody")


def test_a_worker_that_refuses_says_why(calm):
    """With its reason and hint, not with this machine's paths; nothing is tried again."""
    job = ended(calm, calm.jobs.create(plan(4, end="refuse"), "refused", shard_identities=2).name)
    assert job.state == "FAILED"
    assert (job.failure.kind, job.failure.reason, job.failure.hint) == (
        "Invalid",
        "NO_MORE",
        "wait",
    )
    assert job.failure.message == "…/faces.bin is out of faces"
    assert "refused" not in versions(calm)


def test_a_worker_that_dies_is_tried_again_and_then_fails_the_job(calm):
    """The job says how it died."""
    job = ended(calm, calm.jobs.create(plan(2, end="die"), "dead").name)
    assert job.state == "FAILED"
    assert job.failure.reason == "WORKER_FAILED"
    assert "exit code 9" in job.failure.message


def test_a_stream_ends_with_its_service(service):
    """A killed service is an error of the stream, not its end; the next one makes the same."""
    asked = plan(500, face_s=0.01)
    faces = service.faces.stream_faces(asked)
    first = [next(faces).item.sample.digest for _ in range(3)]
    service.kill()
    with pytest.raises(Unavailable):
        assert len(list(faces)) < len(TWO) * 500
    service.start()
    with contextlib.closing(service.faces.stream_faces(asked)) as again:
        assert [next(again).item.sample.digest for _ in range(3)] == first
