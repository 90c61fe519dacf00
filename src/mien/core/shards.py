"""A set of faces made in shards: its plan file, and where its shards lie.

::

    plan.json            everything that decides the shards
    shards/000000 …      finished shards, dataset versions: whole or not there
    progress/000000      what the worker of a shard said last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.errors import Corrupt, MienError, NotFound
from mien.core.generation import FacePlan

FORMAT = 1
PLAN = "plan.json"
MARKER = "version.json"  # as the format of versions calls it


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Everything that decides the shards of a set of faces.

    Attributes:
        faces: all of them.
        params: of the engine, with folders where the names of generators were.
        engine_digest: of the engine that is meant: another release, or a generator that was
            trained again, makes other faces.
        shard_identities: identities a shard, the last one may hold fewer.
    """

    faces: FacePlan
    params: Mapping[str, Any]
    engine_digest: str
    shard_identities: int

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.faces.identities // self.shard_identities)

    def span(self, index: int) -> tuple[int, int]:
        """Return the first identity of a shard and how many it holds."""
        first = index * self.shard_identities
        return first, min(self.shard_identities, self.faces.identities - first)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "format": FORMAT,
            "faces": self.faces.to_json(),
            "params": dict(self.params),
            "engine_digest": self.engine_digest,
            "shard_identities": self.shard_identities,
        }


def shard_folder(plan: Path, index: int) -> Path:
    """Say where the shard of a plan file lies once it is made."""
    return plan.parent / "shards" / f"{index:06d}"


def done_marker(plan: Path, index: int) -> Path:
    """Name the file whose existence means that a shard is made."""
    return shard_folder(plan, index) / MARKER


def progress_file(plan: Path, index: int) -> Path:
    """Name the file in which the worker of a shard tells how far it is."""
    return plan.parent / "progress" / f"{index:06d}"


def read_plan(path: Path) -> ShardPlan:
    """Read a plan file.

    Raises:
        NotFound: ``PLAN_MISSING``. Corrupt: ``PLAN``. Invalid: ``FACE_PLAN``.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise ValueError(f"its format is {plain['format']}, not {FORMAT}")
        return ShardPlan(
            faces=FacePlan.from_json(plain["faces"]),
            params=dict(plain["params"]),
            engine_digest=str(plain["engine_digest"]),
            shard_identities=int(plain["shard_identities"]),
        )
    except FileNotFoundError:
        raise NotFound(
            "PLAN_MISSING", f"{path} does not exist", hint="the generation service writes plans"
        ) from None
    except MienError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("PLAN", f"{path} is no plan of faces: {error}", hint="plan anew") from None
