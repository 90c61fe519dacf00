"""Classifiers on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mien.core.errors import MienError
from mien.core.preprocess import PreprocessSpec
from mien.recognition.spec import ClassifierSpec
from mien.training.weights import damaged, load_weights, save_weights


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A trained classifier with all that is needed to use it.

    Attributes:
        spec: of the network, with its classes.
        weights: fp32 on the processor.
        preprocess: how a photo becomes its input; None when unknown.
        temperature: the logits are divided by, fitted on validation.
        lineage: what it was made from, plain values.
        digest: blake3 of the weights file.
    """

    spec: ClassifierSpec
    weights: dict[str, Tensor]
    preprocess: PreprocessSpec | None = None
    temperature: float = 1.0
    lineage: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    spec: ClassifierSpec,
    *,
    preprocess: PreprocessSpec | Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    lineage: Mapping[str, Any] | None = None,
) -> str:
    """Write a model folder, whole or not at all; an older one there is replaced.

    Returns:
        The digest of its weights.
    """
    if isinstance(preprocess, PreprocessSpec):
        preprocess = asdict(preprocess)
    description = {
        "classifier": spec.to_json(),
        "preprocess": None if preprocess is None else dict(preprocess),
        "temperature": temperature,
        "lineage": dict(lineage or {}),
    }
    return save_weights(folder, "model", weights, description)


def load_model(folder: Path) -> SavedModel:
    """Read a model folder, verified.

    Raises:
        NotFound: ``MODEL_MISSING`` when there is none.
        Invalid: ``MODEL_FORMAT`` when it was written by another release, or is not a model.
        Corrupt: ``MODEL_FILE`` when a file is missing, altered or unreadable.
    """
    described, weights, digest = load_weights(folder, "model")
    try:
        preprocess = described["preprocess"]
        return SavedModel(
            spec=ClassifierSpec.from_json(described["classifier"]),
            weights=weights,
            preprocess=None if preprocess is None else PreprocessSpec(**preprocess),
            temperature=float(described["temperature"]),
            lineage=described["lineage"],
            digest=digest,
        )
    except MienError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise damaged("model", folder, str(error)) from None
