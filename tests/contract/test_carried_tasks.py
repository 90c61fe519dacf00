"""Trials carried through a store and back, by whichever executor."""

import json
from pathlib import Path

import fsspec
import pytest

from mien.adapters.executors.artefacts import names
from mien.adapters.executors.carried_tasks import CarryingExecutor
from mien.adapters.executors.local import InlineExecutor
from mien.adapters.executors.remote_trial import run_trial
from mien.core.errors import EXIT_TERMINATED, Interrupted, MienError, Unavailable
from mien.core.hooks import never_cancelled
from mien.core.tasks import Task
from tests.contract.executors import run
from tests.contract.stores import bucket_url, object_store


@pytest.fixture(scope="module")
def s3():
    with object_store():
        yield


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """A folder, or a prefix in an object store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("s3")
    return bucket_url()


def planned(folder, key, text="faces"):
    """Write a trial as a sweep does: plan, rows, a set beside."""
    (folder / key).mkdir(parents=True)
    (folder / "set").mkdir(exist_ok=True)
    for name in ("images.npy", "affect.npy"):
        (folder / "set" / name).write_text(f"{text} {name}")
    (folder / key / "rows.npz").write_text(f"rows of {key}")
    plan = {"key": key, "sets": [{"name": "s", "folder": str(folder / "set")}]}
    (folder / key / "plan.json").write_text(json.dumps(plan))
    return Task(key, ("trial", f"{folder / key}/plan.json"), f"{folder / key}/result.json")


class Elsewhere:
    """A machine that runs trials by URI: its cache is its own."""

    def __init__(self, folder, store):
        self.cache = folder / "elsewhere"
        self.logs = folder / "logs"
        self.begun = []
        self.stops_at_first = False
        self.executor = CarryingExecutor(InlineExecutor(self.call, self.logs, 0), store)

    def call(self, argv):
        try:
            run_trial(argv[1], self.cache, self.trial, never_cancelled, mirror_s=0.05)
        except Interrupted:
            return EXIT_TERMINATED
        except MienError as error:
            print(f"mien: error: {error}")  # noqa: T201
            return error.exit_code
        return 0

    def trial(self, plan):
        described = json.loads(plan.read_text())
        (faces,) = described["sets"]
        assert Path(faces["folder"], "images.npy").read_text().endswith("images.npy")
        assert plan.with_name("rows.npz").read_text() == f"rows of {described['key']}"
        checkpoint = plan.parent / "checkpoint" / "state.safetensors"
        self.begun.append(checkpoint.read_text() if checkpoint.exists() else "")
        if self.stops_at_first and len(self.begun) == 1:
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.write_text("half way")
            raise Interrupted("preempted")
        (plan.parent / "model").mkdir(exist_ok=True)
        (plan.parent / "model" / "weights").write_text(f"weights of {described['key']}")
        plan.with_name("predictions.npz").write_text("p")
        plan.with_name("result.json").write_text("{}")


def test_results_come_back_as_if_made_here(store, tmp_path):
    """Model, predictions and marker lie beside the plan; the plan is as it was."""
    there = Elsewhere(tmp_path, store)
    tasks = [planned(tmp_path / "here", key) for key in ("a", "b")]
    before = [Path(t.argv[1]).read_text() for t in tasks]
    results = run(there.executor, tasks)
    assert [(r.key, r.state, r.tries) for r in results] == [
        ("a", "SUCCEEDED", 1),
        ("b", "SUCCEEDED", 1),
    ]
    for task, text in zip(tasks, before, strict=True):
        folder = Path(task.done).parent
        assert (folder / "model" / "weights").read_text() == f"weights of {task.key}"
        assert (folder / "predictions.npz").exists()
        assert Path(task.argv[1]).read_text() == text
    sets = {name.split("/")[0] for name in names(f"{store}/sets")}
    assert len(sets) == 1, "a set is put there once"


def test_what_is_done_there_is_only_brought_back(store, tmp_path):
    """Another launcher, or this one after it lost its disk, runs nothing again."""
    there = Elsewhere(tmp_path, store)
    task = planned(tmp_path / "here", "a")
    run(there.executor, [task])
    Path(task.done).unlink()
    (again,) = run(there.executor, [task])
    assert (again.state, again.tries, len(there.begun)) == ("SUCCEEDED", 0, 1)
    assert Path(task.done).exists()


def test_another_node_goes_on_from_the_checkpoint(s3, tmp_path):
    """A preempted trial is finished by a machine that never saw the first one's disk."""
    store = bucket_url()
    one = Elsewhere(tmp_path / "one", store)
    one.stops_at_first = True
    task = planned(tmp_path / "here", "a")
    (first,) = run(one.executor, [task])
    assert first.state == "CANCELLED"
    two = Elsewhere(tmp_path / "two", store)
    (second,) = run(two.executor, [task])
    assert (second.state, two.begun) == ("SUCCEEDED", ["half way"])


def test_begun_here_it_goes_on_there(store, tmp_path):
    """A checkpoint that lies beside the plan is carried, too."""
    there = Elsewhere(tmp_path, store)
    task = planned(tmp_path / "here", "a")
    checkpoint = tmp_path / "here" / "a" / "checkpoint" / "state.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_text("so far")
    (result,) = run(there.executor, [task])
    assert (result.state, there.begun) == ("SUCCEEDED", ["so far"])


@pytest.mark.parametrize("what", ["rows.npz", "images.npy"])
def test_what_was_damaged_in_the_store_is_not_trained_on(s3, tmp_path, what):
    """Every byte that is fetched is held against its digest: no result from a damaged set."""
    store = bucket_url()
    there = Elsewhere(tmp_path, store)
    task = planned(tmp_path / "here", "a")
    there.executor.carried([task])
    system, path = fsspec.core.url_to_fs(store)
    (damaged,) = [f for f in system.find(path) if f.endswith(what)]
    system.pipe_file(damaged, b"flipped")
    (result,) = run(there.executor, [task])
    assert (result.state, result.exit_code) == ("FAILED", 42)
    assert "ARTEFACT" in result.log
    assert not Path(task.done).exists()


def test_a_damaged_result_is_refused_and_made_again(s3, tmp_path):
    """What comes back damaged does not count as done, here or there."""
    store = bucket_url()
    there = Elsewhere(tmp_path, store)
    task = planned(tmp_path / "here", "a")
    (carried,) = there.executor.carried([task])
    there.call(carried.argv)
    system, path = fsspec.core.url_to_fs(carried.done.replace("result.json", "model/weights"))
    system.pipe_file(path, b"flipped")
    (result,) = run(there.executor, [task])
    assert (result.state, result.exit_code) == ("FAILED", 42)
    assert not Path(task.done).exists()
    (again,) = run(there.executor, [task])
    assert again.state == "SUCCEEDED"
    assert len(there.begun) == 2


def test_a_store_that_lets_nobody_in_is_said_before_anything_runs(s3, tmp_path):
    """No bucket, no work: nothing half-submitted."""
    there = Elsewhere(tmp_path, "s3://there-is-no-such-bucket/work")
    with pytest.raises(Unavailable) as caught:
        run(there.executor, [planned(tmp_path / "here", "a")])
    assert caught.value.reason == "STORE"
    assert there.begun == []
