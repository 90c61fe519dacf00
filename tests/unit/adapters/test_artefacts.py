"""Folders that others are at work in: what is listed is what is finished."""

from __future__ import annotations

import shutil
import threading

from mien.adapters.executors.artefacts import names
from mien.adapters.jobs.generation_shards import ShardPlace
from mien.core.shards import MARKER


def test_a_shard_that_is_being_filled_is_not_there_yet(tmp_path):
    """It has all its files under another name right before it gets its own."""
    place = ShardPlace(str(tmp_path), tmp_path / "scratch")
    for name in ("000000", ".000001.0f98.tmp", "000002.old", "000003/deeper"):
        folder = tmp_path / "shards" / name
        folder.mkdir(parents=True)
        (folder / MARKER).write_text("{}")
    (tmp_path / "shards" / "000004").mkdir()
    assert place.made() == {0}


def test_a_list_is_whole_while_others_come_and_go(tmp_path):
    """What lies still is in every list, whatever vanishes beside it at that moment."""
    (tmp_path / "still").mkdir()
    (tmp_path / "still" / "file").write_text("")
    (tmp_path / "file").write_text("")
    ended = threading.Event()

    def churn():
        while not ended.is_set():
            for n in range(20):
                (tmp_path / f"{n}").mkdir()
                (tmp_path / f"{n}" / "file").write_text("")
                (tmp_path / f"{n}.new").write_text("")
            for n in range(20):
                shutil.rmtree(tmp_path / f"{n}")
                (tmp_path / f"{n}.new").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            found = names(str(tmp_path))
            assert {"file", "still/file"} <= set(found)
            assert not any(name.endswith(".new") for name in found)
    finally:
        ended.set()
        thread.join()
