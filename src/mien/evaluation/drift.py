"""Say whether the faces of today look to a model as those of its training version did.

Three distances are each held against what chance alone makes of them, at a third of the stated
rate of false alarms (Bonferroni). "Drift" is said of a crowd, and only of one large enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mien.core.arrays import Double, Int
from mien.core.errors import Invalid
from mien.evaluation.drift_distances import DISTANCES, flat, stability_index
from mien.evaluation.drift_reference import LEAST_PEOPLE, LEVELS, SIZES, Reference
from mien.evaluation.drift_sketch import Sketch, merged

ALPHA = 0.01
LEAST_FACES = 100  # independent ones
LEAST_STEPS = 3  # between blocks, to see whether they hang together
Verdict = Literal["drift", "none", "not_enough_data"]


@dataclass(frozen=True, slots=True)
class Shift:
    """One distance between the training version and a window.

    Attributes:
        what: ``classes``, ``confidence`` or ``features``.
        distance: Jensen–Shannon divergence in bits in [0, 1]; for features, Fréchet squared.
        limit: what chance exceeds no more often than this distance's share of the rate.
        p_at_most: chance exceeds the distance no more often than this; 1 where it often does.
        stability: population stability index; None for features.
    """

    what: str
    distance: float
    limit: float
    p_at_most: float
    stability: float | None

    @property
    def drifted(self) -> bool:
        """Whether chance does not explain it."""
        return self.distance > self.limit


@dataclass(frozen=True, slots=True)
class Drift:
    """A window held against the training version.

    Attributes:
        verdict: ``drift``, ``none``, ``not_enough_data``.
        why: in words.
        alpha: how often ``drift`` is said where there is none, at most.
        pictures: of the window.
        faces: of the window.
        effective: as how many independent faces they count.
        shifts: the distances; empty where there is not enough data.
        classes: class → (share in the training version, share in the window).
        faceless: share of the pictures on which no face was found.
    """

    verdict: Verdict
    why: str
    alpha: float
    pictures: int
    faces: int
    effective: int
    shifts: tuple[Shift, ...]
    classes: dict[str, tuple[float, float]]
    faceless: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"drifted": [s.what for s in self.shifts if s.drifted]}


def compare(
    reference: Reference,
    blocks: Sequence[Sketch],
    found: Int | None = None,
    *,
    alpha: float = ALPHA,
    faces_per_person: float = 1.0,
) -> Drift:
    """Compare a window with the training version.

    Args:
        reference: of the model that judged the window.
        blocks: of the window, in the order of time; how much neighbours differ shows how many
            independent faces they are worth.
        found: (6,) pictures on which 0, 1, 2, 3, 4, 5 or more faces were found, where known.
        alpha: how often drift may be said where there is none, in (0, 1).
        faces_per_person: how many faces of each person the window holds, where that is known;
            they count as fewer, by how alike faces of one person are in the training version.

    Raises:
        Invalid: ``ALPHA``, ``FACES_PER_PERSON``.
    """
    smallest = (1 - LEVELS[-1]) * len(DISTANCES)
    if not smallest - 1e-12 <= alpha < 1.0:
        told = f"alpha {alpha} is outside [{smallest:g}, 1)"
        raise Invalid("ALPHA", told, hint="0.01 is usual: one false alarm in a hundred looks")
    if not faces_per_person >= 1.0:
        told = f"{faces_per_person} faces per person are less than one"
        raise Invalid("FACES_PER_PERSON", told, hint="give how often the same person is seen")
    none = Sketch.empty(len(reference.classes), reference.projection.axes.shape[1])
    window = merged([none, *blocks])
    worth = effect(blocks)
    worth = max(worth, 1 + (faces_per_person - 1) * reference.likeness)
    effective = int(window.faces / worth)
    shares = _shares(reference, window)
    pictures = 0 if found is None else int(found.sum())
    faceless = float(found[0] / pictures) if found is not None and pictures else 0.0
    counted = (alpha, pictures, window.faces, effective)
    if (short := _short(reference, window.faces, effective)) is not None:
        return Drift("not_enough_data", short, *counted, (), shares, faceless)
    shifts = tuple(_shift(name, reference, window, effective, alpha) for name in DISTANCES)
    drifted = [s.what for s in shifts if s.drifted]
    why = (
        f"{' and '.join(drifted)} differ from the training version by more than chance"
        if drifted
        else "nothing differs from the training version by more than chance"
    )
    return Drift("drift" if drifted else "none", why, *counted, shifts, shares, faceless)


def effect(blocks: Sequence[Sketch]) -> float:
    """Say how many faces of a window are worth one independent face, at least 1.

    Faces that come together (of one person, place, camera) resemble one another: means of
    neighbouring blocks then differ by more than independent faces would make them. Differences
    of neighbours, unlike the spread of all, are not made larger by a slow drift, and their
    median not by a sudden one.

    Source: von Neumann 1941, "Distribution of the ratio of the mean square successive
        difference to the variance"; Kish 1965, "Survey Sampling", §8.2, the design effect. The
        median of a chi-squared variable by Wilson and Hilferty 1931.
    """
    full = [b for b in blocks if b.faces]
    if len(full) <= LEAST_STEPS:
        return 1.0
    within = float(np.trace(merged(full).covariance))
    steps = [
        ((a.mean - b.mean) ** 2).sum() / (1 / a.faces + 1 / b.faces) for a, b in pairwise(full)
    ]
    usual = (1 - 2 / (9 * len(full[0].total))) ** 3  # median of chi-squared over its mean
    return max(1.0, float(np.median(steps)) / (usual * within)) if within > 0 else 1.0


def _short(reference: Reference, faces: int, effective: int) -> str | None:
    if reference.people < LEAST_PEOPLE:
        return f"the training version shows {reference.people} people, {LEAST_PEOPLE} are needed"
    if effective < LEAST_FACES:
        return f"{faces} faces count as {effective} independent ones, {LEAST_FACES} are needed"
    return None


def _shares(reference: Reference, window: Sketch) -> dict[str, tuple[float, float]]:
    before, after = reference.sketch, window
    return {
        name: (
            float(before.classes[i] / max(1, before.faces)),
            float(after.classes[i] / max(1, after.faces)),
        )
        for i, name in enumerate(reference.classes)
    }


def _shift(name: str, reference: Reference, window: Sketch, effective: int, alpha: float) -> Shift:
    k = len(reference.classes)
    before = flat(reference.sketch)
    after = flat(window) * (effective / window.faces)  # so that smoothing weighs as in the draws
    found = float(DISTANCES[name](before, after, k))
    quantiles = _at_size(reference.chance[name], effective)
    level = 1 - alpha / len(DISTANCES)
    exceeded = [1 - level for level, q in zip(LEVELS, quantiles, strict=True) if found > q]
    counts = {"classes": slice(0, k), "confidence": slice(k, len(before))}
    stability = None
    if name in counts:
        old, new = reference.sketch, window
        pair = (old.classes, new.classes) if name == "classes" else (old.confidence, new.confidence)
        stability = stability_index(pair[0].astype(float), pair[1].astype(float))
    return Shift(
        what=name,
        distance=found,
        limit=float(np.interp(_tail(level), _tail(np.array(LEVELS)), quantiles)),
        p_at_most=min(exceeded, default=1.0),
        stability=stability,
    )


def _tail(level: Any) -> Any:
    """Stretch the upper tail, where quantiles are nearly straight in it."""
    return -np.log(1 - np.asarray(level))


def _at_size(table: Double, effective: int) -> Double:
    """Quantiles (levels,) for a window of this size: straight lines in 1/size, as variances go.

    Beyond the largest size its own are kept, which are larger than they would have to be.
    """
    inverse = 1 / np.array(SIZES, np.float64)
    at = 1 / min(max(effective, SIZES[0]), SIZES[-1])
    return np.array([np.interp(at, inverse[::-1], column[::-1]) for column in table.T])
