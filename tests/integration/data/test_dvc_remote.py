"""Pushing and pulling data: nothing wrong is ever read as right."""

import random
import shutil
import subprocess
import sys
import time

import pytest

from mien.adapters.dvc.objects import locked_objects
from mien.adapters.dvc.remote import DvcRemote, set_remote
from mien.core.errors import Corrupt, Invalid, NotFound, Unavailable

STAGES = """
stages:
  make:
    cmd: python make.py
    deps: [make.py]
    outs: [out/folder, out/file.bin]
"""
MAKE = """
import pathlib, random
rng = random.Random(3)
folder = pathlib.Path("out/folder/shards"); folder.mkdir(parents=True, exist_ok=True)
for i in range(4):
    (folder / f"{i}.parquet").write_bytes(rng.randbytes(30_000))
pathlib.Path("out/folder/manifest.parquet").write_bytes(rng.randbytes(5_000))
pathlib.Path("out/file.bin").write_bytes(rng.randbytes(10_000))
"""
KINDS = ("file.bin", "folder", "folder/shards/2.parquet")


def dvc(folder, *argv):
    command = [sys.executable, "-m", "dvc", *argv]
    path = f"{sys.exec_prefix}/bin:/usr/bin:/bin"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": path}
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose pipeline has run."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    dvc(folder, "init", "--no-scm")
    dvc(folder, "config", "core.analytics", "false")
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "make.py").write_text(MAKE)
    dvc(folder, "repro")
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of it with a remote of its own."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    set_remote(folder, str(tmp_path / "remote"))
    return folder


@pytest.fixture(scope="module")
def pushed_once(made, tmp_path_factory):
    """The project and its remote after a push."""
    folder = tmp_path_factory.mktemp("pushed")
    shutil.copytree(made, folder / "project")
    set_remote(folder / "project", str(folder / "remote"))
    DvcRemote(folder / "project").push()
    return folder


@pytest.fixture
def pushed(pushed_once, tmp_path):
    """A copy of a project that was pushed, with a copy of its remote."""
    shutil.copytree(pushed_once, tmp_path, dirs_exist_ok=True)
    set_remote(tmp_path / "project", str(tmp_path / "remote"))
    return tmp_path / "project"


def clone(project, tmp_path, name="clone"):
    """What git would bring: no data, no cache."""
    folder = tmp_path / name
    folder.mkdir()
    for file in ("dvc.yaml", "dvc.lock", "make.py"):
        shutil.copy(project / file, folder / file)
    (folder / ".dvc").mkdir()
    shutil.copy(project / ".dvc" / "config", folder / ".dvc" / "config")
    return folder


def contents(folder):
    """Every file of the data with its bytes."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted((folder / "out").rglob("*"))
        if p.is_file()
    }


def object_of(project, kind):
    """The object of an output, or of a file in one."""
    remote = DvcRemote(project)
    wanted = remote._complete(remote._cached)
    return next(o for o in wanted if o.path == f"out/{kind}")


def damage(file, how):
    file.chmod(0o644)
    data = file.read_bytes()
    if how == "flip":
        file.write_bytes(data[:7] + bytes([data[7] ^ 1]) + data[8:])
    elif how == "truncate":
        file.write_bytes(data[: len(data) // 2])
    else:
        file.unlink()


def test_push_and_pull(project, tmp_path):
    """What was pushed arrives in a fresh clone, byte for byte."""
    done = DvcRemote(project).push()
    assert done.objects == 7  # a list, five files in it, a file
    there = clone(project, tmp_path)
    assert DvcRemote(there).pull().moved == 7
    assert contents(there) == contents(project)
    assert DvcRemote(there).check().repaired == ()


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_remote_is_named_never_delivered_and_mended(pushed, tmp_path, kind, how):
    """Each kind of object, damaged in each way: the pull refuses and names it; a push mends it."""
    remote = DvcRemote(pushed)
    hurt = object_of(pushed, kind)
    damage(tmp_path / "remote" / hurt.key, how)
    there = clone(pushed, tmp_path)
    with pytest.raises(Corrupt, match=f"out/{kind}"):
        DvcRemote(there).pull()
    assert not (there / "out").exists()
    with pytest.raises(Corrupt, match=f"out/{kind}"):
        DvcRemote(pushed).check()
    remote.push()
    DvcRemote(there).pull()
    assert contents(there) == contents(pushed)


def test_a_damaged_cache_is_fetched_anew(pushed, tmp_path):
    """Wrong bytes in the local cache are replaced by right ones, not checked out."""
    hurt = object_of(pushed, "folder/shards/2.parquet")
    right = contents(pushed)
    damage(pushed / ".dvc" / "cache" / hurt.key, "flip")
    shutil.rmtree(pushed / "out")
    DvcRemote(pushed).pull()
    assert contents(pushed) == right


def test_no_good_copy_anywhere_is_said(pushed, tmp_path):
    """The same object wrong here and there: an error that names it and what to do."""
    hurt = object_of(pushed, "file.bin")
    damage(pushed / ".dvc" / "cache" / hurt.key, "flip")
    damage(tmp_path / "remote" / hurt.key, "delete")
    damage(pushed / "out" / "file.bin", "truncate")
    with pytest.raises(Corrupt, match=r"file\.bin") as caught:
        DvcRemote(pushed).push()
    assert caught.value.reason == "NO_GOOD_COPY"
    assert "dvc repro" in caught.value.hint


def test_the_workspace_is_a_good_copy_too(pushed, tmp_path):
    """The cache is wrong, the remote has lost it, the file itself is right: it is used."""
    hurt = object_of(pushed, "file.bin")
    damage(pushed / ".dvc" / "cache" / hurt.key, "flip")
    damage(tmp_path / "remote" / hurt.key, "delete")
    assert DvcRemote(pushed).push().repaired == ("out/file.bin",)


def test_interrupted_pushes_end_in_a_whole_remote(project, tmp_path):
    """Killed at random moments: a clone gets everything right or an error; the next push mends."""
    rng = random.Random(5)
    command = [sys.executable, "-m", "mien", "push"]
    for turn in range(4):
        process = subprocess.Popen(
            command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 2.0))
        process.kill()
        process.wait()
        there = clone(project, tmp_path, f"clone{turn}")
        try:
            DvcRemote(there).pull()
        except Corrupt:
            continue
        assert contents(there) == contents(project)
    DvcRemote(project).push()
    last = clone(project, tmp_path, "last")
    DvcRemote(last).pull()
    assert contents(last) == contents(project)


def test_what_is_missing_is_said(made, tmp_path):
    """No remote, no lock, a remote that cannot be written: each in words."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    with pytest.raises(NotFound, match="NO_REMOTE"):
        DvcRemote(folder)
    with pytest.raises(Invalid, match="REMOTE_URL"):
        set_remote(folder, "ftp://somewhere")
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(Unavailable, match="REMOTE_AWAY"):
        set_remote(folder, str(tmp_path / "occupied"))
    (folder / "dvc.lock").unlink()
    with pytest.raises(NotFound, match="NO_LOCK"):
        locked_objects(folder / "dvc.lock")
    (folder / "dvc.lock").write_text("stages: [1]")
    with pytest.raises(Corrupt, match="DVC_LOCK"):
        locked_objects(folder / "dvc.lock")
