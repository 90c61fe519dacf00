"""What the training version looked like to its model, and how far chance alone leads from it.

The reference is made from validation: faces of people the network was not fitted on, for it is
surer of those it was. How large each distance is without any drift is found by drawing from them:
people for the reference anew, faces for a window. Quantiles of that are kept, the faces are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import AnyArray, Double, Float
from mien.core.digest import seed_of
from mien.core.errors import Corrupt
from mien.evaluation.drift_distances import DISTANCES
from mien.evaluation.drift_sketch import (
    BINS,
    CONFIDENCE_EDGES,
    Projection,
    Sketch,
    confidence_bin,
    predicted,
)

SIZES = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)  # of windows, in independent faces
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
DRAWS = 2000
LEAST_PEOPLE = 20
CHUNK = 250


@dataclass(frozen=True, slots=True)
class Reference:
    """A training version, to be compared with.

    Attributes:
        classes: names in the order of the model's outputs.
        projection: of features.
        sketch: of the validation faces.
        people: who they show, how many.
        likeness: share of the features' variance that lies between people, in [0, 1]: how alike
            two faces of the same person are.
        chance: distance → (sizes, levels): its quantiles where nothing has drifted.
    """

    classes: tuple[str, ...]
    projection: Projection
    sketch: Sketch
    people: int
    likeness: float
    chance: Mapping[str, Double]

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return plain arrays, read back by ``from_arrays``."""
        s = self.sketch
        return {
            "classes": np.array(self.classes),
            "mean": self.projection.mean,
            "axes": self.projection.axes,
            "predicted": s.classes,
            "confidence": s.confidence,
            "total": s.total,
            "square": s.square,
            "people": np.array(self.people),
            "likeness": np.array(self.likeness),
            "sizes": np.array(SIZES),
            "levels": np.array(LEVELS),
            "edges": np.array(CONFIDENCE_EDGES),
            **{f"chance_{name}": table for name, table in self.chance.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Reference:
        """Build it from plain arrays.

        Raises:
            Corrupt: ``DRIFT_REFERENCE`` when they are damaged, or of other bins or sizes.
        """
        try:
            for name, own in (("sizes", SIZES), ("levels", LEVELS), ("edges", CONFIDENCE_EDGES)):
                if not np.array_equal(arrays[name], own):
                    raise ValueError(f"{name} of another release")
            sketch = Sketch(
                np.asarray(arrays["predicted"], np.int64),
                np.asarray(arrays["confidence"], np.int64),
                np.asarray(arrays["total"], np.float64),
                np.asarray(arrays["square"], np.float64),
            )
            return cls(
                classes=tuple(str(c) for c in arrays["classes"]),
                projection=Projection(arrays["mean"], arrays["axes"]),
                sketch=sketch,
                people=int(arrays["people"]),
                likeness=float(arrays["likeness"]),
                chance={name: np.asarray(arrays[f"chance_{name}"]) for name in DISTANCES},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(
                "DRIFT_REFERENCE",
                f"the model's reference for drift cannot be read: {error}",
                hint="register the model again",
            ) from None


def make_reference(
    classes: Sequence[str],
    projection: Projection,
    probabilities: Float,
    features: Float,
    people: Sequence[str],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Reference:
    """Describe what a model says to faces it was not fitted on.

    Args:
        classes: names of the K classes.
        projection: fitted on the training rows.
        probabilities: (N, K) of the validation faces.
        features: (N, D) of the same.
        people: whom each face shows; "" = somebody of their own.
        seed: of the draws.
        draws: of each size of window.

    Source: the draws are Efron 1979, "Bootstrap methods", of people for the reference and of
        faces for the window: both from the same crowd, so that what separates them is chance.
    """
    projected = projection.of(features)
    rows = _rows(probabilities, projected)
    owners = _owners(people)
    return Reference(
        classes=tuple(classes),
        projection=projection,
        sketch=Sketch.of(probabilities, projected),
        people=int(owners.max()) + 1,
        likeness=_likeness(projected, owners),
        chance=_chance(rows, owners, len(classes), seed, draws),
    )


def _rows(probabilities: Float, projected: Double) -> Double:
    """What each face adds to the sums: (N, K + 10 + E + E²)."""
    n, k = probabilities.shape
    outer = (projected[:, :, None] * projected[:, None, :]).reshape(n, -1)
    one = np.eye(k)[predicted(probabilities)]
    two = np.eye(BINS)[confidence_bin(probabilities)]
    return np.concatenate([one, two, projected, outer], 1)


def _owners(people: Sequence[str]) -> AnyArray:
    names = [name or f"\0{i}" for i, name in enumerate(people)]
    owners: AnyArray = np.unique(names, return_inverse=True)[1]
    return owners


def _likeness(projected: Double, owners: AnyArray) -> float:
    """Intraclass correlation of faces by person, over all directions, by one-way variances.

    Source: Shrout and Fleiss 1979, "Intraclass correlations", ICC(1, 1), with mean group size.
    """
    sizes = np.bincount(owners).astype(float)
    groups, n = len(sizes), len(owners)
    if groups < 2 or n <= groups:
        return 0.0
    means = np.stack([np.bincount(owners, column) for column in projected.T], 1) / sizes[:, None]
    between = (sizes[:, None] * (means - projected.mean(0)) ** 2).sum() / (groups - 1)
    within = ((projected - means[owners]) ** 2).sum() / (n - groups)
    usual = (n - (sizes**2).sum() / n) / (groups - 1)
    return float(np.clip((between - within) / (between + (usual - 1) * within), 0.0, 1.0))


def _chance(rows: Double, owners: AnyArray, k: int, seed: int, draws: int) -> dict[str, Double]:
    """Quantiles of every distance by size of window, with nothing drifted."""
    n, groups = len(rows), int(owners.max()) + 1
    by_person = np.stack([np.bincount(owners, column, groups) for column in rows.T], 1)
    tables = {name: np.zeros((len(SIZES), len(LEVELS))) for name in DISTANCES}
    for s, size in enumerate(SIZES):
        rng = np.random.default_rng(seed_of("drift", seed, size))
        found: dict[str, list[Double]] = {name: [] for name in DISTANCES}
        for start in range(0, draws, CHUNK):
            some = min(CHUNK, draws - start)
            people = rng.multinomial(groups, np.full(groups, 1 / groups), some)
            faces = rng.multinomial(size, np.full(n, 1 / n), some)
            before, after = people.astype(np.float64) @ by_person, faces.astype(np.float64) @ rows
            for name, distance in DISTANCES.items():
                found[name].append(distance(before, after, k))
        for name, values in found.items():
            tables[name][s] = np.quantile(np.concatenate(values), LEVELS)
    return tables
