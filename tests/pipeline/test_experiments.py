"""The experiments that come with the project fit together before anybody waits for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mien.evaluation.paper_table import PUBLISHED
from mien.params.project import load_params
from mien.stages.plans import arms_of
from mien.stages.train_generator import resolve
from tests.pipeline.conftest import make_context

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = {p.stem: load_params(p) for p in sorted((ROOT / "params").glob("*.yaml"))}


def recipe(experiment, name, tmp_path, smoke_params):
    context = make_context(tmp_path, tmp_path / "cache", smoke_params)
    return resolve(replace(context, params=EXPERIMENTS[experiment]), name)


@pytest.mark.parametrize("experiment", ["engines", "paper"])
@pytest.mark.parametrize("name", ["identities", "expressions"])
def test_ready_weights_are_used_under_the_recipe_of_the_stack(
    experiment, name, tmp_path, smoke_params
):
    """One training serves all experiments: the same recipe, whatever else they ask."""
    mine, stack = (recipe(e, name, tmp_path, smoke_params) for e in (experiment, "stack"))
    assert mine.digest == stack.digest
    assert mine.given.weights == Path("weights") / name


@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS))
def test_pools_are_as_large_as_the_largest_draw(experiment):
    """Every arm finds its units, those that want more of a class included."""
    params = EXPERIMENTS[experiment]
    for protocol in params.sweep.protocols:
        for arm in arms_of(params.sweep, protocol):
            if not arm.pool or arm.kind == "more_real":
                continue
            blend = params.sweep.blends.get(arm.pool)
            pools = blend.pools if blend else [arm.pool]
            times = max(blend.factors.values(), default=1) if blend else 1
            least = min(params.synthesise[pool].units for pool in pools) * len(pools)
            assert arm.ratio * times <= least


def test_the_published_experiment_has_the_published_arms():
    """Ratios, people, seeds and picture as in the paper; two protocols."""
    params = EXPERIMENTS["paper"]
    assert [r.ratio for r in PUBLISHED if r.ratio] == params.sweep.ratios
    assert params.sweep.synthetic_only == 1
    assert params.sweep.seeds == 5
    assert params.split.counts == {"train": 109, "validation": 10, "test": 25}
    assert (params.preprocess.size_px, params.preprocess.channels) == (64, "gray")
    assert params.sweep.pools == ["stack"]
