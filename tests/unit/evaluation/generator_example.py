"""A judged generator whose figures are computed from planted answers, for gates and page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mien.core.expression import EKMAN_SIX
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet, kid
from mien.evaluation.generator_fidelity import Judged, fidelity
from mien.evaluation.generator_gates import GeneratorFigures, balance
from mien.evaluation.generator_identity import IdentityKept, distinct, separation
from mien.evaluation.generator_usefulness import accuracy_score
from mien.evaluation.memorisation import Copy, Memorised, training_neighbours

CLASSES = EKMAN_SIX


def answers(people, seed, right):
    """What a judge says of everybody's six faces, right with each class's probability."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(6), people)
    called = np.where(
        rng.random(len(labels)) < np.asarray(right)[labels], labels, rng.integers(0, 6, len(labels))
    )
    said = np.full((len(labels), 6), 0.04, np.float32)
    said[np.arange(len(labels)), called] = 0.8
    return Judged(said, labels, [f"p{seed}-{i // 6}" for i in range(len(labels))])


def features(people, seed, spread=1.0):
    """Features of everybody's six faces: person, expression and chance."""
    rng = np.random.default_rng(seed)
    expressions = np.random.default_rng(0).standard_normal((6, 24))
    who = np.repeat(rng.standard_normal((people, 24)), 6, axis=0)
    drawn = who + np.tile(expressions, (people, 1)) + 0.5 * rng.standard_normal(who.shape)
    return (spread * drawn).astype(np.float32)


def example(*, right=0.92, copies=(), spread=1.0, useful=0.7) -> GeneratorFigures:
    """Figures of a good generator; less of each for a bad one."""
    synthetic = answers(300, 1, [right, right, right - 0.06, right, right, right])
    real = answers(150, 2, [0.93] * 6)
    mine, own = features(300, 3, spread), features(200, 4)
    rng = np.random.default_rng(5)
    return GeneratorFigures(
        fidelity=fidelity(synthetic, real, CLASSES),
        coverage=coverage(own, mine, space="fer128", subjects=[f"s{i // 6}" for i in range(1200)]),
        frechet=(frechet(own, mine, space="fer128"), frechet(own[:, :8], mine[:, :8], space="low")),
        kid=(kid(own, mine, space="fer128", subsets=50),),
        usefulness=accuracy_score(
            rng.random((2, 900)) < useful,
            rng.random((2, 900)) < 0.8,
            real.labels,
            real.people,
            classes=6,
        ),
        memorised=Memorised(tuple(copies), 20_000, 2800, 0.93, 0.87),
        neighbours=(training_neighbours(mine, own, features(150, 6), space="fer128"),),
        kept=IdentityKept(
            "fer128",
            separation(mine, synthetic.people, synthetic.labels),
            separation(own[:900], real.people, real.labels),
        ),
        distinct=distinct(mine[::6], own[::6], space="fer128"),
        balance=balance(synthetic.labels, synthetic.people, 6),
    )


def copied(kind="near", count=1):
    """Copies found at the first rows."""
    return tuple(Copy(row, 7, kind, 1.0 if kind != "near" else 0.96) for row in range(count))


def unmeasured(figures: GeneratorFigures, *names: str) -> GeneratorFigures:
    """The same without some figures."""
    nothing: dict[str, Any] = dict.fromkeys(names)
    return replace(figures, **nothing)
