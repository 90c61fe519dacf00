"""A pool made by the service is the pool that the stage makes: the same rows, the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.core.expression import Expression
from mien.core.generation import FacePlan, FaceRequest, Photo, WantedFace
from mien.core.manifest import Licence, Provenance
from mien.generators.requests import plan_requests
from mien.registry.read import open_version
from mien.registry.write import write_version
from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationClient, GenerationJobsClient
from services.chassis.testing import running
from services.generation.mount import mount
from tests.contract.untrained import untrained
from tests.integration.conftest import write_faces

CLASSES = (Expression.ANGER, Expression.HAPPINESS)
NEUTRAL = (*CLASSES[:1], Expression.NEUTRAL)


@pytest.fixture
def served(project):
    """The project's generators behind a service; yields its channel."""
    roots = (project.root / "data" / "train_generator",)
    with (
        running("generation", mount, work_roots=roots) as target,
        open_channel(target, load_settings(project.root)) as channel,
    ):
        yield channel


def digest_of_faces(faces, folder: Path) -> str:
    """Write faces as a version and name it."""
    info = write_version(
        (face.item for face in faces),
        folder,
        name="streamed",
        provenance=Provenance(maker="test"),
        licences={"x": Licence()},
        duplicates="keep",
    )
    return info.digest


def synthesised(project, pool, **sections):
    """Run the stage for one pool; returns its version."""
    project.params(synthesise={"made": pool}, **sections)
    project.until("ingest faces", "split", "synthesise made")
    return open_version(project.root / "data" / "synthesise" / "made")


def placed(project, engine, name):
    """Put an untrained generator where training leaves one; returns its section."""
    folder = project.root / "data" / "train_generator" / name / "generator"
    folder.parent.mkdir(parents=True)
    Path(untrained(engine)).rename(folder)
    preset = {"noise": "acgan", "translate": "stargan"}[engine]
    return {name: {"preset": preset, "faces": {"database": "faces"}}}


def test_an_invented_pool(project, served, tmp_path):
    """Streamed or made by a job: the digest of the stage's version."""
    params = {"size_px": 32}
    pool = {"engine": "affect", "units": 2, "seed": 3, "params": params}
    stage = synthesised(project, pool)
    people = len({s.identity for s in stage.manifest})
    plan = FacePlan("affect", CLASSES, people, params, seed=3, intensity=(0.6, 1.0), pool="made")
    streamed = GenerationClient(served).stream_faces(plan)
    assert digest_of_faces(streamed, tmp_path / "streamed") == stage.info.digest
    jobs = GenerationJobsClient(served)
    *_, job = jobs.watch(jobs.create(plan, "made", shard_identities=3).name)
    assert job.state == "SUCCEEDED", job.failure
    assert job.result["version"]["digest"] == stage.info.digest
    assert job.result["version"]["licences"] == _plain(stage.info.licences)


def test_a_pool_of_a_generator(project, served, tmp_path):
    """Named here, a folder there; no intensity is recorded where none can be given."""
    pool = {"engine": "noise", "units": 1, "params": {"generator": "gan"}}
    stage = synthesised(project, pool, train_generator=placed(project, "noise", "gan"))
    people = len({s.identity for s in stage.manifest})
    plan = FacePlan("noise", CLASSES, people, {"generator": "gan"}, pool="made")
    streamed = GenerationClient(served).stream_faces(plan)
    assert digest_of_faces(streamed, tmp_path / "streamed") == stage.info.digest


def test_a_pool_of_photos(project, served, tmp_path):
    """Files go over the wire and are prepared there: persons, parents and pixels are the same."""
    names = [str(e) for e in NEUTRAL]
    write_faces(project.root / "faces", classes=names)
    pool = {
        "engine": "translate",
        "identities": "photos",
        "units": 1,
        "seed": 2,
        "params": {"generator": "changer"},
    }
    sections = {"train_generator": placed(project, "translate", "changer"), "expressions": names}
    stage = synthesised(project, pool, **sections)
    database = open_version(project.root / "data" / "ingest" / "faces")
    photos = {
        item.sample.digest: Photo(item.image, item.sample.id, item.sample.subject)
        for item in database.items()
    }
    wanted = [
        WantedFace(
            FaceRequest(s.id, 2, s.identity, s.expression, intensity=s.intensity),
            photos[s.parents[1]],
        )
        for s in stage.manifest
    ]
    made_there = GenerationClient(served).make_faces("translate", {"generator": "changer"}, wanted)
    assert digest_of_faces(made_there, tmp_path / "made") == stage.info.digest


def test_a_part_of_a_plan_is_a_part_of_its_faces():
    """Requests of later identities are those of the whole plan."""
    options = {"pool": "p", "pool_seed": 1, "expressions": CLASSES}
    whole = list(plan_requests(identities=5, **options))
    assert list(plan_requests(identities=2, first=3, **options)) == whole[6:]


def _plain(licences):
    return {s: {f: getattr(t, f) for f in t.__dataclass_fields__} for s, t in licences.items()}
