"""Trained weights on disk: a folder of safetensors and a JSON description, verified when read."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, Invalid, MienError, NotFound
from mien.training.checkpoint import write_synced

FORMAT = 1
Kind = Literal["model", "generator"]  # names the files and the error reasons
_VERB = {"model": "mien train", "generator": "mien train-generator"}


def save_weights(
    folder: Path, kind: Kind, weights: Mapping[str, Tensor], description: Mapping[str, Any]
) -> str:
    """Write a folder of weights, whole or not at all; an older one there is replaced.

    Args:
        folder: to make.
        kind: ``model`` (a classifier) or ``generator``.
        weights: by name.
        description: all that is needed to use them, plain values.

    Returns:
        The digest of the weights.
    """
    data = pack_tensors({k: v.detach().cpu().contiguous() for k, v in weights.items()})
    digest = digest_bytes(data)
    described = {
        "format": FORMAT,
        **description,
        "weights": {"file": weights_file(kind), "blake3": digest, "bytes": len(data)},
    }
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        write_synced(temporary / weights_file(kind), data)
        text = json.dumps(described, indent=2).encode() + b"\n"
        write_synced(temporary / description_file(kind), text)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def load_weights(folder: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Read a folder of weights, verified: description, weights, their digest.

    Raises:
        NotFound: ``MODEL_MISSING`` or ``GENERATOR_MISSING`` when there is none.
        Invalid: ``MODEL_FORMAT`` or ``GENERATOR_FORMAT`` when it was written by another release,
            or is no such folder.
        Corrupt: ``MODEL_FILE`` or ``GENERATOR_FILE`` when a file is missing, altered or unreadable.
    """
    if not folder.exists():
        raise NotFound(
            f"{kind.upper()}_MISSING",
            f"{folder} does not exist",
            hint=f"`{_VERB[kind]}` leaves one in its --out",
        )
    if not (folder / description_file(kind)).is_file():
        raise Invalid(
            f"{kind.upper()}_FORMAT",
            f"{folder} is not a {kind} folder: it has no {description_file(kind)}",
            hint="give the folder that training wrote; pickled weights are never loaded",
        )
    try:
        described = json.loads((folder / description_file(kind)).read_bytes())
        if described["format"] != FORMAT:
            raise Invalid(
                f"{kind.upper()}_FORMAT",
                f"{folder} has format {described['format']}, not {FORMAT}",
                hint="make it again with this release, or use the release that made it",
            )
        data = (folder / weights_file(kind)).read_bytes()
        digest = digest_bytes(data)
        if digest != described["weights"]["blake3"]:
            raise damaged(kind, folder / weights_file(kind), "its digest is not the one written")
        return described, load_tensors(data), digest
    except MienError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise damaged(kind, folder, str(error)) from None


def damaged(kind: Kind, path: Path, what: str) -> Corrupt:
    """Build the error for a folder that is not what was written."""
    return Corrupt(
        f"{kind.upper()}_FILE",
        f"{path} is damaged: {what}",
        hint=f"restore it, or train the {kind} again",
    )


def weights_file(kind: Kind) -> str:
    """Name the file of weights."""
    return f"{kind}.safetensors"


def description_file(kind: Kind) -> str:
    """Name the file that describes them."""
    return f"{kind}.json"
