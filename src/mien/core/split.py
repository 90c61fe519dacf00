"""Who is trained on, who selects, who judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "validation", "test", "unused"]
PARTS: tuple[Part, ...] = ("train", "validation", "test", "unused")


@dataclass(frozen=True, slots=True)
class Split:
    """An assignment of units of splitting to parts; disjoint by construction.

    Attributes:
        by: ``subject``, or ``sample`` for a database without subjects (no claim about new people).
        parts: part → sorted subjects (or sample ids).
        seed: that drew it.
        fold: index of this fold, 0 of 1 when not cross-validated.
        folds: number of folds.
        copies: by sample: the ids of one image that is there more than once, each group in one
            part.
    """

    by: Literal["subject", "sample"]
    parts: Mapping[Part, tuple[str, ...]]
    seed: int
    fold: int = 0
    folds: int = 1
    copies: tuple[tuple[str, ...], ...] = ()

    def units(self, *parts: Part) -> dict[str, tuple[str, ...]]:
        """Return the units of some parts: name → what of ``parts`` belongs together.

        A unit is a subject, or an image with its exact copies, named by the first of them.
        """
        group = {name: ids for ids in self.copies for name in ids}
        found = [group.get(name, (name,)) for part in parts for name in self.parts[part]]
        return {ids[0]: ids for ids in found}


Base = Literal["plain", "geometric"]
Protocol = Literal["steps", "paper"]
ArmKind = Literal["ratio", "synthetic", "more_real", "shuffled"]


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """One point of the sweep.

    Attributes:
        kind: ``ratio`` (real + k units of a pool), ``synthetic`` (k units only), ``more_real``
            (real + k units of further real faces: the ceiling), ``shuffled`` (labels permuted).
        ratio: k, units added; 0 is the baseline.
        base: base augmentation.
        pool: the synthetic pool drawn from, "" for ratio 0.
    """

    kind: ArmKind = "ratio"
    ratio: int = 0
    base: Base = "geometric"
    pool: str = ""

    @property
    def name(self) -> str:
        """Short unique name: ``r5``, ``r0.plain``, ``synthetic5``, ``r5@photos``."""
        stem = f"r{self.ratio}" if self.kind == "ratio" else f"{self.kind}{self.ratio}"
        stem += f"@{self.pool}" if self.pool else ""
        return stem if self.base == "geometric" else f"{stem}.{self.base}"
