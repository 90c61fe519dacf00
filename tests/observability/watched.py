"""A model that gives its features out, the pictures it is asked about, and its training version."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.evaluation.drift_reference import make_reference
from mien.evaluation.drift_sketch import Projection
from mien.imaging.encode import encode_png
from mien.recognition.onnx_run import open_session
from mien.recognition.package import Golden, PackageSpec, write_package

SIDE, WIDTH = 16, 10
OUTPUTS = {"probabilities": 6, "logits": 6, "features": WIDTH}


def network(seed):
    """An ONNX file: (N, 16, 16) uint8 → probabilities, logits, features."""
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 0.003, (SIDE * SIDE, WIDTH)).astype(np.float32)
    head = rng.normal(0, 1.0, (WIDTH, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "body"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "watched",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in OUTPUTS.items()],
        [numpy_helper.from_array(body, "body"), numpy_helper.from_array(head, "head")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def pictures(seed, n, *, brighter=0):
    """Pictures (N, 16, 16) uint8 of a kind; brighter ones are of another."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(110 + brighter, 40, (n, SIDE, SIDE)), 0, 255).astype(np.uint8)


def asked(model, images):
    """Everything the network says."""
    return dict(
        zip(OUTPUTS, open_session(model).run(list(OUTPUTS), {"images": images}), strict=True)
    )


def watched_package(folder, seed=0, *, reference=True, draws=200):
    """A whole package; without a reference as those of earlier releases are."""
    model = network(seed)
    said = asked(model, pictures(1, 8))
    held = asked(model, pictures(2, 400))
    made = make_reference(
        [str(e) for e in EKMAN_SIX],
        Projection.fit(asked(model, pictures(3, 300))["features"]),
        held["probabilities"],
        held["features"],
        [str(i // 2) for i in range(400)],
        draws=draws,
    )
    spec = PackageSpec(
        EKMAN_SIX,
        False,
        PreprocessSpec(size_px=SIDE, detector="none"),
        1.0,
        trial=f"watched-{seed}",
        figures={"accuracy": 0.5},
        variants={"fp32": 0.5},
        features=WIDTH if reference else 0,
    )
    answers = {name: said[name] for name in ("probabilities", "logits")}
    golden = Golden(pictures(1, 8), answers)
    kept = {"fp32": made.to_arrays()} if reference else None
    return write_package(folder, spec, {"fp32": model}, {"fp32": golden}, None, kept)


def encoded(images):
    """The same as PNG."""
    return [encode_png(image) for image in images]
