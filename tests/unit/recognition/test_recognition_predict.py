"""Prediction, scoring, the classical baseline, export."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mien.core.errors import Corrupt, Invalid, WrongState
from mien.core.expression import EKMAN_SIX
from mien.recognition.files import SavedModel
from mien.recognition.hog import HogSvm
from mien.recognition.networks import build
from mien.recognition.onnx_export import export_onnx
from mien.recognition.predict import CnnScorer, predict
from mien.recognition.spec import ClassifierSpec


def weights_of(spec):
    import torch

    torch.manual_seed(0)
    return build(spec).state_dict()


def test_predictions_are_the_tables_evaluation_reads(small_spec, make_faces):
    """Ids, subjects, labels and classes pass through; the absent head has no columns."""
    faces = make_faces(10)
    said = predict(weights_of(small_spec), small_spec, faces)
    assert said.ids == faces.ids
    assert said.classes == small_spec.classes
    assert said.logits.dtype == np.float32
    assert said.affect.shape == said.affect_true.shape == (10, 0)


def test_the_batch_does_not_matter(small_spec, make_faces):
    """Faces judged one at a time or all at once get the same answer, to rounding."""
    faces, weights = make_faces(11), weights_of(small_spec)
    whole = predict(weights, small_spec, faces).logits
    assert np.allclose(whole, predict(weights, small_spec, faces, batch=4).logits, atol=1e-5)
    assert np.array_equal(whole, predict(weights, small_spec, faces).logits)


def test_weights_of_another_network_are_corrupt(small_spec, make_faces):
    """Weights that do not fit the spec are refused."""
    other = replace(small_spec, width=1.0)
    with pytest.raises(Corrupt) as error:
        predict(weights_of(other), small_spec, make_faces(3))
    assert error.value.reason == "WEIGHTS"


def test_wrong_sizes_are_refused(small_spec, make_faces):
    """Images of another size are an error with a hint, never resized silently."""
    with pytest.raises(Invalid, match=r"24.*16") as error:
        predict(weights_of(small_spec), small_spec, make_faces(3, size_px=24))
    assert "preprocess" in error.value.hint


def test_scorer(small_spec, make_faces):
    """The scorer gives probabilities that sum to 1, sharper when colder, and features."""
    faces = make_faces(10)
    scorer = CnnScorer(small_spec, weights_of(small_spec))
    said = scorer.probabilities(faces.images)
    assert said.shape == (10, 3)
    assert np.allclose(said.sum(1), 1.0, atol=1e-6)
    colder = CnnScorer(small_spec, weights_of(small_spec), temperature=0.5)
    assert (colder.probabilities(faces.images).max(1) > said.max(1)).all()
    features = scorer.features(faces.images)
    assert features.shape == (10, build(small_spec).feature_size)
    assert np.isfinite(features).all()


def test_hog_learns_and_refuses(make_faces):
    """The baseline learns easy faces; one class, none, wrong sizes and no training are errors."""
    train, test = make_faces(60, size_px=32), make_faces(30, seed=1, size_px=32)
    machine = HogSvm(32).fit(train.images, train.labels)
    assert (machine.predict(test.images) == test.labels).mean() > 0.9
    assert machine.scores(test.images).shape == (30, 3)
    two = train.take(train.labels < 2)
    assert HogSvm(32).fit(two.images, two.labels).scores(test.images).shape == (30, 2)
    with pytest.raises(Invalid, match="single class"):
        HogSvm(32).fit(train.images[::3], train.labels[::3])
    with pytest.raises(Invalid, match="no faces"):
        HogSvm(32).fit(train.images[:0], train.labels[:0])
    with pytest.raises(Invalid, match="32 px"):
        machine.predict(make_faces(3).images)
    with pytest.raises(Invalid, match="multiple of 8"):
        HogSvm(30)
    with pytest.raises(WrongState):
        HogSvm(32).predict(test.images)


@pytest.mark.parametrize(
    ("channels", "heads"), [("gray", ("expression",)), ("rgb", ("expression", "affect"))]
)
def test_exported_models_answer_as_torch_does(channels, heads, make_faces):
    """ONNX Runtime gives torch's answers to uint8 faces at batch sizes other than the exported."""
    import onnxruntime

    spec = ClassifierSpec(
        "small", EKMAN_SIX[:3], size_px=16, channels=channels, heads=heads, width=0.5
    )
    saved = SavedModel(spec, weights_of(spec), temperature=1.7)
    exported = export_onnx(saved)
    assert exported.deviation < 1e-4
    assert "affect" in exported.golden or heads == ("expression",)
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    faces = make_faces(37, channels=channels)
    (probabilities,) = session.run(["probabilities"], {"images": faces.images})
    want = predict(saved.weights, spec, faces).probabilities(1.7)
    assert np.allclose(probabilities, want, atol=1e-5)


def test_importing_specs_is_light():
    """The room itself and its specs load neither torch nor OpenCV nor scikit-learn."""
    code = (
        "import sys, mien.recognition, mien.recognition.spec, mien.recognition.arrays;"
        "assert not {'torch', 'cv2', 'sklearn', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
