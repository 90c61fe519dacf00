"""Models and checkpoints on disk: safetensors and JSON, named by digest, never a pickle."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, Invalid, MienError, NotFound
from mien.core.preprocess import PreprocessSpec
from mien.recognition.spec import ClassifierSpec

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
CHECKPOINT = "state.safetensors"


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
    tensors = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    data = pack_tensors(tensors)
    if isinstance(preprocess, PreprocessSpec):
        preprocess = asdict(preprocess)
    description = {
        "format": FORMAT,
        "classifier": spec.to_json(),
        "preprocess": None if preprocess is None else dict(preprocess),
        "temperature": temperature,
        "lineage": dict(lineage or {}),
        "weights": {"file": WEIGHTS, "blake3": digest_bytes(data), "bytes": len(data)},
    }
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        _write(temporary / WEIGHTS, data)
        _write(temporary / DESCRIPTION, json.dumps(description, indent=2).encode() + b"\n")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest_bytes(data)


def load_model(folder: Path) -> SavedModel:
    """Read a model folder, verified.

    Raises:
        NotFound: ``MODEL_MISSING`` when there is none.
        Invalid: ``MODEL_FORMAT`` when it was written by another release, or is not a model.
        Corrupt: ``MODEL_FILE`` when a file is missing, altered or unreadable.
    """
    if not folder.exists():
        raise NotFound(
            "MODEL_MISSING", f"{folder} does not exist", hint="`mien train` leaves one in its --out"
        )
    if not (folder / DESCRIPTION).is_file():
        raise Invalid(
            "MODEL_FORMAT",
            f"{folder} is not a model folder: it has no {DESCRIPTION}",
            hint="give the folder that training wrote; pickled weights are never loaded",
        )
    try:
        described = json.loads((folder / DESCRIPTION).read_bytes())
        if described["format"] != FORMAT:
            raise Invalid(
                "MODEL_FORMAT", f"{folder} has format {described['format']}, not {FORMAT}"
            )
        spec = ClassifierSpec.from_json(described["classifier"])
        preprocess = described["preprocess"]
        data = (folder / WEIGHTS).read_bytes()
        digest = digest_bytes(data)
        if digest != described["weights"]["blake3"]:
            raise _corrupt(folder / WEIGHTS, "its digest is not the one written")
        return SavedModel(
            spec=spec,
            weights=load_tensors(data),
            preprocess=None if preprocess is None else PreprocessSpec(**preprocess),
            temperature=float(described["temperature"]),
            lineage=described["lineage"],
            digest=digest,
        )
    except MienError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _corrupt(folder, str(error)) from None


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a training state: one file, replaced atomically."""
    tensors = {
        f"{table}:{name}": tensor
        for table in ("weights", "optimiser", "best")
        for name, tensor in state[table].items()
    }
    progress = json.dumps(state["progress"])
    packed = pack_tensors(tensors, {"progress": progress, "digest": _digest(tensors, progress)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        _write(temporary, packed)
        temporary.replace(folder / CHECKPOINT)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read a training state, verified; None when there is none.

    Raises:
        Corrupt: ``CHECKPOINT`` when it cannot be read or is not what was written.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(tensors, metadata["progress"]):
            raise ValueError("its digest is not the one written")
        state: dict[str, Any] = {"weights": {}, "optimiser": {}, "best": {}}
        for name, tensor in tensors.items():
            table, _, key = name.partition(":")
            state[table][key] = tensor
        state["progress"] = json.loads(metadata["progress"])
        return state
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Corrupt(
            "CHECKPOINT", f"{path} cannot be resumed: {error}", hint="delete it to start again"
        ) from None


def _digest(tensors: Mapping[str, Tensor], progress: str) -> str:
    parts = [
        f"{name}={digest_bytes(tensor.reshape(-1).view(torch.uint8).numpy().data)}"
        for name, tensor in sorted(tensors.items())
    ]
    return digest_bytes("\n".join([*parts, progress]).encode())


def _corrupt(path: Path, what: str) -> Corrupt:
    return Corrupt(
        "MODEL_FILE", f"{path} is damaged: {what}", hint="restore it, or train the model again"
    )


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
