"""A disk that is full, closed or wrong: one sentence, and what was there stays as it was."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest

from mien.registry.layout import MANIFEST, SHARDS


@contextmanager
def room_for(size):
    """Let the kernel refuse to write a file beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 500, 7000])
def test_no_room_for_a_version(project, size):
    """Whichever file of the version does not fit: nothing of it is left."""
    with room_for(size):
        project.refused("ingest", "faces", code=1, says=["DISK_FULL", "data/ingest/faces"])
    project.done("ingest", "faces")


@pytest.mark.parametrize(
    ("stage", "after", "says"),
    [
        ("ingest faces", (), "data/ingest/faces"),
        ("preprocess faces", ("ingest", "split"), "data/preprocess/faces"),
    ],
)
def test_a_disk_that_fills_at_the_last_moment(project, monkeypatch, stage, after, says):
    """The kernel says so only when asked to bring the bytes to the disk."""
    project.until(*after)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        project.refused(*stage.split(), code=1, says=["DISK_FULL", says])
    project.done(*stage.split())


def test_the_version_that_was_there_survives_a_full_disk(project):
    """A newer version that does not fit leaves the older one whole."""
    project.done("ingest", "faces")
    (project.root / "faces/anger/s000_0.png").unlink()
    with room_for(500):
        project.refused("ingest", "faces", code=1, says=["DISK_FULL"])
    assert "14 images" in project.done("verify", "data/ingest/faces").out


def test_no_room_for_a_sweep(project):
    """A full cache stops the sweep with its place, wherever it fills; the next one goes on."""
    project.until("ingest", "split", "preprocess")
    with room_for(100):
        project.refused("sweep", code=1, says=["DISK_FULL", "cache/arrays"])
    project.until("sweep --plan")
    with room_for(100):
        project.refused("sweep", code=1, says=["DISK_FULL", "rows.npz"])
    with room_for(8000):  # plans fit, weights do not
        said = project.mien("sweep")
    assert said.code == 1, said.err
    assert "TRIALS_FAILED" in said.err
    assert "DISK_FULL" in said.err
    assert "Traceback" not in said.err
    assert not list(project.cache.rglob("result.json"))
    assert not [p for p in project.cache.rglob(".*") if "tmp" in p.name or ".npz" in p.name]
    assert not (project.root / "data/sweep").exists()
    project.until("sweep")


@pytest.mark.parametrize("where", ["data", "data/ingest", "data/ingest/faces"])
def test_a_file_where_a_folder_is_needed(project, where):
    """Nobody's file is removed to make room."""
    path = project.root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    project.refused("ingest", "faces", says=[str(path)])
    assert path.read_text() == "mine"


def test_a_folder_that_is_no_version_is_not_replaced(project):
    """What somebody keeps under the version's name is not swept away."""
    (project.root / "data/ingest/faces").mkdir(parents=True)
    (project.root / "data/ingest/faces/thesis.txt").write_text("mine")
    project.refused("ingest", "faces", says=["NOT_A_VERSION", "data/ingest/faces"])


@pytest.mark.parametrize("verb", ["ingest faces", "split", "preprocess faces", "sweep"])
def test_no_permission(project, monkeypatch, verb):
    """A folder that may not be written is named by every stage."""
    order = ["ingest", "split", "preprocess", "sweep"]
    project.until(*order[: order.index(verb.split()[0])])
    make = os.mkdir

    def closed(path, *rest, **options):
        if str(project.root / "data") in str(path) or "cache" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return make(path, *rest, **options)

    monkeypatch.setattr(os, "mkdir", closed)
    project.refused(*verb.split(), says=["NO_WRITE_PERMISSION", str(project.root.parent)])


def test_a_file_where_the_cache_should_be(project, monkeypatch):
    """MIEN_CACHE that names a file is said by the stage that needs it."""
    project.until("ingest", "split", "preprocess")
    (project.root / "occupied").write_text("mine")
    monkeypatch.setenv("MIEN_CACHE", str(project.root / "occupied"))
    project.refused("sweep", says=["occupied"])


def flip(version, sample):
    """Change one byte of one image where it lies."""
    rows = pq.read_table(version / MANIFEST).to_pylist()
    (row,) = [r for r in rows if r["id"] == sample]
    path = version / SHARDS / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 1
    path.write_bytes(data)


def test_a_corrupted_shard(project):
    """One wrong byte: every command that reads it names the item, 42, and makes nothing."""
    project.until("ingest", "split")
    sample = "mine/happiness/s004_0.png"
    flip(project.root / "data/ingest/faces", sample)
    for argv in (
        ["verify", "data/ingest/faces"],
        ["preprocess", "faces"],
        ["export", "data/ingest/faces", "out"],
    ):
        project.refused(*argv, code=42, says=["CORRUPT_ITEM", sample, "data/ingest/faces/shards"])
    project.until("ingest faces", "preprocess")  # the way out that the hint names


def test_a_corrupted_set_stops_the_sweep(project):
    """What is trained on is verified too."""
    project.until("ingest", "split", "preprocess")
    sample = "mine/anger/s002_0.png"
    flip(project.root / "data/preprocess/faces", sample)
    project.refused("sweep", code=42, says=["CORRUPT_ITEM", sample])


def test_a_corrupted_manifest(project):
    """A version whose table was altered is not read at all."""
    project.until("ingest faces")
    path = project.root / "data/ingest/faces" / MANIFEST
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    project.refused("split", code=42, says=["CORRUPT_MANIFEST", str(path)])


def test_a_file_between_stages_that_was_cut(project):
    """A stage's JSON that no longer parses: which file, and which stage to run again."""
    project.until("ingest", "split", "preprocess")
    path = project.root / "data/split/split.json"
    path.write_text(path.read_text()[:50])
    said = project.refused("sweep", code=42, says=["STAGE_FILE", str(path)])
    assert "mien split" in said.err
