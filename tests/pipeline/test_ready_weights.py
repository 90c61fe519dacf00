"""The weights that come with the project: small, whole, and made by the recipe that names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.generators.engines import make_engine
from mien.generators.presets import preset
from mien.generators.requests import check_balance, plan_requests
from mien.generators.trained import load_generator
from mien.params.project import load_params
from mien.stages.train_generator import resolve
from tests.pipeline.conftest import make_context

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
PROJECTS = {str(f.relative_to(ROOT)): load_params(f) for f in FILES}
READY = [
    (project, name)
    for project, params in PROJECTS.items()
    for name, given in params.train_generator.items()
    if given.weights
]


@pytest.mark.parametrize(("project", "name"), READY)
def test_ready_weights_were_made_by_the_recipe_that_names_them(
    project, name, tmp_path, smoke_params
):
    """Parameters and weights belong together, and what was seen is written down."""
    params = PROJECTS[project]
    given = params.train_generator[name]
    context = replace(make_context(tmp_path, tmp_path / "cache", smoke_params), params=params)
    generator = load_generator(ROOT / given.weights, preset(given.preset).engine)
    assert generator.figures["recipe"] == resolve(context, name).digest
    assert len(generator.closure.digests) >= generator.figures["faces"]
    assert len(generator.closure.subjects) >= given.faces.database.params["subjects"] / 2
    assert PreprocessSpec(**generator.preprocess) == resolve(context, name).spec


def test_the_demo_and_the_stack_name_the_same_generators():
    """One training serves both, so the same sections stand in both files."""
    demo, stack = (PROJECTS[f].train_generator for f in ("params.yaml", "params/stack.yaml"))
    assert demo == stack
    assert {given.weights for given in demo.values()} == {
        Path("weights/identities"),
        Path("weights/expressions"),
    }


def test_the_readme_of_the_weights_names_their_digests():
    """Who replaces weights must say so where they are described."""
    text = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    for name, given in PROJECTS["params/stack.yaml"].train_generator.items():
        generator = load_generator(ROOT / "weights" / name, preset(given.preset).engine)
        assert generator.digest[:12] in text


def test_they_are_small():
    """At most 8 MB in all may live in the repository, and nothing but tensors and plain values."""
    files = [f for f in (ROOT / "weights").glob("*/*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 8_000_000
    assert {f.suffix for f in files} == {".json", ".safetensors"}


def test_the_stack_makes_balanced_faces_that_differ():
    """Invented people, each in every expression; no two alike, nobody without contrast."""
    params = PROJECTS["params.yaml"].synthesise["stack"].params
    placed = {
        part: {**own, "generator": str(ROOT / "weights" / own["generator"])}
        for part, own in params.items()
    }
    requests = plan_requests(pool="s", pool_seed=0, expressions=EKMAN_SIX, identities=8)
    faces = list(make_engine("stack", placed).synthesise(requests))
    cells = [(f.request.identity, f.request.expression) for f in faces]
    assert check_balance(cells, expressions=EKMAN_SIX) == 8
    assert all(f.image.shape == (64, 64, 3) and f.image.std() > 15 for f in faces)
    pictures = np.stack([f.image for f in faces]).reshape(8, 6, -1).astype(float)
    apart = np.abs(pictures[:, None] - pictures[None]).mean(axis=(2, 3))
    assert (apart[~np.eye(8, dtype=bool)] > 5).all()
