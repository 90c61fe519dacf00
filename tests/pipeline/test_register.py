"""The challenger of a finished pipeline becomes a package that can be served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.core.errors import NotFound, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.serving import ModelInfo, ModelLineage
from mien.recognition.onnx_run import open_session
from mien.recognition.package import GOLDEN_TOLERANCE, read_package
from mien.stages import register


class Kept:
    """A registry of models that remembers what it was given."""

    def __init__(self):
        self.given = []

    def register(self, name, package, *, run="", alias="challenger"):
        found = read_package(package)
        self.given.append((name, found, run, alias))
        return ModelInfo(ModelLineage(name, "1", found.digest), found.spec.expressions, 64)


def test_the_challenger_is_packaged_with_all_that_serving_and_gate_need(done):
    """Network, preprocessing, labels, digests, golden answers, people seen, HOG + SVM."""
    context = replace(done, models=Kept())
    info = register.run(context, tracked="run0")
    ((name, package, run, alias),) = context.models.given
    assert (name, run, alias, info.name) == ("expression", "run0", "challenger", "expression/1")
    spec = package.spec
    decided = context.read_json("decide", "decision.json")["challenger"]
    assert spec.trial == decided["trial"]
    assert spec.temperature == decided["temperature"]
    assert spec.expressions == EKMAN_SIX
    assert spec.preprocess == context.params.preprocess.spec
    assert len(spec.dataset_digest) == 64
    real = set(context.prepared("lab").manifest.subjects)
    blind = set(context.prepared("blind").manifest.subjects)
    assert real & set(spec.saw)
    assert not blind & set(spec.saw)
    assert spec.lineage["set:lab"] == context.prepared("lab").info.digest
    assert spec.figures["accuracy"] == pytest.approx(decided["validation_accuracy"], abs=0.01)
    assert package.baseline().weights.shape[0] == 6
    assert "fp32" in spec.variants
    lost = spec.variants["fp32"] - spec.figures["accuracy_int8"]
    assert ("int8" in spec.variants) == (lost <= register.INT8_LOSS)
    for variant in spec.variants:
        golden = package.golden(variant)
        session = open_session(package.model(variant).read_bytes())
        said = session.run(list(golden.answers), {"images": golden.images})
        answers = dict(zip(golden.answers, said, strict=True))
        assert golden.deviation(answers) <= GOLDEN_TOLERANCE
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1.0, atol=1e-5)


def test_registering_again_takes_the_same_package(done):
    """It is found in the cache, by the trial and everything else that decides it."""
    context = replace(done, models=Kept())
    register.run(context)
    register.run(context)
    first, second = (given[1] for given in context.models.given)
    assert first == second


def test_what_is_missing_is_said(done, tmp_path):
    """No registry, no verdict, no trial in this cache: each with what to do."""
    with pytest.raises(WrongState, match="NO_MODEL_REGISTRY"):
        register.run(done)
    with pytest.raises(WrongState, match="STAGE_MISSING"):
        register.run(replace(done, models=Kept(), root=tmp_path))
    with pytest.raises(NotFound, match="TRIAL_MISSING"):
        register.run(replace(done, models=Kept(), cache=tmp_path))
