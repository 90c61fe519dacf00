"""Faces on their way into the network: the same bytes as in training; and the gate's own faces."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from mien.adapters.serving.gate import USES, FaceGate
from mien.adapters.serving.local import Champion, LocalServing
from mien.adapters.serving.promotion import Promoter
from mien.adapters.serving.state import Served
from mien.adapters.triton.onnx_host import OnnxHost
from mien.core.errors import MienError, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.manifest import Provenance
from mien.core.preprocess import PreprocessSpec
from mien.core.sample import Item, Sample
from mien.core.serving import ModelLineage, Query
from mien.datasets.table import read
from mien.imaging.decode import decode
from mien.imaging.encode import encode_png
from mien.params.gate import GateParams
from mien.registry.read import open_version
from mien.registry.write import write_version
from mien.stages.preprocess import prepare
from tests.integration.serving.tiny import SIDE, tiny_package

# Training


class Quiet:
    """What preparing asks of a context: where assets are, and whom to tell."""

    assets = None

    def progress(self, event):
        """Tell nobody."""


@pytest.mark.parametrize("detector", ["none", "haar"])
@pytest.mark.parametrize("channels", ["gray", "rgb"])
def test_the_same_file_gives_the_same_bytes_in_training_and_in_serving(
    tmp_path, detector, channels
):
    """Photos through the training stage and through serving: not one pixel differs."""
    photos = list(read("demo_web", None, {"subjects": 2, "images_per_cell": 1, "seed": 3}).items)[
        :4
    ]
    version = open_version(_written(tmp_path / "raw", photos))
    spec = PreprocessSpec(detector=detector, size_px=64, channels=channels)
    context: Any = Quiet()
    prepare(context, "faces", version, spec, tmp_path / "faces")
    trained = {
        item.sample.id: decode(item.image)
        for item in open_version(tmp_path / "faces").items()
        if not item.sample.failure
    }
    host = OnnxHost(tmp_path / "repository")
    serving = LocalServing(Promoter(tmp_path / "serving", None, host), host, None)
    package = tiny_package(tmp_path / "package", preprocess=spec)
    served = Served("expression", "1", package.digest, "expression-1", "fp32", "")
    import threading

    champion = Champion(
        served, package.spec, ModelLineage("expression", "1", ""), threading.local()
    )
    compared = 0
    for photo in photos:
        made = serving.prepare(Query(photo.image, max_faces=1), champion)
        if photo.sample.id in trained:
            (image, _), *_ = made
            np.testing.assert_array_equal(image, trained[photo.sample.id])
            compared += 1
    assert compared >= 2


def _written(folder, items, **provenance):
    write_version(
        iter(items),
        folder,
        name="faces",
        provenance=Provenance(maker="test", **provenance),
        licences={},
        duplicates="keep",
    )
    return folder


# The gate

SPEC = PreprocessSpec(size_px=SIDE)


def bright_faces(people=30):
    """Faces whose expression is the brightest of six pairs of rows."""
    rng = np.random.default_rng(0)
    for person in range(people):
        for index, expression in enumerate(EKMAN_SIX):
            pixels = rng.integers(0, 120, (SIDE, SIDE), dtype=np.uint8)
            pixels[2 * index : 2 * index + 2] += 100
            sample = Sample(
                id=f"gate/{person:03d}-{expression}",
                source="gate",
                origin="real",
                subject=f"gate:{person:03d}",
                expression=expression,
            )
            yield Item(sample, encode_png(pixels))


def seeing_weights(strength):
    """Weights that look at the right rows."""
    weights = np.zeros((SIDE, SIDE, 6))
    for index in range(6):
        weights[2 * index : 2 * index + 2, :, index] = strength
    return weights.reshape(SIDE * SIDE, 6)


@pytest.fixture
def gate(tmp_path):
    """A gate over a written version."""
    folder = _written(tmp_path / "gate", bright_faces(), params=asdict(SPEC))
    return FaceGate(folder, GateParams(set="gate"), tmp_path / "uses")


def test_the_gate_lets_a_model_pass_that_sees_and_none_that_does_not(gate, tmp_path):
    """Real faces from a version, real answers of both networks; each use leaves a line."""
    good = tiny_package(tmp_path / "good", weights=seeing_weights(0.002))
    blind = tiny_package(tmp_path / "blind", weights=seeing_weights(0.0))
    first = {c.check: c.passed for c in gate(good, "fp32", None)}
    assert first == {"chance": True, "hog": True, "ece": True, "golden": True}
    refused = {c.check: c.passed for c in gate(blind, "fp32", good)}
    assert (refused["macro_f1"], refused["recall"], refused["golden"]) == (False, False, True)
    same = {c.check: c.passed for c in gate(good, "fp32", good)}
    assert all(same.values())
    assert len((tmp_path / "uses" / USES).read_text().splitlines()) == 3


def test_a_gate_that_the_challenger_has_seen_is_refused(gate, tmp_path):
    """By its people, or as a whole set."""
    seen = tiny_package(tmp_path / "seen", saw=("gate:003",))
    with pytest.raises(WrongState, match="gate:003"):
        gate(seen, "fp32", None)
    digest = open_version(gate.version).info.digest
    whole = tiny_package(tmp_path / "whole", lineage={"set:gate": digest})
    with pytest.raises(WrongState, match="GATE_SET_SEEN"):
        gate(whole, "fp32", None)


def test_a_gate_prepared_otherwise_is_refused(gate, tmp_path):
    """Faces of another size or crop would judge another model."""
    other = tiny_package(tmp_path / "other", preprocess=replace(SPEC, eye_line=0.4))
    with pytest.raises(WrongState, match="GATE_SET"):
        gate(other, "fp32", None)


def test_a_machine_without_the_gates_faces_fetches_them(gate, tmp_path):
    """Whole and verified, once; a damaged copy judges nobody, and is not kept."""
    good = tiny_package(tmp_path / "good", weights=seeing_weights(0.002))
    here = tmp_path / "here" / "gate"
    far = FaceGate(here, GateParams(set="gate"), tmp_path / "uses", f"file://{gate.version}")
    assert [c.passed for c in far(good, "fp32", None)] == [True] * 4
    assert open_version(here).info.digest == open_version(gate.version).info.digest
    lost = FaceGate(tmp_path / "lost", GateParams(set="gate"), tmp_path / "uses", "file:///no/such")
    with pytest.raises(MienError):
        lost(good, "fp32", None)
    shard = next((gate.version / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    other = FaceGate(tmp_path / "other", GateParams(set="gate"), far.uses, f"file://{gate.version}")
    with pytest.raises(MienError):
        other(good, "fp32", None)
    assert not (tmp_path / "other").exists()
