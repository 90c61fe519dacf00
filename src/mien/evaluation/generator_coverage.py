"""Precision, recall, density and coverage: are generated faces possible, and are they all there?

Precision and density ask of each generated face whether real ones are near; recall and coverage
ask of each real face whether generated ones are near. A generator that makes one perfect face has
precision 1 and recall 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Float
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.evaluation.clusters import random_halves
from mien.evaluation.feature_neighbours import centred, squared_distances, squared_radii
from mien.evaluation.generator_distances import check_features

NEIGHBOURS = 5
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Prdc:
    """Where two sets of features lie with respect to each other.

    Attributes:
        precision: share of generated faces within reach of a real one, in [0, 1].
        recall: share of real faces within reach of a generated one, in [0, 1].
        density: real neighbourhoods that hold a generated face, over k, mean; about 1 for one
            distribution, more where generated faces crowd the middle.
        coverage: share of real faces whose neighbourhood holds a generated one, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float

    def to_json(self) -> dict[str, float]:
        """Return plain values."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "density": self.density,
            "coverage": self.coverage,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """What generated faces reach, beside what other people's real faces reach at the same size.

    Attributes:
        space: name of the feature space.
        synthetic: of generated faces.
        real: of real faces in their place: the best that can be hoped for.
        n: faces on each side.
        k: neighbours that make a neighbourhood.
    """

    space: str
    synthetic: Prdc
    real: Prdc
    n: int
    k: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "synthetic": self.synthetic.to_json(),
            "real": self.real.to_json(),
            "n": self.n,
            "k": self.k,
        }


def prdc(real: Float, synthetic: Float, *, k: int = NEIGHBOURS) -> Prdc:
    """Compute the four figures exactly, in blocks of bounded memory.

    Args:
        real: (N, D) features of real faces, N > k.
        synthetic: (M, D) features of generated faces, M > k.
        k: neighbours that make a neighbourhood.

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``; ``NEIGHBOURS`` when k < 1.

    Source: Kynkäänniemi et al. 2019, "Improved precision and recall metric", eq. 1–2; Naeem et
    al. 2020, "Reliable fidelity and diversity metrics", eq. 3 and 5, with open balls as there.
    """
    if k < 1:
        raise Invalid("NEIGHBOURS", f"{k} neighbours make no neighbourhood")
    check_features(real, synthetic, at_least=k + 1)
    x, y = centred(real, synthetic)
    reach_x, reach_y = squared_radii(x, k), squared_radii(y, k)
    held = np.zeros(len(y))
    recalled = covered = 0
    for start in range(0, len(x), _BLOCK):
        part = slice(start, start + _BLOCK)
        squared = squared_distances(x[part], y)
        held += (squared < reach_x[part, None]).sum(axis=0)
        recalled += int((squared < reach_y[None, :]).any(axis=1).sum())
        covered += int((squared.min(axis=1) < reach_x[part]).sum())
    return Prdc(
        precision=float((held > 0).mean()),
        recall=recalled / len(x),
        density=float(held.mean()) / k,
        coverage=covered / len(x),
    )


def coverage(
    real: Float,
    synthetic: Float,
    *,
    space: str,
    subjects: Sequence[str] = (),
    k: int = NEIGHBOURS,
    splits: int = 3,
) -> Coverage:
    """Judge generated faces beside real faces of other people, at one number of faces.

    All four figures depend on how many faces there are; here both sides always have as many.

    Args:
        real: (N, D) features.
        synthetic: (M, D) features.
        space: name of the feature space.
        subjects: of the real faces, so that no person is on both sides; () = each face is its own.
        k: neighbours.
        splits: random splits averaged over.

    Raises:
        Invalid: as ``prdc``; ``ONE_SUBJECT``.
    """
    check_features(real, synthetic, at_least=k + 1)
    generated, others, n = [], [], 0
    for split in range(splits):
        rng = np.random.Generator(np.random.Philox(seed_of("coverage", space, split)))
        left, right = random_halves(len(real), subjects, rng)
        n = min(len(left), len(right), len(synthetic))
        reference = real[left[:n]]
        chosen = synthetic[rng.permutation(len(synthetic))[:n]]
        generated.append(prdc(reference, chosen, k=k))
        others.append(prdc(reference, real[right[:n]], k=k))
    return Coverage(space, _mean(generated), _mean(others), n, k)


def _mean(found: Sequence[Prdc]) -> Prdc:
    return Prdc(
        precision=float(np.mean([f.precision for f in found])),
        recall=float(np.mean([f.recall for f in found])),
        density=float(np.mean([f.density for f in found])),
        coverage=float(np.mean([f.coverage for f in found])),
    )
