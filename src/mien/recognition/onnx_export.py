"""Export a classifier to ONNX: from uint8 faces to calibrated probabilities, in one graph.

Normalisation and temperature are part of the graph, so that a server cannot get them wrong.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.core.arrays import Float, UInt8
from mien.core.errors import WrongState
from mien.recognition.files import SavedModel
from mien.recognition.networks import Classifier
from mien.recognition.predict import with_weights
from mien.training.tensors import planes, to_network

INPUT = "images"
MAX_BATCH = 256
TOLERANCE = 1e-4
GOLDEN_FACES = 8


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX model with what it must answer.

    Attributes:
        model: the file's bytes, weights included. Input ``images`` (N, S, S[, 3]) uint8, N in
            1..256; outputs by head: ``probabilities`` (N, K), ``logits`` (N, K), ``affect`` (N, 2);
            always ``features`` (N, D), which the heads see.
        golden_images: (8, S, S[, 3]) uint8.
        golden: output name → what torch says to them, float32.
        deviation: largest difference of ONNX Runtime from ``golden``.
        features: width of ``features``.
    """

    model: bytes
    golden_images: UInt8
    golden: dict[str, Float]
    deviation: float
    features: int


class _Served(nn.Module):
    """A classifier with what surrounds it in service."""

    def __init__(self, network: Classifier, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Judge faces (N, S, S[, 3]) uint8."""
        features = self.network.features(to_network(planes(images)))
        said = self.network.heads(features)
        outputs: list[Tensor] = []
        if self.network.expression is not None:
            outputs += [torch.softmax(said.logits / self.temperature, 1), said.logits]
        if self.network.affect is not None:
            outputs.append(said.affect)
        return (*outputs, features)


def export_onnx(saved: SavedModel) -> Exported:
    """Export a model and compare ONNX Runtime with torch on golden faces.

    Raises:
        Corrupt: ``WEIGHTS`` when the weights are not of the model's network.
        WrongState: ``EXPORT_DIFFERS`` when the exported model answers otherwise than torch, by
            more than 1e-4.
    """
    spec = saved.spec
    served = _Served(with_weights(spec, saved.weights), saved.temperature).eval()
    images = _golden_images((GOLDEN_FACES, *spec.image_shape))
    names = ["probabilities", "logits"] if "expression" in spec.heads else []
    names += ["affect"] if "affect" in spec.heads else []
    names.append("features")
    with torch.no_grad():
        said = served(torch.from_numpy(images))
    # Features have no scale of their own; that they are right, the heads' answers show.
    golden = {n: v.numpy() for n, v in zip(names, said, strict=True) if n != "features"}
    model = _export(served, images, names)
    deviation = _deviation(model, images, golden)
    if not deviation <= TOLERANCE:
        raise WrongState(
            "EXPORT_DIFFERS",
            f"the exported model differs from torch by {deviation:.2g}",
            hint="keep the safetensors model; try another release of torch or onnxruntime",
        )
    return Exported(model, images, golden, deviation, served.network.feature_size)


def _golden_images(shape: tuple[int, ...]) -> UInt8:
    """Smooth random pictures that use the whole range; noise alone would tell little."""
    rng = np.random.default_rng(0)
    channels = shape[3] if len(shape) == 4 else 1
    coarse = torch.from_numpy(rng.uniform(0, 255, (shape[0], channels, 8, 8)))
    fine = nn.functional.interpolate(coarse, shape[1:3], mode="bicubic").clamp(0, 255)
    pictures = fine.permute(0, 2, 3, 1) if len(shape) == 4 else fine[:, 0]
    found: UInt8 = np.ascontiguousarray(pictures.round().to(torch.uint8).numpy())
    return found


def _export(served: nn.Module, images: UInt8, names: list[str]) -> bytes:
    chatter = logging.getLogger("torch.onnx")  # what it does not find and nobody needs
    level = chatter.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        chatter.setLevel(logging.ERROR)
        program = torch.onnx.export(
            served,
            (torch.from_numpy(images),),
            dynamo=True,
            external_data=False,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},),
            verbose=False,
        )
    chatter.setLevel(level)
    if program is None:
        raise WrongState(
            "EXPORT_DIFFERS",
            "torch exported nothing",
            hint="keep the safetensors model; try another release of torch or onnxruntime",
        )
    data: bytes = _without_origins(program.model_proto).SerializeToString()
    return data


def _without_origins(model: Any) -> Any:
    """Remove where in whose source code each node came from: places of the exporting machine."""
    graph = model.graph
    functions = [node for function in model.functions for node in function.node]
    for part in (model, graph, *graph.node, *graph.value_info, *graph.initializer, *functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output, *model.functions):
        value.ClearField("metadata_props")
    return model


def _deviation(model: bytes, images: UInt8, golden: dict[str, Float]) -> float:
    """Compare at the exported batch size and at 1."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    whole = session.run(list(golden), {INPUT: images})
    single = session.run(list(golden), {INPUT: images[:1]})
    worst = 0.0
    for want, all_faces, one in zip(golden.values(), whole, single, strict=True):
        worst = max(worst, float(np.abs(all_faces - want).max()))
        worst = max(worst, float(np.abs(one - want[:1]).max()))
    return worst
