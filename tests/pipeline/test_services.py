"""The same project with services: other processes do the work, nothing in the results differs."""

from __future__ import annotations

import copy as copying
import json
import shutil
from contextlib import ExitStack

import pytest

from mien.adapters.executors.service import ServiceExecutor
from mien.compose import make_context as compose
from mien.core.errors import NotFound, WrongState
from mien.core.expression import Expression
from mien.core.generation import FaceRequest
from mien.params.project import parse_params
from mien.registry.read import open_version
from mien.stages.pipeline import run_stage
from mien.stages.served_engine import ServedEngine
from mien.wire.generation_client import GenerationClient
from services.chassis.testing import running
from services.generation.mount import mount as mount_generation
from services.training.mount import mount as mount_training
from tests.contract.untrained import untrained

from .conftest import make_context


@pytest.fixture
def services(tmp_path, monkeypatch):
    """Generation and training beside a project that the settings send there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    monkeypatch.setenv("MIEN_WORKERS", "2")
    with ExitStack() as stack:

        def serve(name, mount, root=tmp_path / "project"):
            target = stack.enter_context(running(name, mount, work_roots=(root,), grace_s=10.0))
            monkeypatch.setenv(f"MIEN_{name.upper()}_TARGET", target)

        yield serve


def fewer(params):
    """Four trials instead of all."""
    params = copying.deepcopy(params)
    kept = {k: v for k, v in params["sweep"].items() if k not in ("synthetic_only", "shuffled")}
    params["sweep"] = kept | {"ratios": [1], "seeds": 1, "protocols": ["steps"]}
    return params


def test_pools_made_by_a_service_are_the_same_versions(copy, smoke_params, services, tmp_path):
    """Invented ones and those from photos: the digests and the provenance are equal."""
    root, _ = copy
    before = {n: open_version(root / "data/synthesise" / n).info for n in ("invented", "photos")}
    services("generation", mount_generation)
    context = compose(parse_params(smoke_params), root=root)
    assert isinstance(context.generation, GenerationClient)
    run_stage(context, "synthesise")
    after = {n: open_version(root / "data/synthesise" / n).info for n in before}
    assert after == before


@pytest.mark.slow
def test_a_sweep_on_a_service_says_the_same(copy, smoke_params, services, tmp_path):
    """Every prediction of every trial, byte for byte."""
    root, cache = copy
    params = fewer(smoke_params)
    run_stage(make_context(root, cache, params), "sweep")
    here = {f: (root / "data/sweep" / f).read_bytes() for f in ("predictions.parquet",)}
    trials = json.loads((root / "data/sweep/trials.json").read_text())
    services("training", mount_training)
    context = compose(parse_params(params), root=root)
    assert isinstance(context.executor, ServiceExecutor)
    run_stage(context, "sweep")
    assert {f: (root / "data/sweep" / f).read_bytes() for f in here} == here
    again = json.loads((root / "data/sweep/trials.json").read_text())
    timing = {"train_s", "wall_s"}
    plain = [[{k: t[k] for k in t.keys() - timing} for t in each] for each in (trials, again)]
    assert plain[0] == plain[1]
    assert len(again) == 4
    done = list((tmp_path / "cache/trials").glob("*/result.json"))
    assert len(done) == 4  # made anew, in the service's workers


@pytest.fixture
def gan(copy, smoke_params):
    """A project with a pool of a generator that was trained (a little) before."""
    root, cache = copy
    params = copying.deepcopy(smoke_params)
    pool = {"engine": "noise", "identities": "invented", "units": 1, "seed": 0}
    params["synthesise"] = {"gan": pool | {"params": {"generator": "faces"}}}
    params["sweep"]["pools"] = ["gan"]
    params["preprocess"]["sets"] = {
        "lab": "ingest/lab",
        "blind": "ingest/blind",
        "gan": "synthesise/gan",
    }
    params["train_generator"] = {"faces": {"preset": "acgan", "faces": {"database": "lab"}}}
    shutil.copytree(untrained("noise"), root / "data/train_generator/faces/generator")
    run_stage(make_context(root, cache, params), "synthesise")
    return root, params


@pytest.mark.parametrize("place", ["project/data/train_generator/faces", "zoo/best"])
def test_a_generator_is_found_by_its_weights(place, gan, services, tmp_path):
    """Whatever the service calls it, and wherever it lies there."""
    root, params = gan
    before = open_version(root / "data/synthesise/gan").info
    if not (tmp_path / place).exists():
        shutil.copytree(root / "data/train_generator/faces", tmp_path / place)
    services("generation", mount_generation, tmp_path / place.split("/")[0])
    run_stage(compose(parse_params(params), root=root), "synthesise")
    assert open_version(root / "data/synthesise/gan").info == before


def test_a_generator_that_the_service_has_not_is_an_error(gan, services, tmp_path):
    """Never other faces in its place."""
    root, params = gan
    (tmp_path / "empty").mkdir()
    services("generation", mount_generation, tmp_path / "empty")
    with pytest.raises(NotFound, match="UNKNOWN_GENERATOR"):
        run_stage(compose(parse_params(params), root=root), "synthesise")


def test_faces_of_another_engine_are_refused(gan, services, tmp_path):
    """A service of another release, or with other weights under that name."""
    root, params = gan
    services("generation", mount_generation)
    context = compose(parse_params(params), root=root)
    assert context.generation is not None
    engine = ServedEngine("affect", "f" * 64, context.generation, {"size_px": 32})
    request = FaceRequest("a", 0, "somebody", Expression.ANGER)
    with pytest.raises(WrongState, match="OTHER_ENGINE"):
        list(engine.synthesise([request]))
