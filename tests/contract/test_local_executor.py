"""What only executors of this machine promise: worker processes, their logs and their ends."""

import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from mien.adapters.executors.local import InlineExecutor, LocalExecutor
from mien.core.tasks import Task
from tests.contract import fake_mien
from tests.contract.executors import FAKE, LOCAL, run, task


def executor(kind, tmp_path, **options):
    if kind == "inline":
        options = {k: v for k, v in options.items() if k == "retries"}
        return InlineExecutor(call=fake_mien.run, log_dir=tmp_path / "logs", **options)
    return LocalExecutor(
        command=(sys.executable, str(FAKE)),
        log_dir=tmp_path / "logs",
        mode=kind,
        **{"slots": 2, "grace_s": 5.0, **options},
    )


@pytest.fixture(params=LOCAL)
def kind(request):
    return request.param


@pytest.mark.parametrize("code", [130, 143])
def test_interrupted_is_cancelled(kind, tmp_path, code):
    """A task that was interrupted with a checkpoint is CANCELLED, not tried again.

    On a cluster it is: what interrupts a Pod there is not the user.
    """
    (result,) = run(executor(kind, tmp_path), [Task("a", ("exit", str(code)), str(tmp_path / "n"))])
    assert (result.state, result.exit_code, result.tries) == ("CANCELLED", code, 1)


def test_two_launchers_run_a_key_once(tmp_path):
    """Two launchers given the same task at the same time do not both run it."""
    once = task(tmp_path, "a", "once", tmp_path / "count", 0.5)
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.extend(run(executor("persistent", tmp_path), [once]))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"] * 2
    assert sorted(r.tries for r in results) == [0, 1]
    assert (tmp_path / "count").read_text() == "x"


def test_log_is_captured(kind, tmp_path):
    """What the verb prints, and what native code writes, is in the result and in a file."""
    (result,) = run(executor(kind, tmp_path), [task(tmp_path, "a", "ok", "some words")])
    assert "some words" in result.log
    assert "native words" in result.log
    assert "some words" in (tmp_path / "logs" / "a.log").read_text()


def test_a_worker_that_cannot_start_says_why(tmp_path):
    """Its own last words are in the result: here an interpreter that finds no such module."""
    runner = LocalExecutor(
        slots=1,
        command=(sys.executable, "-m", "no_such_module"),
        log_dir=tmp_path / "logs",
        retries=0,
    )
    (result,) = run(runner, [task(tmp_path, "a", "ok")])
    assert (result.state, result.exit_code) == ("FAILED", 1)
    assert "no_such_module" in result.log


def test_a_crash_in_native_code_says_where(tmp_path):
    """A segmentation fault leaves a traceback in the task's log."""
    tasks = [task(tmp_path, "a", "die", tmp_path / "count", int(signal.SIGSEGV))]
    (result,) = run(executor("persistent", tmp_path, retries=0), tasks)
    assert result.exit_code == 139
    assert "Segmentation fault" in result.log


def test_a_verb_cannot_eat_the_task_lines(tmp_path):
    """Standard input of a verb is empty; the next task still arrives."""
    tasks = [task(tmp_path, "a", "read"), task(tmp_path, "b", "ok")]
    results = run(executor("persistent", tmp_path, slots=1), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 2
    assert (tmp_path / "a.done").read_text() == "''"


def test_workers_use_one_thread(tmp_path):
    """Numeric libraries in a worker use one thread, so results do not depend on slots."""
    one = task(tmp_path, "a", "env", "OMP_NUM_THREADS")
    run(executor("persistent", tmp_path), [one])
    assert Path(one.done).read_text() == "1"


@pytest.mark.parametrize(
    ("mode", "per_worker", "workers"),
    [
        ("persistent", 200, 1),
        ("persistent", 2, 2),
        ("process", 200, 4),
    ],
)
def test_workers_are_kept_or_renewed(tmp_path, mode, per_worker, workers):
    """Persistent workers run many tasks, are renewed after a number; `process` never reuses."""
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(4)]
    run(executor(mode, tmp_path, slots=1, tasks_per_worker=per_worker), tasks)
    assert len({Path(t.done).read_text().split()[0] for t in tasks}) == workers


def test_a_grown_worker_is_renewed(tmp_path):
    """A worker larger than allowed is replaced after its task."""
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(2)]
    run(executor("persistent", tmp_path, slots=1, worker_mb=1.0), tasks)
    assert len({Path(t.done).read_text().split()[0] for t in tasks}) == 2


def test_nobody_is_left_behind_when_told_badly(tmp_path):
    """An error in the launcher's own callback leaves no process behind."""

    def explode(result):
        raise RuntimeError("tracker")

    pid_file = tmp_path / "pid"
    tasks = [
        task(tmp_path, "b", "once", tmp_path / "count", 0.5),
        task(tmp_path, "a", "work", tmp_path / "checkpoint", 10_000, pid_file),
    ]
    with pytest.raises(RuntimeError, match="tracker"):
        run(executor("persistent", tmp_path), tasks, on_done=explode)
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_ctrl_c_on_the_terminal_does_not_reach_workers(tmp_path):
    """Workers live in a session of their own; only the launcher decides about them."""
    pid_file = tmp_path / "pid"
    sessions = []

    def cancelled():
        if pid_file.exists() and pid_file.read_text():
            sessions.append(os.getsid(int(pid_file.read_text())))
        return bool(sessions)

    tasks = [task(tmp_path, "a", "work", tmp_path / "checkpoint", 1000, pid_file)]
    run(executor("persistent", tmp_path), tasks, cancelled=cancelled)
    assert sessions[0] == int(pid_file.read_text())
    assert sessions[0] != os.getsid(0)
