"""A package takes along what its training version looked like, and nobody's face."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from mien.evaluation.drift import compare
from mien.evaluation.drift_reference import Reference
from mien.evaluation.drift_sketch import Sketch
from mien.recognition.onnx_run import open_session
from mien.recognition.package import read_package, write_checksums
from mien.stages import register
from tests.pipeline.test_register import Kept


def test_the_reference_is_what_each_variant_says_of_validation(done):
    """The same faces, judged by the network that is served, in 8 bits too."""
    context = replace(done, models=Kept())
    register.run(context)
    package = context.models.given[0][1]
    challenger = context.read_json("decide", "decision.json")["challenger"]
    faces = register._material(context, challenger).validation
    for variant in package.spec.variants:
        reference = Reference.from_arrays(package.reference(variant))
        session = open_session(package.model(variant).read_bytes())
        probabilities, features = session.run(
            ["probabilities", "features"], {"images": faces.images}
        )
        assert features.shape == (len(faces), package.spec.features)
        said = Sketch.of(probabilities, reference.projection.of(features))
        np.testing.assert_array_equal(said.classes, reference.sketch.classes)
        np.testing.assert_allclose(said.total, reference.sketch.total, rtol=1e-3, atol=1e-2)
        assert reference.people == len(set(faces.subjects))
        assert reference.classes == tuple(str(e) for e in package.spec.expressions)
        assert compare(reference, [said]).verdict in ("none", "not_enough_data")
        rows = [len(a) for a in reference.to_arrays().values() if a.ndim]
        assert len(faces) not in rows  # nothing in it lies face by face
    assert "features" not in package.golden().answers


def test_a_package_of_an_earlier_release_is_read_and_has_none(done, tmp_path):
    """Neither features nor a reference: everything else as before."""
    context = replace(done, models=Kept())
    register.run(context)
    new = context.models.given[0][1]
    old = tmp_path / "old"
    old.mkdir()
    for file in new.folder.iterdir():
        if file.name != "reference.npz":
            (old / file.name).write_bytes(file.read_bytes())
    described = json.loads((old / "package.json").read_text())
    del described["features"]
    (old / "package.json").write_text(json.dumps(described))
    write_checksums(old)
    found = read_package(old)
    assert found.reference() is None
    assert found.spec == replace(new.spec, features=0)
    assert "features" not in found.spec.outputs
    assert new.spec.outputs["features"] == new.spec.features > 0
