"""A trial: one arm with one seed, described so fully that its digest names its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.core.digest import digest_of
from mien.core.split import Arm, Protocol


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """Everything that decides a trial's result; nothing about where it runs.

    Attributes:
        arm: what is mixed.
        protocol: ``steps`` (equal images seen) or ``paper`` (equal epochs, early stopping).
        seed: of initialisation, batch order and pool draw.
        fold: cross-validation fold, 0 where there is none.
        folds: number of folds, 1 where there are none.
        classifier: network spec as plain values.
        fit: training configuration as plain values.
        train: digest of the exact training rows and labels, in order.
        sets: role → digest of the rows judged on (``validation``, ``test``, ``mixed_test``,
            ``blind:<name>`` …).
        code: digest of the code that decides results.
    """

    arm: Arm
    protocol: Protocol
    seed: int
    fold: int
    folds: int
    classifier: Mapping[str, Any]
    fit: Mapping[str, Any]
    train: str
    sets: Mapping[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def key(self) -> str:
        """Name of the trial in the cache."""
        return digest_of(self)

    @property
    def title(self) -> str:
        """For people: ``r5 · steps · seed 1``."""
        fold = f" · fold {self.fold}" if self.folds > 1 else ""
        return f"{self.arm.name} · {self.protocol} · seed {self.seed}{fold}"
