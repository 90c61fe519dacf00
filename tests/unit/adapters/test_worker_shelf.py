"""Workers that wait for the next run: taken again, never mixed up, let go after a while."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from mien.adapters.executors.local import LocalExecutor
from mien.adapters.executors.shelf import WorkerShelf
from mien.core.hooks import no_progress
from mien.core.tasks import Task

FAKE = Path(__file__).parents[2] / "contract" / "fake_mien.py"


@pytest.fixture
def shelf():
    shelf = WorkerShelf()
    yield shelf
    shelf.close()


@pytest.fixture
def worked(tmp_path):
    """Run one task with a shelf; returns the worker's pid."""

    def run(shelf, key, mode="persistent", verb="ok", *, cancelled=False, **env):
        marker = tmp_path / f"{key}.done"
        executor = LocalExecutor(
            slots=1,
            command=(sys.executable, str(FAKE)),
            log_dir=tmp_path / "logs",
            mode=mode,
            env=env,
            retries=0,
            shelf=shelf,
        )
        argv = (verb, "1") if verb == "exit" else (verb, str(marker))
        began = tmp_path / f"{key}.done.began"
        hooks = {"progress": no_progress, "cancelled": began.exists if cancelled else lambda: False}
        executor.run([Task(key, argv, str(marker))], **hooks)
        return int(marker.read_text().split()[0]) if marker.exists() else 0

    return run


def test_a_worker_is_taken_again(shelf, worked):
    """Two runs, one process; also after a task that failed."""
    first = worked(shelf, "a")
    worked(shelf, "bad", verb="exit")
    assert (worked(shelf, "b"), len(shelf)) == (first, 1)


def test_workers_of_another_environment_are_others(shelf, worked):
    """A worker that was given one GPU never works for another."""
    first, other = worked(shelf, "a", CARD="0"), worked(shelf, "b", CARD="1")
    assert first != other
    assert (worked(shelf, "c", CARD="0"), worked(shelf, "d", CARD="1")) == (first, other)


def test_a_process_of_its_own_is_never_kept(shelf, worked):
    """A task that shall have a fresh process gets one, and leaves none."""
    first = worked(shelf, "a")
    assert worked(shelf, "b", mode="process") != first
    assert len(shelf) == 1


def test_a_worker_that_was_asked_to_stop_is_not_kept(shelf, worked):
    """One that finished its task all the same has heard that it shall stop: never used again."""
    first = worked(shelf, "a")
    assert worked(shelf, "b", verb="ignore", cancelled=True) == first
    assert len(shelf) == 0
    assert worked(shelf, "c") != first


def test_a_worker_that_died_is_not_taken(shelf, worked):
    """One killed while it waited is replaced."""
    first = worked(shelf, "a")
    process = psutil.Process(first)
    process.kill()
    _gone(first)
    assert worked(shelf, "b") != first


def test_idle_workers_are_let_go(worked):
    """After a while their memory is given back; when the shelf closes, at once."""
    shelf = WorkerShelf(keep_s=0.2)
    pid = worked(shelf, "a")
    _gone(pid)
    assert len(shelf) == 0
    shelf = WorkerShelf()
    pid = worked(shelf, "b")
    shelf.close()
    assert not psutil.pid_exists(pid)
    assert not psutil.pid_exists(worked(shelf, "c")), "nothing is kept once it is closed"


def _gone(pid, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
