"""Figures of a generator while it trains, from a classifier that is not its judge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mien.core.arrays import Int, UInt8
from mien.core.ports import Scorer
from mien.evaluation.generator_distances import frechet_distance, project
from mien.generators.trained import Score, TrainingSet

_REAL = 1000  # training faces that generated ones are compared with


def monitor(scorer: Scorer, data: TrainingSet) -> Score:
    """Build the figures for the early stop: label fidelity, and distance to the training faces.

    Args:
        scorer: the teacher; a monitor never is the judge.
        data: what the generator is trained on.
    """
    order = np.random.default_rng(0).permutation(len(data.faces))[:_REAL]
    real = project(scorer.features(data.faces.images[np.sort(order)]))

    def score(images: UInt8, labels: Int) -> Mapping[str, float]:
        said = scorer.probabilities(images).argmax(axis=1)
        features = project(scorer.features(images))
        return {
            "fidelity": float((said == labels).mean()),
            "fd": frechet_distance(real, features),
        }

    return score
