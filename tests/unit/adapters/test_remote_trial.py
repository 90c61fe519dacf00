"""Trials whose plan lies in an object store: fetched, run, put back, the marker last."""

import json

import fsspec
import pytest

from mien.adapters.executors.remote_trial import run_trial
from mien.core.errors import Corrupt, Interrupted, NotFound, Unavailable
from mien.core.hooks import never_cancelled
from tests.contract.stores import bucket_url, object_store


@pytest.fixture(scope="module")
def store():
    with object_store():
        yield


@pytest.fixture
def bucket(store):
    """An empty bucket with a plan, its rows, and a set that lies there too."""
    url = bucket_url()
    plan = {"key": "k", "sets": [{"name": "faces", "folder": f"{url}/faces"}]}
    write(f"{url}/trial/plan.json", json.dumps(plan))
    for name in ("trial/rows.npz", "faces/images.npy", "faces/affect.npy"):
        write(f"{url}/{name}", name)
    return url


def write(uri, text):
    with fsspec.open(uri, "w") as file:
        file.write(text)


def read(uri):
    with fsspec.open(uri, "r") as file:
        return file.read()


def names(url):
    system, path = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return sorted(p.removeprefix(path + "/") for p in system.find(path))


class Trial:
    """Counts to two; stops at one the first time, its count kept as a checkpoint."""

    def __init__(self, interrupted=False):
        self.interrupted = interrupted
        self.runs = 0

    def __call__(self, plan):
        self.runs += 1
        folder = plan.parent
        described = json.loads(plan.read_text())
        (faces,) = described["sets"]
        with open(f"{faces['folder']}/images.npy") as file:  # noqa: PTH123  as NumPy would
            assert file.read() == "faces/images.npy"
        assert (folder / "rows.npz").read_text() == "trial/rows.npz"
        checkpoint = folder / "checkpoint" / "state.safetensors"
        if self.interrupted and not checkpoint.exists():
            checkpoint.parent.mkdir()
            checkpoint.write_text("one")
            raise Interrupted("stop")
        said = checkpoint.read_text() if checkpoint.exists() else "none"
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text("w")
        (folder / "predictions.npz").write_text("p")
        (folder / "result.json").write_text(json.dumps({"from": said}))
        checkpoint.unlink(missing_ok=True)


def test_a_remote_trial_is_run_once(bucket, tmp_path):
    """Its results lie beside its plan; a second run finds them; nothing stays here but the set."""
    trial = Trial()
    for _ in range(2):
        run_trial(f"{bucket}/trial/plan.json", tmp_path, trial, never_cancelled)
    assert trial.runs == 1
    assert names(f"{bucket}/trial") == [
        "files.json",
        "model/weights",
        "plan.json",
        "predictions.npz",
        "result.json",
        "rows.npz",
    ]
    assert f"{bucket}/faces" in read(f"{bucket}/trial/plan.json"), "the plan stays as it was"
    assert [p.name for p in (tmp_path / "fetched").iterdir() if p.is_dir()] == []


def test_another_machine_goes_on(bucket, tmp_path):
    """Interrupted here, the checkpoint lies there; another machine goes on from it."""
    trial = Trial(interrupted=True)
    with pytest.raises(Interrupted):
        run_trial(f"{bucket}/trial/plan.json", tmp_path / "one", trial, never_cancelled)
    assert "checkpoint/state.safetensors" in names(f"{bucket}/trial")
    assert "result.json" not in names(f"{bucket}/trial")
    run_trial(f"{bucket}/trial/plan.json", tmp_path / "two", trial, never_cancelled)
    assert json.loads(read(f"{bucket}/trial/result.json")) == {"from": "one"}
    assert "checkpoint/state.safetensors" not in names(f"{bucket}/trial")


def test_what_is_missing_or_broken_is_named(bucket, tmp_path):
    """No plan, no rows, no plan that can be read."""
    with pytest.raises(NotFound) as caught:
        run_trial(f"{bucket}/none/plan.json", tmp_path, Trial(), never_cancelled)
    assert caught.value.reason == "PLAN_MISSING"
    write(f"{bucket}/trial/plan.json", "{")
    with pytest.raises(Corrupt) as caught:
        run_trial(f"{bucket}/trial/plan.json", tmp_path, Trial(), never_cancelled)
    assert caught.value.reason == "PLAN"


def test_a_store_that_lets_nobody_in(bucket, tmp_path):
    """A bucket that cannot be written to is Unavailable, and the trial is not done."""
    trial = Trial()

    def run(plan):
        trial(plan)
        system, path = fsspec.core.url_to_fs(bucket)
        system.rm(path.partition("/")[0], recursive=True)  # its bucket goes meanwhile

    with pytest.raises((Unavailable, NotFound)):
        run_trial(f"{bucket}/trial/plan.json", tmp_path, run, never_cancelled)


def test_a_path_is_run_where_it_is(tmp_path):
    """A path, or the same as a file URI, is handed on as it is."""
    seen = []
    plan = tmp_path / "a b" / "plan.json"
    for uri in (str(plan), plan.as_uri()):
        run_trial(uri, tmp_path, seen.append, never_cancelled)
    assert seen == [plan, plan]
