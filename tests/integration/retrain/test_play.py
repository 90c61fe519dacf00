"""A retraining from the change of a parameter to the challenger: real git, DVC, MLflow and gate.

Here the pipeline takes a second; ``test_whole_play.py`` does the same with the real one.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import pytest
from filelock import FileLock

from mien.adapters.serving.gate import USES
from mien.cli import main
from mien.compose import RETRAININGS, make_retraining
from mien.core.errors import Unavailable
from mien.core.serving import CHALLENGER, CHAMPION, MODEL
from mien.recognition.package import read_package
from mien.settings import load_settings
from mien.stages import retrain
from mien.stages.retrain_change import Change
from mien.stages.retrain_doors import Request
from tests.integration.retrain import quick_pipeline
from tests.integration.retrain.runner import PARAMS, ROOT, git, set_scene
from tests.integration.serving.tiny import tiny_package

WORSE = Change(overrides=("sweep.first_seed=1",))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A tracking database without a run; making one takes seconds, copying does not."""
    from mien.adapters.mlflow.models import MlflowModels

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowModels(f"sqlite:///{file}").versions()
    return file


@pytest.fixture
def play(tmp_path, empty_database, monkeypatch):
    """A project whose pipeline takes a second, and the registry that all share."""
    params = copy.deepcopy(PARAMS)
    params["sweep"]["first_seed"] = 0
    params["gate"] |= {"margin": 0.1, "recall_drop": 0.2}
    files = {"quick_pipeline.py": (ROOT / quick_pipeline.__file__).read_text()}
    scene = set_scene(tmp_path, params, quick_pipeline.stages(), files)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    for name, value in scene.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    monkeypatch.setattr(retrain, "package_of", _package)
    return scene


def _package(context, _models):
    """The package of the model that the pipeline decided for."""
    trial = context.read_json("decide", "decision.json")["challenger"]["trial"]
    folder = context.cache / "packages" / trial
    shutil.rmtree(folder, ignore_errors=True)
    weights = quick_pipeline.weights_of(context.params.sweep.first_seed)
    return tiny_package(folder, weights=weights, trial=trial)


@pytest.fixture
def doors(play, monkeypatch):
    """What a retraining in a clone needs."""
    clone = play.clone()
    monkeypatch.chdir(clone)
    return opened(clone)


def opened(clone):
    """Open a clone as the verb does."""

    def refused(*_given):
        raise AssertionError("nobody asked for that")

    settings = load_settings(clone)
    home = clone / "server" / "serving"
    return make_retraining(clone, settings, home=home, champion=refused, comment=refused)


def steps_of(doors):
    """The steps that are in the one journal there is, in order."""
    (file,) = doors.folder.glob("*/journal.jsonl")
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def test_from_a_parameter_to_the_challenger(play, doors):
    """A push that fails promotes nothing; the next run completes; a worse model is refused."""
    models = doors.context().models
    hook = play.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho the disk is full; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Unavailable, match="the disk is full"):
        retrain.run(doors, Request(Change()))
    assert (models.pointed(MODEL, CHALLENGER), play.tip()) == (None, "")
    hook.unlink()

    done = retrain.run(doors, Request(Change()))
    assert (done.state, done.commit) == ("promoted", play.tip())
    assert models.get(f"{MODEL}@{CHALLENGER}").name == done.model == "expression/1"
    assert (steps_of(doors).count("gate"), steps_of(doors).count("push")) == (1, 1)
    uses = doors.root / "server" / "serving" / USES
    assert len(uses.read_text().splitlines()) == 1
    report = done.report.read_text()
    assert "passed the gate" in report
    assert report == play.shown("retrain/main", "data/metrics/retrain/report.md") + "\n"
    assert "data/preprocess/blind" in play.shown("retrain/main", "dvc.lock")
    assert git(play.origin, "rev-parse", "retrain/main^") == play.tip("main")
    assert retrain.run(doors, Request(Change())).again

    before = (doors.root / "params.yaml").read_text()
    worse = retrain.run(opened(doors.root), Request(WORSE))
    assert worse.state == "refused"
    assert "macro-F1 -" in worse.why
    assert "against the champion" in worse.report.read_text()
    assert "`sweep.first_seed=1`" in worse.report.read_text()
    assert "| summary.steps.test.r0 |" in worse.report.read_text()
    assert (doors.root / "params.yaml").read_text() == before
    assert (models.pointed(MODEL, CHALLENGER), play.tip()) == ("1", done.commit)
    assert retrain.run(opened(doors.root), Request(WORSE)).again
    assert len(uses.read_text().splitlines()) == 2


def test_of_two_at_once_one_yields_or_waits(tmp_path, monkeypatch, capsys):
    """The lock of a working copy; the one that waited goes on when the other has ended."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / RETRAININGS
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"):
        assert main.run(["retrain"]) == 1
    assert "RETRAINING_RUNS" in capsys.readouterr().err
    assert main.run(["retrain", "--wait", "60"]) == 2
    assert "NO_GIT" in capsys.readouterr().err


def test_what_is_asked_may_come_by_environment(tmp_path, monkeypatch):
    """Several are parted by spaces; empty is nothing; options before the verb count too."""
    asked = []

    def remembered(_doors, request):
        asked.append(request)
        raise Unavailable("ENOUGH", "enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mien.compose.make_retraining", lambda *_given, **_named: None)
    monkeypatch.setattr(retrain, "run", remembered)
    for name, value in {"SET": "a.b=1 c.d=[1,2]", "RATIO": "1 5", "DATASET": "", "PR": ""}.items():
        monkeypatch.setenv(f"RETRAIN_{name}", value)
    assert main.run(["--set", "e.f=2", "retrain", "--promote", "champion"]) == 1
    (request,) = asked
    assert request.change == Change(("e.f=2", "a.b=1", "c.d=[1,2]"), (1, 5))
    assert (request.promote, request.pull_request) == (CHAMPION, "")


class Killed(BaseException):
    """Stands for SIGKILL: nobody expects it."""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step", ["begin", "verify", "pipeline", "gate", "push", "commit", "challenger", "end"]
)
def test_killed_around_any_step_the_next_run_completes(play, doors, monkeypatch, step, when):
    """Before a step's line is written, its work done; or after it."""
    note = retrain.Journal.note

    def killing(self, name, inputs, work):
        if name != step:
            return note(self, name, inputs, work)
        result = work() if when == "before" else note(self, name, inputs, work)
        raise Killed(result)

    with monkeypatch.context() as patch:
        patch.setattr(retrain.Journal, "note", killing)
        with pytest.raises(Killed):
            retrain.run(doors, Request(Change(overrides=("decide.min_effect=0.05",))))
    models = doors.context().models
    if models.pointed(MODEL, CHALLENGER) is not None:  # never before the data and the commit
        assert "min_effect: 0.05" in play.shown("retrain/main", "params.yaml")
    monkeypatch.chdir(play.clone("another") if step == "end" else doors.root)
    again = opened(play.folder / "another" if step == "end" else doors.root)
    done = retrain.run(again, Request(Change(overrides=("decide.min_effect=0.05",))))
    assert (done.state, done.commit) == ("promoted", play.tip())
    assert models.pointed(MODEL, CHALLENGER) == "1"
    assert "min_effect: 0.05" in play.shown("retrain/main", "params.yaml")


@pytest.mark.slow
def test_what_another_request_left_unfinished_is_taken_back(play, doors, monkeypatch):
    """A change of parameters that was killed before its end does not leak into the next one."""

    def killing(_noted):
        raise Killed

    with pytest.raises(Killed):
        retrain.run(replace(doors, repro=killing), Request(WORSE))
    assert "first_seed: 1" in (doors.root / "params.yaml").read_text()
    done = retrain.run(doors, Request(Change()))
    assert done.state == "promoted"
    assert "first_seed: 0" in play.shown("retrain/main", "params.yaml")


@pytest.mark.slow
def test_a_refused_model_that_a_person_registers_is_taken(play, doors):
    """What they registered is the challenger; the same request then goes through."""
    retrain.run(doors, Request(Change()))
    assert retrain.run(opened(doors.root), Request(WORSE)).state == "refused"
    context = doors.context()
    there = context.models.get(f"{MODEL}@{CHALLENGER}").lineage.model_digest
    made = [f for f in (context.cache / "packages").iterdir() if f.name != "registered"]
    (refused,) = (f for f in made if read_package(f).digest != there)
    context.models.register(MODEL, refused)
    done = retrain.run(opened(doors.root), Request(WORSE))
    assert (done.state, done.model) == ("promoted", "expression/2")
    assert "first_seed: 1" in play.shown("retrain/main", "params.yaml")


@pytest.mark.slow
def test_what_was_merged_adds_nothing(play, doors, monkeypatch):
    """The branch's result comes to main, which starts a retraining: no commit, the same model."""
    first = retrain.run(doors, Request(Change(overrides=("decide.min_effect=0.05",))))
    author = play.folder / "author"
    git(author, "fetch", "-q", "origin", "retrain/main")
    git(author, "merge", "-q", "--no-ff", "-m", "Merge", "FETCH_HEAD")
    git(author, "push", "-q", "origin", "main")
    merged = play.clone("merged")
    monkeypatch.chdir(merged)
    done = retrain.run(opened(merged), Request(Change()))
    assert (done.state, done.model, done.commit) == ("promoted", first.model, play.tip("main"))
    assert play.tip() == first.commit
    assert "registered already" in done.report.read_text()


@pytest.mark.slow
def test_the_champion_is_moved_only_when_asked_and_through_the_gate(play, doors, monkeypatch):
    """With `--promote champion`; one that serving's gate refuses leaves the challenger moved."""
    from mien.cli.serving_verbs import serving

    monkeypatch.setenv("MIEN_TRITON", "none")

    def champion(model):
        with serving(doors.root / "server" / "serving") as found:
            return found.promote(model)

    asking = replace(doors, champion=champion)
    retrain.run(asking, Request(Change()))
    models = doors.context().models
    assert models.pointed(MODEL, CHAMPION) is None
    done = retrain.run(asking, Request(Change(), promote=CHAMPION))
    assert models.get(f"{MODEL}@{CHAMPION}").name == done.model
    assert retrain.run(asking, Request(Change(), promote=CHAMPION)).again


@pytest.mark.slow
def test_two_clones_the_later_push_changes_nothing(play, doors, monkeypatch):
    """The branch was moved meanwhile: the slower one promotes nothing, and completes afterwards."""
    slow = play.clone("slow")

    def push():
        monkeypatch.chdir(doors.root)
        retrain.run(doors, Request(Change()))  # the other one, from begin to end
        monkeypatch.chdir(slow)
        return data.push()

    monkeypatch.chdir(slow)
    change = Change(overrides=("decide.min_effect=0.05",))
    mine = opened(slow)
    data = mine.data

    class Late:
        pull = data.pull

    late = Late()
    late.push = push
    with pytest.raises(Unavailable, match="BRANCH_MOVED"):
        retrain.run(replace(mine, data=late), Request(change))
    first = play.tip()
    models = doors.context().models
    assert models.pointed(MODEL, CHALLENGER) == "1"
    done = retrain.run(opened(slow), Request(change))
    assert (done.state, done.commit) == ("promoted", play.tip())
    assert git(play.origin, "rev-parse", "retrain/main^2") == first
