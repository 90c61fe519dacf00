"""Training states on disk: one safetensors file, named by digest, never a pickle."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack_tensors
from torch import Tensor

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt

CHECKPOINT = "state.safetensors"


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a training state: one file, replaced atomically.

    Args:
        folder: that holds it.
        state: ``progress`` (plain values) and any number of named tables of tensors.
    """
    tables = [name for name in state if name != "progress"]
    tensors = {
        f"{table}:{name}": tensor for table in tables for name, tensor in state[table].items()
    }
    progress = json.dumps({"tables": tables, "progress": state["progress"]})
    packed = pack_tensors(tensors, {"progress": progress, "digest": _digest(tensors, progress)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        write_synced(temporary, packed)
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
        known = json.loads(metadata["progress"])
        state: dict[str, Any] = {table: {} for table in known["tables"]}
        for name, tensor in tensors.items():
            table, _, key = name.partition(":")
            state[table][key] = tensor
        return {**state, "progress": known["progress"]}
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


def write_synced(path: Path, data: bytes) -> None:
    """Write bytes that outlive a power cut."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
