"""Packages of models: what is written is read, and nothing that was altered."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.core.errors import Corrupt, NotFound
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.preprocess import PreprocessSpec
from mien.recognition.files import SavedModel
from mien.recognition.hog import HogSvm
from mien.recognition.hog_linear import called, fit_baseline
from mien.recognition.networks import build
from mien.recognition.onnx_export import export_onnx
from mien.recognition.onnx_run import open_session
from mien.recognition.package import (
    Golden,
    LinearBaseline,
    PackageSpec,
    read_package,
    write_package,
)
from mien.recognition.quantise import quantise
from mien.recognition.spec import ClassifierSpec


def made(folder, **changes):
    """A package whose model is no network: only the folder is looked at."""
    given = {"temperature": 1.5, "threshold": 0.4, "figures": {"accuracy": 0.5}, **changes}
    spec = PackageSpec(EKMAN_SIX, True, PreprocessSpec(), variants={"fp32": 0.5}, **given)
    golden = Golden(np.zeros((2, 64, 64), np.uint8), {"logits": np.ones((2, 6), np.float32)})
    linear = LinearBaseline(np.ones((6, 4)), np.zeros(6))
    return write_package(folder, spec, {"fp32": b"model"}, {"fp32": golden}, linear)


def test_what_is_written_is_read(tmp_path):
    """Spec, golden answers, baseline; the digest names the content."""
    package = made(tmp_path / "a", saw=("x:1",), lineage={"set:lab": "d"})
    again = read_package(tmp_path / "a")
    assert again == package
    assert again.spec.expressions == EKMAN_SIX
    assert again.spec.outputs == {"probabilities": 6, "logits": 6, "affect": 2}
    assert again.spec.saw == ("x:1",)
    np.testing.assert_array_equal(again.golden().answers["logits"], np.ones((2, 6)))
    assert again.baseline().weights.shape == (6, 4)
    assert made(tmp_path / "b", saw=("x:1",), lineage={"set:lab": "d"}).digest == package.digest
    assert made(tmp_path / "c").digest != package.digest


@pytest.mark.parametrize("what", ["model.onnx", "golden.npz", "package.json", "baseline.npz"])
def test_an_altered_or_missing_file_is_corrupt(tmp_path, what):
    """The file is named."""
    made(tmp_path / "a")
    file = tmp_path / "a" / what
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Corrupt, match=what) as damaged:
        read_package(tmp_path / "a")
    assert damaged.value.reason == "MODEL_FILES"
    file.unlink()
    with pytest.raises(Corrupt, match=what):
        read_package(tmp_path / "a")


def test_an_added_file_is_corrupt(tmp_path):
    """Nothing that was not written is part of it."""
    made(tmp_path / "a")
    (tmp_path / "a" / "more").write_text("x")
    with pytest.raises(Corrupt, match="more"):
        read_package(tmp_path / "a")


def test_no_package_is_not_found_and_a_newer_one_is_said_so(tmp_path):
    """Neither is taken for a damaged one of ours, or read half."""
    with pytest.raises(NotFound, match="PACKAGE_MISSING"):
        read_package(tmp_path)
    with pytest.raises(Corrupt, match="another release"):
        PackageSpec.from_json({**json.loads("{}"), "format": 99})


def test_golden_answers_tell_any_difference():
    """Missing outputs and other shapes are infinitely far."""
    golden = Golden(np.zeros((1, 8, 8), np.uint8), {"logits": np.zeros((1, 6), np.float32)})
    assert golden.deviation({"logits": np.full((1, 6), 0.5, np.float32)}) == 0.5
    assert golden.deviation({}) == float("inf")
    assert golden.deviation({"logits": np.zeros((2, 6), np.float32)}) == float("inf")


def test_hog_travels_as_plain_arrays():
    """The linear form calls what the trained machine calls."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32), dtype=np.uint8)
    labels = np.arange(60) % 3
    for label in range(3):  # something to learn: bright bars at different heights
        images[labels == label, 8 * label : 8 * label + 6] = 255
    linear = fit_baseline(images, labels, 3)
    np.testing.assert_array_equal(
        called(linear, images), HogSvm(32).fit(images, labels).predict(images)
    )
    two = fit_baseline(images[labels < 2], labels[labels < 2], 2)
    np.testing.assert_array_equal(called(two, images[labels < 2]), labels[labels < 2])
    assert fit_baseline(images, labels, 4) is None


def test_eight_bits_answer_nearly_the_same_from_a_quarter_of_the_file():
    """Static QDQ by faces that it will see."""
    import torch

    torch.manual_seed(0)
    classes = (Expression.ANGER, Expression.FEAR, Expression.SURPRISE)
    spec = ClassifierSpec("small", classes, size_px=32)
    exported = export_onnx(SavedModel(spec, build(spec).state_dict(), temperature=2.0))
    faces = np.random.default_rng(0).integers(0, 256, (32, 32, 32), dtype=np.uint8)
    small = quantise(exported.model, faces)
    assert len(small) < 0.5 * len(exported.model)
    want, said = (
        open_session(m).run(["probabilities"], {"images": faces})[0]
        for m in (exported.model, small)
    )
    assert np.abs(want - said).max() < 0.1
    assert (want.argmax(1) == said.argmax(1)).mean() > 0.8
    assert b"site-packages" not in exported.model  # nothing of the exporting machine
    assert b"stack_trace" not in exported.model
