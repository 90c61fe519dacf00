"""Shards: the same bytes whichever worker makes them, whole or not there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mien.adapters.jobs.generation_shards import check_shard
from mien.cli.main import run as mien
from mien.core.errors import Corrupt, Interrupted, Invalid, NotFound, WrongState
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.core.manifest import Licence, Manifest, Provenance
from mien.core.shards import PLAN, ShardPlan, done_marker, read_plan, shard_folder
from mien.generators.local import LocalGeneration
from mien.registry.read import open_version
from mien.registry.write import write_version
from mien.stages import shard

TWO = (Expression.ANGER, Expression.NEUTRAL)
PARAMS = {"size_px": 32, "noise": 1.0}


@pytest.fixture(scope="module")
def planned() -> ShardPlan:
    """Five people in shards of two."""
    faces = FacePlan("affect", TWO, 5, PARAMS, seed=2, intensity=(0.5, 1.0), pool="p")
    digest = LocalGeneration().planned(faces).engine.digest
    return ShardPlan(faces, PARAMS, digest, 2)


def written(planned: ShardPlan, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(json.dumps(planned.to_json()))
    return folder / PLAN


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(planned, tmp_path_factory) -> Path:
    """All shards, one after the other."""
    plan = written(planned, tmp_path_factory.mktemp("made"))
    for index in range(planned.shards):
        shard.run(plan, index)
    return plan


def test_a_plan_is_read_as_it_was_written(planned, tmp_path):
    """Through JSON, nothing is lost."""
    assert read_plan(written(planned, tmp_path)) == planned
    assert planned.shards == 3
    assert [planned.span(i) for i in range(3)] == [(0, 2), (2, 2), (4, 1)]


def test_a_shard_is_the_same_bytes_whoever_makes_it(planned, made, tmp_path):
    """Alone, in another order, by the verb: every file of it, whatever was made before."""
    plan = written(planned, tmp_path / "elsewhere")
    assert mien(["--quiet", "shard", str(plan), "2"]) == 0
    shard.run(plan, 0)
    for index in (0, 2):
        assert contents(shard_folder(plan, index)) == contents(shard_folder(made, index))


def test_all_shards_are_the_whole(planned, made, tmp_path):
    """Put together they are the version that nobody cut."""
    parts = [open_version(shard_folder(made, i)) for i in range(planned.shards)]
    whole = write_version(
        [face.item for face in LocalGeneration().stream_faces(planned.faces)],
        tmp_path / "whole",
        name="whole",
        provenance=Provenance(maker="test"),
        licences={planned.faces.source: Licence()},
    )
    assert Manifest.of(s for part in parts for s in part.manifest).digest == whole.digest
    assert whole.rows == planned.faces.faces == 10


def test_a_finished_shard_is_not_made_again(planned, made):
    """Whoever comes second finds it."""
    before = done_marker(made, 1).stat().st_mtime_ns
    shard.run(made, 1)
    assert done_marker(made, 1).stat().st_mtime_ns == before


def test_cancelled_it_leaves_nothing(planned, tmp_path):
    """No folder that could be taken for a shard, nor the beginnings of one."""
    plan = written(planned, tmp_path)
    with pytest.raises(Interrupted):
        shard.run(plan, 0, cancelled=lambda: True)
    assert list((tmp_path / "shards").iterdir()) == []


def test_tells_its_faces(planned, tmp_path):
    """Of this shard, until all are there."""
    told = []
    shard.run(written(planned, tmp_path), 2, progress=told.append)
    assert (told[-1].done, told[-1].total, told[-1].unit) == (2, 2, "faces")


def test_another_engine_than_planned_is_refused(planned, tmp_path):
    """A generator that was trained again in the meantime would make other faces."""
    plan = written(replace(planned, engine_digest="0" * 64), tmp_path)
    with pytest.raises(WrongState, match="OTHER_ENGINE_DIGEST"):
        shard.run(plan, 0)
    assert not (tmp_path / "shards").exists()


def test_bad_plans_are_named(planned, tmp_path):
    """Missing, damaged, of another format, and a shard that is not in it."""
    with pytest.raises(NotFound, match="PLAN_MISSING"):
        shard.run(tmp_path / "nothing.json", 0)
    plan = written(planned, tmp_path)
    with pytest.raises(Invalid, match="SHARD_INDEX"):
        shard.run(plan, 3)
    for text in ("", "[]", "{}", json.dumps(planned.to_json() | {"format": 9})):
        plan.write_text(text)
        with pytest.raises(Corrupt, match="PLAN"):
            shard.run(plan, 0)


def test_what_is_not_its_shard_is_refused(planned, made, tmp_path):
    """Another shard's people, a missing face, a flipped byte, another engine's faces."""
    good = shard_folder(made, 0)
    assert len(check_shard(planned, 0, good)) == 64
    with pytest.raises(Invalid, match="POOL_UNBALANCED"):
        check_shard(planned, 1, good)
    with pytest.raises(WrongState, match="OTHER_ENGINE_DIGEST"):
        check_shard(replace(planned, engine_digest="0" * 64), 0, good)
    version = open_version(good)
    write_version(
        list(version.items())[1:],
        tmp_path / "fewer",
        name="fewer",
        provenance=version.info.provenance,
        licences=version.info.licences,
    )
    with pytest.raises(Invalid, match="POOL_UNBALANCED"):
        check_shard(planned, 0, tmp_path / "fewer")
    for name, data in contents(good).items():
        (tmp_path / "bad" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(data)
    (file,) = (tmp_path / "bad" / "shards").iterdir()
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(Corrupt):
        check_shard(planned, 0, tmp_path / "bad")
