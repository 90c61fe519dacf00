"""Models that take milliseconds to make: one product over the pixels, a network all the same."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.recognition.onnx_run import open_session
from mien.recognition.package import Golden, LinearBaseline, PackageSpec, write_package

SIDE = 16


def tiny_model(weights, *, affect=False):
    """An ONNX file: (N, 16, 16) uint8 → probabilities, logits[, affect]."""
    inside = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    outputs = {"probabilities": 6, "logits": 6}
    if affect:
        inside += [
            helper.make_node("MatMul", ["flat", "both"], ["raw"]),
            helper.make_node("Tanh", ["raw"], ["affect"]),
        ]
        outputs["affect"] = 2
    held = [numpy_helper.from_array(weights.astype(np.float32), "weights")]
    if affect:
        held.append(numpy_helper.from_array(weights[:, :2].astype(np.float32), "both"))
    graph = helper.make_graph(
        inside,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in outputs.items()
        ],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_weights(seed):
    """Weights that see another expression in a brighter row of pixels."""
    return np.random.default_rng(seed).normal(0, 0.002, (SIDE * SIDE, 6))


def tiny_package(folder, seed=0, *, weights=None, affect=False, detector="none", **given):
    """A whole package with golden answers of its own."""
    model = tiny_model(tiny_weights(seed) if weights is None else weights, affect=affect)
    images = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE), dtype=np.uint8)
    session = open_session(model)
    names = [o.name for o in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {"images": images}), strict=True))
    spec = PackageSpec(
        EKMAN_SIX,
        affect,
        PreprocessSpec(size_px=SIDE, detector=detector),
        1.0,
        trial=f"trial-{seed}",
        dataset_digest=f"rows-{seed}",
        figures={"accuracy": 0.5},
        variants={"fp32": 0.5},
    )
    baseline = given.pop("baseline", LinearBaseline(np.zeros((6, 36)), np.zeros(6)))
    from dataclasses import replace

    spec = replace(spec, **given)
    return write_package(folder, spec, {"fp32": model}, {"fp32": Golden(images, answers)}, baseline)
