"""A generator's training carried through a store: the project there, the generator back."""

import json
import os
from pathlib import Path

import fsspec
import pytest

from mien.adapters.executors.artefacts import names
from mien.adapters.executors.carried_project import bring_generator, carry_training, run_carried
from mien.core.errors import Corrupt, NotFound
from mien.core.tasks import Task
from tests.contract.stores import bucket_url, object_store


@pytest.fixture(scope="module", autouse=True)
def s3():
    with object_store():
        yield


@pytest.fixture
def task(tmp_path):
    """A project as a service has it, and its training's command line."""
    for name in ("ingest/lab/manifest", "split/split.json", "sweep/large", "train_generator/o/w"):
        file = tmp_path / "project" / "data" / name
        file.parent.mkdir(parents=True)
        file.write_text(name)
    (tmp_path / "params.yaml").write_text("the parameters")
    argv = (f"--project={tmp_path / 'project'}", f"--params={tmp_path / 'params.yaml'}")
    return Task("k", (*argv, "--set=a.b=1", "--done=x", "train-generator", "g"), "x")


class Trains:
    """Stands for mien: counts to two in its cache, stops at one the first time."""

    def __init__(self, code=0):
        self.code = code
        self.seen = []

    def __call__(self, argv):
        given = {k: v for k, _, v in (a.partition("=") for a in argv)}
        assert list(argv[-2:]) == ["train-generator", "g"]
        assert given["--set"] == "a.b=1"
        assert Path(given["--params"]).read_text() == "the parameters"
        project = Path(given["--project"])
        assert (project / "data/ingest/lab/manifest").read_text() == "ingest/lab/manifest"
        state = Path(os.environ["MIEN_CACHE"]) / "generators" / "recipe" / "checkpoint" / "state"
        self.seen.append(state.read_text() if state.exists() else "")
        Path(os.environ["MIEN_PROGRESS_FILE"]).write_text('{"done": 1}')
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text("half way")
        if self.code == 0:
            made = project / "data" / "train_generator" / "g" / "generator"
            made.mkdir(parents=True)
            (made / "weights").write_text("w")
        return self.code


def test_a_generator_comes_back(task, tmp_path):
    """Only what is learned from is carried; nothing stays on the machine that trained."""
    store, trains = bucket_url(), Trains()
    there, folder = carry_training(task, store)
    assert there.argv == ("train-generator", "--carried", folder)
    assert len(names(f"{store}/projects")) == 2
    for _ in range(2):
        assert run_carried(folder, tmp_path / "cache", trains) == 0
    assert len(trains.seen) == 1, "what is done is not done again"
    made = bring_generator(folder, tmp_path / "project", "g")
    assert (made / "generator" / "weights").read_text() == "w"
    assert names(f"{folder}/state") == []
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert left == []
    assert carry_training(task, store)[1] == folder, "the same work has the same place"


def test_another_node_goes_on_from_its_checkpoint(task, tmp_path):
    """What a preempted training kept lies in the store, and so does what it said last."""
    store, one, two = bucket_url(), Trains(code=143), Trains()
    _, folder = carry_training(task, store)
    assert run_carried(folder, tmp_path / "one", one) == 143
    assert "progress.json" in names(folder)
    assert run_carried(folder, tmp_path / "two", two) == 0
    assert two.seen == ["half way"]


def test_other_data_is_another_training(task, tmp_path):
    """The place is named by what is learned from, not by the project's folder."""
    store = bucket_url()
    first = carry_training(task, store)[1]
    (tmp_path / "project/data/ingest/lab/manifest").write_text("new faces")
    assert carry_training(task, store)[1] != first


def test_a_second_process_of_a_crew_puts_nothing_back(task, tmp_path, monkeypatch):
    """Both work in one folder; the first speaks for all."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "r")
    monkeypatch.setenv("RANK", "1")
    _, folder = carry_training(task, bucket_url())
    assert run_carried(folder, tmp_path / "cache", Trains()) == 0
    assert names(folder) == ["task.json"]


def test_what_was_damaged_is_not_learned_from_nor_taken(task, tmp_path):
    """Both ways, every file is held against its digest."""
    store = bucket_url()
    _, folder = carry_training(task, store)
    system, path = fsspec.core.url_to_fs(f"{store}/projects")
    whole = {name: system.cat_file(name) for name in system.find(path)}
    for name in whole:
        system.pipe_file(name, b"flipped")
    with pytest.raises(Corrupt, match="ARTEFACT"):
        run_carried(folder, tmp_path / "cache", Trains())
    for name, data in whole.items():
        system.pipe_file(name, data)
    assert run_carried(folder, tmp_path / "cache", Trains()) == 0
    made = json.loads(fsspec.open(f"{folder}/done.json").open().read())
    system, path = fsspec.core.url_to_fs(f"{folder}/made/{next(iter(made))}")
    system.pipe_file(path, b"flipped")
    with pytest.raises(Corrupt, match="ARTEFACT"):
        bring_generator(folder, tmp_path / "project", "g")
    assert not (tmp_path / "project/data/train_generator/g").exists()
    with pytest.raises(NotFound, match="ARTEFACT_MISSING"):
        bring_generator(folder, tmp_path / "project", "g")
