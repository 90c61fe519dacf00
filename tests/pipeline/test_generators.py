"""Generators in a project: trained, used, filtered, judged; and refused where they saw too much."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from mien.core.errors import Exhausted, Interrupted, Invalid, NotFound, WrongState
from mien.core.hooks import never_cancelled
from mien.evaluation.filtering import Filter
from mien.generators.trained import load_generator
from mien.params.generators import FacesParams
from mien.params.project import parse_params
from mien.registry.read import open_version
from mien.stages import ingest, judge_generator, split, synthesise, train_generator
from mien.stages.closures import pool_closures
from mien.stages.faces import learned_faces
from mien.stages.plans import plan_trials
from mien.stages.pool_faces import PoolFaces
from mien.stages.preprocess import run as preprocess
from mien.stages.split import read_splits
from mien.stages.sweep import load_sets
from tests.pipeline.conftest import make_context

SIX = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
SEVEN = [*SIX[:4], "neutral", *SIX[4:]]


def web(first, subjects, expressions=SEVEN):
    """Rendered faces to learn from, described in place."""
    return {
        "database": {
            "reader": "demo_web",
            "params": {
                "subjects": subjects,
                "first_subject": first,
                "expressions": expressions,
                "size_px": 32,
            },
        }
    }


def scorer(first, subjects):
    return {
        "faces": web(first, subjects),
        "classifier": {"network": "small", "width": 0.5},
        "kimg": 0.3,
    }


@pytest.fixture(scope="session")
def params():
    return {
        "experiment": "generators",
        "expressions": SIX,
        "ingest": {
            "lab": {
                "reader": "demo_lab",
                "params": {"subjects": 12, "expressions": SEVEN, "size_px": 32},
            }
        },
        "split": {"database": "lab", "counts": {"train": 4, "validation": 4, "test": 4}},
        "train_generator": {
            "faces": {
                "preset": "stargan",
                "faces": web(0, 6),
                "expressions": SEVEN,
                "channels": "rgb",
                "teacher": scorer(100, 6),
                "params": {
                    "kimg": 0.064,
                    "batch": 16,
                    "width": 8,
                    "blocks": 1,
                    "d_width": 8,
                    "evaluations": 2,
                },
            }
        },
        "synthesise": {
            "translated": {
                "engine": "translate",
                "identities": "photos",
                "units": 2,
                "params": {"generator": "faces"},
            }
        },
        "judge_generator": {
            "pools": ["translated"],
            "judge": scorer(200, 10),
            "real": web(300, 16),
            "faces": 50,
            "cas_kimg": 0.2,
        },
        "preprocess": {
            "detector": "none",
            "size_px": 32,
            "channels": "gray",
            "sets": {"lab": "ingest/lab", "translated": "synthesise/translated"},
        },
        "sweep": {
            "pools": ["translated"],
            "ratios": [1],
            "seeds": 1,
            "classifier": {"network": "small", "width": 0.5},
            "steps": {"kimg": 0.2, "batch": 32, "evaluations": 1},
        },
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory, params):
    """A project with a trained generator."""
    folder = tmp_path_factory.mktemp("generators")
    context = make_context(folder, folder / "cache", params)
    ingest.run(context)
    split.run(context)
    train_generator.run(context)
    return context


def changed(context, params, tmp_path, **sections):
    """The same project with other parameters, in a folder of its own."""
    root = tmp_path / "project"
    shutil.copytree(context.root / "data", root / "data")
    return replace(context, root=root, params=parse_params({**params, **sections}))


def test_a_generator_leaves_weights_sheets_and_what_it_saw(trained):
    """The folder holds all that is needed to use it and to keep it from what it saw."""
    folder = trained.folder("train_generator", "faces")
    generator = load_generator(folder / "generator", "translate")
    assert generator.preset == "stargan"
    assert [str(c) for c in generator.classes] == SEVEN
    people = {s.split(":")[0] for s in generator.closure.subjects}
    assert people == {"demo_web"}
    assert len(generator.closure.subjects) == 12  # its own six and its teacher's
    assert len(generator.closure.digests) == 6 * 7 + 6 * 7 + 1  # and the teacher itself
    assert list((folder / "sheets").glob("*.png"))
    assert json.loads((folder / "history.json").read_text())[-1]["kimg"] == 0.064
    assert trained.tracker.runs["run0"]["name"] == "generator faces"


def test_a_finished_training_is_found_again(trained, monkeypatch):
    """The same recipe on the same faces is not trained twice, not even after its output is gone."""
    folder = trained.folder("train_generator", "faces")
    before = load_generator(folder / "generator", "translate").digest
    shutil.rmtree(folder)
    monkeypatch.setattr(train_generator, "_train", None)
    train_generator.run(trained)
    assert load_generator(folder / "generator", "translate").digest == before


def test_ready_weights_replace_training_only_under_their_own_recipe(trained, params, tmp_path):
    """Weights of another recipe are refused: their figures would be a lie."""
    ready = tmp_path / "weights"
    shutil.copytree(trained.folder("train_generator", "faces") / "generator", ready)
    section = params["train_generator"]["faces"]
    context = changed(
        trained, params, tmp_path, train_generator={"faces": {**section, "weights": str(ready)}}
    )
    train_generator.run(context)
    folder = context.folder("train_generator", "faces")
    assert load_generator(folder / "generator", "translate").preset == "stargan"
    other = {**section, "weights": str(ready), "params": {**section["params"], "kimg": 1.0}}
    context = replace(context, params=parse_params({**params, "train_generator": {"faces": other}}))
    with pytest.raises(Invalid) as error:
        train_generator.run(context)
    assert error.value.reason == "OTHER_RECIPE"


def test_only_faces_with_an_attribute_are_learned_from(trained):
    """`where` chooses by attribute; an attribute that nobody has is an error."""
    given = {**web(0, 6), "where": {"occlusion": "none"}}
    spec, classes = trained.params.preprocess.spec, trained.params.classes
    found = learned_faces(trained, FacesParams.model_validate(given), classes, spec)
    assert 0 < len(found.faces) < 36
    assert {s.attributes["occlusion"] for s in found.samples} == {"none"}
    wrong = FacesParams.model_validate({**given, "where": {"occlusion": "wall"}})
    with pytest.raises(Invalid) as error:
        learned_faces(trained, wrong, classes, spec)
    assert error.value.reason == "EMPTY_SET"


def test_a_pool_is_made_from_neutral_photos(trained):
    """Every training person shows every expression once a unit, under their own subject id."""
    synthesise.run(trained)
    manifest = open_version(trained.folder("synthesise", "translated")).manifest
    assert len(manifest) == 2 * 4 * 6
    people = set(read_splits(trained)[0].parts["train"])
    assert set(manifest.subjects) == people
    assert not list((trained.cache / "pools").glob("*/*"))  # the parts are gone


def test_an_intensity_that_changes_nothing_is_neither_promised_nor_recorded(
    trained, params, tmp_path
):
    """A GAN on noise has one strength a face: a range is refused; without one, none is noted."""
    small = {"kimg": 0.032, "batch": 16, "ghost": 16, "width": 4, "evaluations": 1}
    made = {"preset": "acgan", "faces": web(0, 6), "params": small}
    pool = {"engine": "noise", "units": 1, "params": {"generator": "faces"}}
    changes = {"train_generator": {"faces": made}, "judge_generator": {}}
    asked = {"synthesise": {"translated": {**pool, "intensity": [0.6, 1.0]}}}
    context = changed(trained, params, tmp_path, **changes, **asked)
    train_generator.run(context)
    with pytest.raises(Invalid) as error:
        synthesise.run(context)
    assert error.value.reason == "INTENSITY_UNSUPPORTED"
    other = {**params, **changes, "synthesise": {"translated": pool}}
    synthesise.run(replace(context, params=parse_params(other)))
    manifest = open_version(context.folder("synthesise", "translated")).manifest
    assert len(manifest) == 4 * 6
    assert {s.intensity for s in manifest} == {None}
    before = open_version(trained.folder("synthesise", "translated")).manifest
    assert all(0.6 <= s.intensity <= 1.0 for s in before)


def test_an_interrupted_pool_goes_on(trained, params, tmp_path, monkeypatch):
    """Killed after a part, started again: the same pool, and the finished part is not made anew."""
    monkeypatch.setattr("mien.stages.pool_faces.PART", 3)
    asked = []
    make = PoolFaces._made

    def counted(self, identities, size, before):
        asked.append(before)
        yield from make(self, identities, size, before)

    monkeypatch.setattr(PoolFaces, "_made", counted)
    context = changed(trained, params, tmp_path)
    stops = iter([False, True])
    with pytest.raises(Interrupted):
        synthesise.run(replace(context, cancelled=lambda: next(stops)))
    assert asked == [0, 3]
    synthesise.run(replace(context, cancelled=never_cancelled))
    assert asked == [0, 3, 3, 6]
    again = open_version(context.folder("synthesise", "translated")).info.digest
    monkeypatch.undo()
    synthesise.run(trained)
    assert again == open_version(trained.folder("synthesise", "translated")).info.digest


@pytest.fixture
def passing(trained, params, tmp_path, monkeypatch):
    """Run a filtered pool whose thresholds are all the same; returns its context."""

    def run(threshold):
        pool = {**params["synthesise"]["translated"], "units": 1}
        pool["filter"] = {"scorer": scorer(400, 40), "tries": 2}
        context = changed(trained, params, tmp_path, synthesise={"translated": pool})
        fitted = Filter(context.params.classes, (threshold,) * 6)
        monkeypatch.setattr(synthesise, "fit_filter", lambda *_, **__: fitted)
        synthesise.run(context)
        return context

    return run


def test_a_filter_that_nothing_passes_says_so(passing, tmp_path):
    """Where no identity is complete the pool is refused, not cut or padded."""
    with pytest.raises(Exhausted) as error:
        passing(1.01)
    assert error.value.reason == "FILTER_TOO_STRICT"
    left = open_version(tmp_path / "project" / "data" / "synthesise" / "translated")
    assert "filter" not in left.info.provenance.parents  # the pool before is untouched


def test_what_passes_a_filter_is_balanced(passing):
    """Who filtered is provenance; how often the filter errs is written down."""
    context = passing(0.0)
    version = open_version(context.folder("synthesise", "translated"))
    assert set(version.manifest.counts().values()) == {4}
    assert "filter" in version.info.provenance.parents
    notes = json.loads((context.folder("notes") / "filter-translated.json").read_text())
    assert set(notes["thresholds"]) == set(SIX)
    assert 0 <= notes["figures"]["recall"][0] <= 1


def test_a_maker_that_saw_the_judged_is_refused_by_name(trained, params, tmp_path):
    """A generator trained on the whole database saw the people it would be judged on."""
    synthesise.run(trained)
    section = {
        **params["train_generator"]["faces"],
        "faces": {"database": "other"},
        "teacher": None,
    }
    ingested = {**params["ingest"], "other": params["ingest"]["lab"]}  # the same people again
    context = changed(
        trained, params, tmp_path, train_generator={"faces": section}, ingest=ingested
    )
    ingest.run(context, name="other")
    train_generator.run(context)
    preprocess(context)
    sets = load_sets(context)
    with pytest.raises(Invalid) as error:
        list(plan_trials(context.params, read_splits(context), sets, pool_closures(context)))
    assert error.value.reason == "MAKER_SAW_JUDGED"
    held_out = read_splits(context)[0].parts["validation"]
    assert any(person in error.value.message for person in held_out)


def test_training_on_the_split_takes_training_people_only(trained, params, tmp_path):
    """A generator of the sweep's own database learns from those who train, nobody else."""
    section = {**params["train_generator"]["faces"], "faces": {"database": "lab"}, "teacher": None}
    context = changed(trained, params, tmp_path, train_generator={"faces": section})
    train_generator.run(context)
    folder = context.folder("train_generator", "faces") / "generator"
    seen = load_generator(folder, "translate").closure.subjects
    assert seen == set(read_splits(context)[0].parts["train"])


def test_a_pool_is_judged_on_one_page(trained):
    """Figures, verdict and page; an untrained translator is not fit."""
    synthesise.run(trained)
    judge_generator.run(trained)
    folder = trained.folder("judge_generator", "translated")
    stored = json.loads((folder / "figures.json").read_text())
    assert stored["verdict"]["verdict"] == "unfit"
    assert stored["figures"]["balance"]["least"] == stored["figures"]["balance"]["most"]
    page = (folder / "index.html").read_text()
    assert "translated" in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_judge_that_knows_the_generators_people_is_refused(trained, params, tmp_path):
    """The judge must have learned from people that no maker saw."""
    synthesise.run(trained)
    judged = {**params["judge_generator"], "judge": scorer(0, 6)}
    context = changed(trained, params, tmp_path, judge_generator=judged)
    with pytest.raises(Invalid) as error:
        judge_generator.run(context)
    assert error.value.reason == "MAKER_SAW_JUDGED"


def test_what_is_missing_is_named(trained, params, tmp_path):
    """Unknown generators, presets and engines, and stages that have not run."""
    with pytest.raises(NotFound):
        train_generator.run(trained, name="nobody")
    section = {**params["train_generator"]["faces"], "preset": "nothing"}
    context = changed(trained, params, tmp_path, train_generator={"faces": section})
    with pytest.raises(NotFound) as error:
        train_generator.run(context)
    assert error.value.reason == "UNKNOWN_PRESET"
    shutil.rmtree(context.folder("train_generator", "faces"))
    with pytest.raises(WrongState) as missing:
        synthesise.run(context)
    assert missing.value.reason == "STAGE_MISSING"
    assert "train-generator" in missing.value.hint


def test_pools_must_name_trained_generators(params):
    """A pool whose generator is nowhere trained is an error of the parameters."""
    wrong = {"translated": {**params["synthesise"]["translated"], "params": {"generator": "x"}}}
    with pytest.raises(Invalid) as error:
        parse_params({**params, "synthesise": wrong})
    assert "train_generator.x" in str(error.value.details) + error.value.message
