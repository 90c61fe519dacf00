"""Whole or not at all: killed writers, full disks, folders that may not be written."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.core.errors import Exhausted, Forbidden, Invalid
from mien.core.sample import Item, Sample
from mien.registry.read import open_version

WRITER = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from mien.core.manifest import Provenance
from mien.core.sample import Item, Sample
from mien.registry.write import write_version

def items():
    for i in range(400):
        yield Item(Sample(id=f"a/{i:04d}", source="a"), bytes([i % 256, i // 256]) * 2000)
        if i == 300 and sys.argv[2] == "wait":
            print("half", flush=True)
            time.sleep(60)

try:
    write_version(items(), Path(sys.argv[1]), name="a", provenance=Provenance("t"), licences={},
                  shard_rows=100)
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""


def start(folder: Path, mode: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), mode],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **how,
    )


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_killed_writer_leaves_no_version_and_the_next_cleans_up(tmp_path, write, make_items):
    """Killed half-way: the place stays empty; a living writer's folder is not touched."""
    writer = start(tmp_path / "faces", "wait")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    write(make_items(2), "other")  # beside it, another version
    assert not (tmp_path / "faces").exists()
    left = [n for n in names(tmp_path) if n.startswith(".faces.")]
    assert len(left) == 1

    assert write(make_items(3), "faces").rows == 3  # while the first still writes
    assert left[0] in names(tmp_path)
    shutil.rmtree(tmp_path / "faces")

    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert left[0] in names(tmp_path)
    write(make_items(3), "faces")
    assert names(tmp_path) == ["faces", "other"]


def test_other_folders_with_hidden_names_are_left_alone(tmp_path, write, make_items):
    """Only leftovers of the same target are removed."""
    for name in (".faces.tmp", ".faces.backup", f".faces2.{'0' * 32}.tmp"):
        (tmp_path / name).mkdir()
    write(make_items(1))
    assert len(names(tmp_path)) == 4


def test_an_interrupt_leaves_nothing(tmp_path, write, make_items):
    """Ctrl-C in the middle of the items."""

    def interrupted() -> Iterator[Item]:
        yield from make_items(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupted(), shard_rows=8)
    assert names(tmp_path) == []


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    """The write fails inside Arrow, in a process that may write 64 KiB a file."""
    writer = start(
        tmp_path / "faces",
        "limited",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
    )
    said = writer.communicate()[0]
    assert writer.returncode == 3
    assert said.startswith("Exhausted")
    assert "[DISK_FULL]" in said
    assert names(tmp_path) == []


def test_a_full_disk(tmp_path):
    """A real file system of 300 KiB, where this machine lets us mount one."""
    where = tmp_path / "disk"
    where.mkdir()
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    shell = (
        f"mount -t tmpfs -o size=300k tmpfs {where} || exit 77; "
        f"{sys.executable} {script} {where}/faces full; echo code $?; ls -A {where} | wc -l"
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("SKIPPED: no unshare on this machine")
    done = subprocess.run(
        [unshare, "--mount", "--map-root-user", "sh", "-c", shell],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "code" not in done.stdout:
        pytest.skip(f"SKIPPED: no file system can be mounted here: {done.stderr.strip()}")
    assert "[DISK_FULL]" in done.stdout
    assert "code 3" in done.stdout
    assert done.stdout.split()[-1] == "0"  # nothing is left


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (errno.ENOSPC, Exhausted, "DISK_FULL"),
        (errno.EDQUOT, Exhausted, "DISK_FULL"),
        (errno.EACCES, Forbidden, "NO_WRITE_PERMISSION"),
        (errno.EROFS, Forbidden, "NO_WRITE_PERMISSION"),
    ],
)
@pytest.mark.parametrize("fails_at", range(6))
def test_a_disk_that_refuses_at_any_step(
    tmp_path, write, make_items, monkeypatch, code, kind, reason, fails_at
):
    """Whichever fsync fails (shards, manifest, folders): one named error, nothing left."""
    real, calls = os.fsync, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == fails_at + 1:
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(kind) as caught:
        write(make_items(20), shard_rows=10)
    assert caught.value.reason == reason
    assert str(tmp_path / "faces") in caught.value.message
    assert caught.value.hint
    assert names(tmp_path) == []


def test_a_refusal_keeps_the_version_that_is_there(tmp_path, write, make_items, monkeypatch):
    """Replacing fails at the move: the old version is back in its place."""
    first = write(make_items(20))
    real = Path.rename

    def rename(self, target):
        if self.name.endswith(".tmp") and Path(target).name == "faces" and not moved:
            moved.append(self)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    moved: list[Path] = []
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(Exhausted):
        write(make_items(5, seed=9), replace=True)
    monkeypatch.undo()
    version = open_version(tmp_path / "faces")
    version.verify()
    assert version.info == first
    assert names(tmp_path) == ["faces"]


def test_a_file_in_the_way(tmp_path, write, make_items):
    """Of the parent, or of the version itself: said, and the file stays."""
    (tmp_path / "file").write_text("mine")
    for name in ("file/faces", "file"):
        with pytest.raises(Invalid) as caught:
            write(make_items(2), name)
        assert caught.value.reason == "NOT_A_FOLDER"
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="SKIPPED: permissions do not bind root")
def test_a_folder_without_permission(tmp_path, write, make_items):
    """Real permission bits, for everybody but root."""
    (tmp_path / "sealed").mkdir(mode=0o500)
    with pytest.raises(Forbidden) as caught:
        write(make_items(2), "sealed/faces")
    assert caught.value.reason == "NO_WRITE_PERMISSION"


def test_writers_of_one_place_at_once(tmp_path, write, make_items):
    """Same content from eight threads: one version, eight equal answers, nothing else."""
    items = make_items(50)
    answers = []

    def slowly() -> Iterator[Item]:
        for item in items:
            time.sleep(0.0005)
            yield item

    threads = [threading.Thread(target=lambda: answers.append(write(slowly()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(a == answers[0] for a in answers)
    assert names(tmp_path) == ["faces"]
    open_version(tmp_path / "faces").verify()


def test_a_name_with_pattern_characters(tmp_path, write, make_items):
    """Leftovers of ``a[1]*`` are its own, not those of ``a1x``."""
    other = tmp_path / f".a1x.{'0' * 32}.tmp"
    own = tmp_path / f".a[1]*.{'0' * 32}.tmp"
    other.mkdir()
    own.mkdir()
    write([Item(Sample(id="a/1", source="a"), b"x")], "a[1]*")
    assert other.exists()
    assert not own.exists()
