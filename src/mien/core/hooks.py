"""The three plain hooks every long function takes: progress, cancelled, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of long work.

    Attributes:
        done: units finished (images, trials, kimg …).
        total: units in all, or None when unknown.
        unit: what is counted.
        stage: what is being done.
        metrics: current figures, by name.
    """

    done: float
    total: float | None = None
    unit: str = ""
    stage: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]
Cancelled = Callable[[], bool]
Save = Callable[[Mapping[str, Any]], None]


def no_progress(event: Progress) -> None:
    """Ignore progress."""


def never_cancelled() -> bool:
    """Never ask to stop."""
    return False


def no_save(state: Mapping[str, Any]) -> None:
    """Keep no state."""
