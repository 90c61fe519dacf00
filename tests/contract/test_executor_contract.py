"""What every executor promises, on every executor: this process, workers of it, a cluster."""

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from mien.core.tasks import Task
from tests.contract.executors import every, launcher, processes, run, running, task, until


@every
def test_runs_all_and_answers_in_order(executors, tmp_path):
    """Results come in the order of the tasks; each key is told about once; progress ends full."""
    told, events = [], []
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(3)]
    results = run(executors.make(), tasks, progress=events.append, on_done=told.append)
    assert [r.key for r in results] == [t.key for t in tasks]
    assert all((r.state, r.exit_code, r.tries) == ("SUCCEEDED", 0, 1) for r in results)
    assert sorted(r.key for r in told) == sorted(t.key for t in tasks)
    assert (events[-1].done, events[-1].total) == (3, 3)
    assert all((tmp_path / f"t{i}.done").exists() for i in range(3))


@every
def test_no_tasks_is_no_work(executors):
    """An empty list is answered by an empty list."""
    assert list(run(executors.make(), [])) == []


@every
def test_found_done_is_not_run(executors, tmp_path):
    """A task whose marker exists is SUCCEEDED with no try; a file URI is a marker too."""
    done = task(tmp_path, "a", "exit")
    Path(done.done).touch()
    uri = Task("b", ("exit", "1"), Path(done.done).as_uri())
    results = run(executors.make(), [done, uri])
    assert [(r.state, r.tries) for r in results] == [("SUCCEEDED", 0)] * 2


@every
def test_failure_is_tried_again(executors, tmp_path):
    """An unforeseen exit code is tried again until it works."""
    flaky = task(tmp_path, "a", "flaky", tmp_path / "count", 2)
    (result,) = run(executors.make(retries=2), [flaky])
    assert (result.state, result.tries) == ("SUCCEEDED", 3)


@every
def test_retries_end(executors, tmp_path):
    """A task that always fails is FAILED after its retries, the others are unharmed."""
    tasks = [Task("bad", ("exit", "1"), str(tmp_path / "no")), task(tmp_path, "good", "ok")]
    bad, good = run(executors.make(retries=1), tasks)
    assert (bad.state, bad.exit_code, bad.tries) == ("FAILED", 1, 2)
    assert good.state == "SUCCEEDED"


@every
@pytest.mark.parametrize("code", [2, 42])
def test_permanent_failure_is_not_tried_again(executors, tmp_path, code):
    """The user's mistake and a permanent failure are final."""
    (result,) = run(executors.make(), [Task("a", ("exit", str(code)), str(tmp_path / "n"))])
    assert (result.state, result.exit_code, result.tries) == ("FAILED", code, 1)


@every
def test_success_without_marker_is_not_believed(executors, tmp_path):
    """Exit code 0 without the marker is a failure."""
    tasks = [Task("a", ("nothing",), str(tmp_path / "no"))]
    (result,) = run(executors.make(retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 1)


@every
def test_duplicate_keys_run_once(executors, tmp_path):
    """The same key is the same work, done once, answered twice."""
    once = task(tmp_path, "a", "once", tmp_path / "count", 0)
    results = run(executors.make(), [once, once])
    assert [r.state for r in results] == ["SUCCEEDED"] * 2
    assert (tmp_path / "count").read_text() == "x"


@processes
def test_two_launchers_run_a_key_once(executors, tmp_path):
    """Two launchers given the same task at the same time do not both run it."""
    once = task(tmp_path, "a", "once", tmp_path / "count", 0.5)
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(run(executors.make(), [once])))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.state for r in results] == ["SUCCEEDED"] * 2
    assert (tmp_path / "count").read_text() == "x"


@every
@pytest.mark.parametrize("slots", [1, 2])
def test_never_more_than_slots_at_once(executors, tmp_path, slots):
    """As many run at once as there are slots, and no more (inline: one)."""
    tasks = [task(tmp_path, f"t{i}", "span", 0.3) for i in range(2 * slots)]
    run(executors.make(slots=slots), tasks)
    spans = [tuple(map(float, Path(t.done).read_text().split())) for t in tasks]
    together = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert together <= (1 if executors.inline else slots)


@every
def test_log_is_captured(executors, tmp_path):
    """What the verb prints, and what native code writes, is in the result."""
    (result,) = run(executors.make(), [task(tmp_path, "a", "ok", "some words")])
    assert "some words" in result.log
    assert "native words" in result.log


@every
def test_the_log_of_a_failure_is_told(executors, tmp_path):
    """Why it failed is in the result of a task that failed."""
    (tmp_path / "shards").mkdir()
    tasks = [Task("s", ("shard", str(tmp_path / "shards"), "3"), str(tmp_path / "no"))]
    (result,) = run(executors.make(), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 42)
    assert "no shard 3" in result.log


@every
def test_environment_of_one_task_only(executors, tmp_path):
    """A task's environment does not leak into the next."""
    tasks = [
        task(tmp_path, "a", "env", "FLAVOUR", env={"FLAVOUR": "mint"}),
        task(tmp_path, "b", "env", "FLAVOUR"),
    ]
    run(executors.make(slots=1), tasks)
    assert [Path(t.done).read_text() for t in tasks] == ["mint", ""]


@processes
def test_cancel_keeps_a_checkpoint_and_goes_on_later(executors, tmp_path):
    """Cancelled work saves its state; the next run goes on from it; what never ran says so."""
    pid_file, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    tasks = [
        task(tmp_path, "a", "work", checkpoint, 150, pid_file),
        task(tmp_path, "b", "ok"),
    ]
    runner = executors.make(slots=1, grace_s=30)
    first, never = run(runner, tasks, cancelled=pid_file.exists)
    assert (first.state, first.exit_code) == ("CANCELLED", 143)
    assert (never.state, never.exit_code, never.tries) == ("CANCELLED", None, 0)
    step = int(checkpoint.read_text())
    assert 0 < step < 150
    again, other = run(runner, tasks)
    assert (again.state, other.state) == ("SUCCEEDED", "SUCCEEDED")
    assert f"from {step}" in again.log


@every
def test_what_has_not_started_is_cancelled(executors, tmp_path):
    """Asked to stop after the first, the others are CANCELLED without having run."""
    done = []
    results = run(
        executors.make(slots=1),
        [task(tmp_path, f"t{i}", "ok") for i in range(3)],
        cancelled=lambda: len(done) >= 1,
        on_done=done.append,
    )
    assert results[0].state == "SUCCEEDED"
    assert results[2].state == "CANCELLED"


@processes
def test_a_deaf_worker_is_killed_after_the_grace(executors, tmp_path):
    """A worker that ignores SIGTERM is killed when its grace is over."""
    pid_file = tmp_path / "pid"
    tasks = [Task("a", ("deaf", str(pid_file)), str(tmp_path / "no"))]
    (result,) = run(executors.make(grace_s=1), tasks, cancelled=pid_file.exists)
    assert result.state == "CANCELLED"
    until(lambda: not running(int(pid_file.read_text())))


@processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_fails_only_its_task(executors, tmp_path, number):
    """A task whose worker is killed is tried again in a fresh one; the others do not notice."""
    tasks = [task(tmp_path, f"t{i}", "ok") for i in range(3)]
    tasks.insert(1, task(tmp_path, "dying", "die", tmp_path / "count", int(number)))
    results = run(executors.make(), tasks)
    assert [r.state for r in results] == ["SUCCEEDED"] * 4
    assert [r.tries for r in results] == [1, 2, 1, 1]


@processes
def test_death_without_retry_says_the_signal(executors, tmp_path):
    """The exit code of a killed worker is 128 + the signal."""
    tasks = [task(tmp_path, "a", "die", tmp_path / "count", int(signal.SIGKILL))]
    (result,) = run(executors.make(retries=0), tasks)
    assert (result.state, result.exit_code) == ("FAILED", 137)


@processes
def test_work_of_a_killed_launcher_is_finished_by_the_next(executors, tmp_path):
    """Kill -9 of the launcher: the next one finishes the task, and no step is done twice.

    Workers of this machine end with it, their state saved; Jobs of a cluster run on, and are
    joined.
    """
    pid_file, checkpoint = tmp_path / "pid", tmp_path / "checkpoint"
    work = task(tmp_path, "a", "work", checkpoint, 300, pid_file)
    first = subprocess.Popen(launcher(executors.spec(slots=1), work))
    until(pid_file.exists)
    worker = int(pid_file.read_text())
    first.kill()
    first.wait()
    if not executors.outlives:
        until(lambda: not running(worker))
    (result,) = run(executors.make(slots=1), [work])
    assert result.state == "SUCCEEDED"
    begun = [int(step) for step in Path(f"{checkpoint}.began").read_text().split()]
    assert begun == [0] if executors.outlives else begun == sorted(set(begun))
    assert executors.outlives or begun[1] > 0
