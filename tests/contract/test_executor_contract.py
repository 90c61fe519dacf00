"""What every executor promises, on every executor."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mien.adapters.local_executor import InlineExecutor, LocalExecutor
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task
from tests.contract import fake_mien

FAKE = Path(__file__).with_name("fake_mien.py")
EVERY = ("inline", "process", "persistent")
PROCESSES = ("process", "persistent")


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


def task(tmp_path, key, verb, *arguments, env=None):
    """A task whose marker is the verb's first argument."""
    marker = tmp_path / f"{key}.done"
    argv = tuple(str(a) for a in (verb, marker, *arguments))
    return Task(key, argv, str(marker), env or {})


def run(runner, tasks, **hooks):
    hooks = {"progress": no_progress, "cancelled": never_cancelled, **hooks}
    return runner.run(tasks, **hooks)


@pytest.fixture(params=EVERY)
def kind(request):
    return request.param


@pytest.fixture(params=PROCESSES)
def process_kind(request):
    return request.param


def test_runs_all_and_answers_in_order(kind, tmp_path):
    """Results come in the order of the tasks; each key is told about once; progress ends full."""
    told, events = [], []
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(3)]
    results = run(executor(kind, tmp_path), tasks, progress=events.append, on_done=told.append)
    assert [r.key for r in results] == [t.key for t in tasks]
    assert all((r.state, r.exit_code, r.tries) == ("SUCCEEDED", 0, 1) for r in results)
    assert sorted(r.key for r in told) == sorted(t.key for t in tasks)
    assert (events[-1].done, events[-1].total) == (3, 3)
    assert all((tmp_path / f"t{i}.done").exists() for i in range(3))


def test_no_tasks_is_no_work(kind, tmp_path):
    """An empty list is answered by an empty list."""
    assert list(run(executor(kind, tmp_path), [])) == []


def test_found_done_is_not_run(kind, tmp_path):
    """A task whose marker exists is SUCCEEDED with no try; a file URI is a marker too."""
    done = task(tmp_path, "a", "exit")
    Path(done.done).touch()
    uri = Task("b", ("exit", "1"), Path(done.done).as_uri())
    results = run(executor(kind, tmp_path), [done, uri])
    assert [(r.state, r.tries) for r in results] == [("SUCCEEDED", 0)] * 2


def test_failure_is_tried_again(kind, tmp_path):
    """An unforeseen exit code is tried again until it works."""
    flaky = task(tmp_path, "a", "flaky", tmp_path / "count", 2)
    (result,) = run(executor(kind, tmp_path, retries=2), [flaky])
    assert (result.state, result.tries) == ("SUCCEEDED", 3)


def test_retries_end(kind, tmp_path):
    """A task that always fails is FAILED after its retries, the others are unharmed."""
    tasks = [Task("bad", ("exit", "1"), str(tmp_path / "no")), task(tmp_path, "good", "ok")]
    bad, good = run(executor(kind, tmp_path, retries=1), tasks)
    assert (bad.state, bad.exit_code, bad.tries) == ("FAILED", 1, 2)
    assert good.state == "SUCCEEDED"


@pytest.mark.parametrize("code", [2, 42])
def test_permanent_failure_is_not_tried_again(kind, tmp_path, code):
    """The user's mistake and a permanent failure are final."""
    (result,) = run(executor(kind, tmp_path), [Task("a", ("exit", str(code)), str(tmp_path / "n"))])
    assert (result.state, result.exit_code, result.tries) == ("FAILED", code, 1)


@pytest.mark.parametrize("code", [130, 143])
def test_interrupted_is_cancelled(kind, tmp_path, code):
    """A task that was interrupted with a checkpoint is CANCELLED, not tried again."""
    (result,) = run(executor(kind, tmp_path), [Task("a", ("exit", str(code)), str(tmp_path / "n"))])
    assert (result.state, result.exit_code, result.tries) == ("CANCELLED", code, 1)


def test_success_without_marker_is_not_believed(kind, tmp_path):
    """Exit code 0 without the marker is a failure."""
    tasks = [Task("a", ("nothing",), str(tmp_path / "no"))]
    (result,) = run(executor(kind, tmp_path, retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 1)


def test_duplicate_keys_run_once(kind, tmp_path):
    """The same key is the same work, done once, answered twice."""
    once = task(tmp_path, "a", "once", tmp_path / "count", 0)
    results = run(executor(kind, tmp_path), [once, once])
    assert [r.state for r in results] == ["SUCCEEDED"] * 2
    assert (tmp_path / "count").read_text() == "x"


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


@pytest.mark.parametrize("slots", [1, 2])
def test_never_more_than_slots_at_once(kind, tmp_path, slots):
    """As many run at once as there are slots, and no more (inline: one)."""
    tasks = [task(tmp_path, f"t{i}", "span", 0.3) for i in range(2 * slots)]
    run(executor(kind, tmp_path, slots=slots), tasks)
    spans = [tuple(map(float, Path(t.done).read_text().split())) for t in tasks]
    together = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert together == (1 if kind == "inline" else slots)


def test_log_is_captured(kind, tmp_path):
    """What the verb prints, and what native code writes, is in the result and in a file."""
    (result,) = run(executor(kind, tmp_path), [task(tmp_path, "a", "ok", "some words")])
    assert "some words" in result.log
    assert "native words" in result.log
    assert "some words" in (tmp_path / "logs" / "a.log").read_text()


def test_environment_of_one_task_only(kind, tmp_path):
    """A task's environment does not leak into the next."""
    tasks = [
        task(tmp_path, "a", "env", "FLAVOUR", env={"FLAVOUR": "mint"}),
        task(tmp_path, "b", "env", "FLAVOUR"),
    ]
    run(executor(kind, tmp_path, slots=1), tasks)
    assert [Path(t.done).read_text() for t in tasks] == ["mint", ""]


def test_cancel_keeps_a_checkpoint_and_goes_on_later(process_kind, tmp_path):
    """Cancelled work saves its state; the next run goes on from it; what never ran says so."""
    pid_file, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    tasks = [
        task(tmp_path, "a", "work", checkpoint, 150, pid_file),
        task(tmp_path, "b", "ok"),
    ]
    runner = executor(process_kind, tmp_path, slots=1)
    first, never = run(runner, tasks, cancelled=pid_file.exists)
    assert (first.state, first.exit_code) == ("CANCELLED", 143)
    assert (never.state, never.exit_code, never.tries) == ("CANCELLED", None, 0)
    step = int(checkpoint.read_text())
    assert 0 < step < 150
    again, other = run(runner, tasks)
    assert (again.state, other.state) == ("SUCCEEDED", "SUCCEEDED")
    assert f"from {step}" in again.log


def test_cancel_inline(tmp_path):
    """Inline, what has not started is CANCELLED."""
    done = []
    results = run(
        executor("inline", tmp_path),
        [task(tmp_path, f"t{i}", "ok") for i in range(3)],
        cancelled=lambda: len(done) == 1,
        on_done=done.append,
    )
    assert [r.state for r in results] == ["SUCCEEDED", "CANCELLED", "CANCELLED"]


def test_deaf_worker_is_killed_after_the_grace(tmp_path):
    """A worker that ignores SIGTERM is killed when its grace is over."""
    pid_file = tmp_path / "pid"
    runner = executor("persistent", tmp_path, grace_s=0.3)
    tasks = [Task("a", ("deaf", str(pid_file)), str(tmp_path / "no"))]
    (result,) = run(runner, tasks, cancelled=pid_file.exists)
    assert result.state == "CANCELLED"
    assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_fails_only_its_task(process_kind, tmp_path, number):
    """A task whose worker is killed is tried again in a fresh one; the others do not notice."""
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(3)]
    tasks.insert(1, task(tmp_path, "dying", "die", tmp_path / "count", int(number)))
    results = run(executor(process_kind, tmp_path), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 4
    assert [r.tries for r in results] == [1, 2, 1, 1]


def test_death_without_retry_says_the_signal(tmp_path):
    """The exit code of a killed worker is 128 + the signal."""
    tasks = [task(tmp_path, "a", "die", tmp_path / "count", int(signal.SIGKILL))]
    (result,) = run(executor("persistent", tmp_path, retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 137)


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


LAUNCHER = """
import sys
from mien.adapters.local_executor import LocalExecutor
from mien.core.hooks import never_cancelled, no_progress
from mien.core.tasks import Task
fake, folder, mode = sys.argv[1:]
argv = ("work", folder + "/a.done", folder + "/checkpoint", "400", folder + "/pid")
LocalExecutor(
    slots=1, command=(sys.executable, fake), log_dir=__import__("pathlib").Path(folder) / "logs",
    mode=mode, grace_s=5.0,
).run([Task("a", argv, folder + "/a.done")], progress=no_progress, cancelled=never_cancelled)
"""


def test_a_killed_launcher_takes_its_workers_along_and_work_goes_on(process_kind, tmp_path):
    """Kill -9 of the launcher: its worker saves and ends; a new launcher finishes the task."""
    command = [sys.executable, "-c", LAUNCHER, str(FAKE), str(tmp_path), process_kind]
    launcher = subprocess.Popen(command)
    pid_file = tmp_path / "pid"
    _until(pid_file.exists)
    _until(lambda: pid_file.read_text() != "")
    worker = int(pid_file.read_text())
    launcher.kill()
    launcher.wait()
    _until(lambda: not _running(worker))
    step = int((tmp_path / "checkpoint").read_text())
    argv = ("work", str(tmp_path / "a.done"), str(tmp_path / "checkpoint"), str(step + 5))
    again = Task("a", (*argv, str(pid_file)), str(tmp_path / "a.done"))
    (result,) = run(executor(process_kind, tmp_path), [again])
    assert result.state == "SUCCEEDED"
    assert f"from {step}" in result.log


def _until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def _running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
