"""Ask a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.core.arrays import Float, UInt8
from mien.core.errors import Corrupt
from mien.core.faces import FaceArrays
from mien.core.scores import Predictions
from mien.recognition.arrays import check_faces
from mien.recognition.batches import Pool
from mien.recognition.networks import Classifier, build
from mien.recognition.spec import ClassifierSpec
from mien.training.device import place
from mien.training.precision import Device, Precision


def predict(
    model: Classifier | Mapping[str, Tensor],
    spec: ClassifierSpec,
    faces: FaceArrays,
    batch: int = 256,
    *,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> Predictions:
    """Judge faces.

    Args:
        model: a network, or weights of ``spec``'s network.
        spec: of the network.
        faces: to judge; labels and affect are passed through for evaluation.
        batch: faces at a time; bounds memory.
        device: where.
        precision: fp32 by default, so that figures do not depend on the processor.

    Raises:
        Invalid: ``EMPTY_SET``, ``IMAGE_SIZE``, ``LABEL_OUT_OF_RANGE``, ``NO_CUDA``.
        Corrupt: ``WEIGHTS`` when the weights are not of this network.
    """
    check_faces(faces, spec, "the set to judge")
    placement = place(device, precision)
    network = model if isinstance(model, Classifier) else with_weights(spec, model)
    network = network.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    logits, affect = network_outputs(network, Pool.of(faces, placement), batch)
    has_affect = "affect" in spec.heads
    return Predictions(
        ids=faces.ids,
        subjects=faces.subjects,
        labels=faces.labels,
        logits=logits,
        classes=spec.classes,
        affect=affect,
        affect_true=faces.affect if has_affect else np.empty((len(faces), 0), np.float32),
    )


def with_weights(spec: ClassifierSpec, weights: Mapping[str, Tensor]) -> Classifier:
    """Build a network and give it weights.

    Raises:
        Corrupt: ``WEIGHTS`` when names or shapes are not those of the network.
    """
    with torch.random.fork_rng(devices=[]):
        network = build(spec)
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise Corrupt(
            "WEIGHTS",
            f"the weights are not of this {spec.network!r} network: {error}",
            hint="restore the model's folder from a good copy, or train it again",
        ) from None
    return network.eval()


def network_outputs(network: Classifier, pool: Pool, batch: int) -> tuple[Float, Float]:
    """Run a network over a set in order: logits (N, K) and affect (N, 2), float32."""
    logits: list[Float] = []
    affect: list[Float] = []
    network.eval()
    with torch.inference_mode(), pool.placement.autocast():
        for start in range(0, len(pool.faces), batch):
            rows = np.arange(start, min(start + batch, len(pool.faces)))
            said = network(pool.batch(rows)[0])
            logits.append(said.logits.float().cpu().numpy())
            affect.append(said.affect.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(affect)


@dataclass(frozen=True, slots=True)
class CnnScorer:
    """A trained network as a ``Scorer``: for rooms that may not import this one.

    Attributes:
        spec: of the network.
        weights: its weights.
        temperature: the logits are divided by.
    """

    spec: ClassifierSpec
    weights: Mapping[str, Tensor]
    temperature: float = 1.0

    def probabilities(self, images: UInt8) -> Float:
        """Class probabilities (N, C) of images (N, S, S[, 3]) uint8; rows sum to 1."""
        faces = FaceArrays.of(images, np.full(len(images), -1))
        return predict(self.weights, self.spec, faces).probabilities(self.temperature)

    def features(self, images: UInt8) -> Float:
        """Features before the heads, (N, D) float32, of images (N, S, S[, 3]) uint8."""
        faces = FaceArrays.of(images, np.full(len(images), -1))
        check_faces(faces, self.spec, "the set to judge")
        network = with_weights(self.spec, self.weights)
        pool = Pool.of(faces, place("cpu", "fp32"))
        with torch.inference_mode():
            parts = [
                network.features(pool.batch(rows)[0]).numpy()
                for rows in np.array_split(np.arange(len(images)), -(-len(images) // 256))
            ]
        return np.concatenate(parts)
