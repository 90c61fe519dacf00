"""Do generated faces show what was asked for? Label fidelity, beside the judge's own error.

Fidelity alone is no praise: a generator that makes one clear face a class has fidelity 1 and is
worth nothing. It is read beside ``generator_coverage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Float, Int
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.evaluation.accuracy import wilson_interval
from mien.evaluation.clusters import class_sums, cluster_indices, clustered_proportion, difference
from mien.evaluation.intervals import Interval
from mien.evaluation.metrics import CountMatrix, confusion_counts


@dataclass(frozen=True, slots=True)
class Judged:
    """Faces with what was meant and what an independent judge says.

    Attributes:
        probabilities: (N, C) of the judge, columns as ``classes``.
        labels: (N,) class index that was asked for, or that is true of a real face.
        people: identity or subject of each face, or () = each face is its own.
    """

    probabilities: Float
    labels: Int
    people: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClassFidelity:
    """One class.

    Attributes:
        expression: the class.
        fidelity: share of its generated faces that the judge calls so, over identities.
        judge: share of its real faces that the judge calls so, over subjects.
        gap: fidelity − judge.
        gap_low: lower end of the gap's interval.
        gap_high: upper end.
        faces: generated.
        real_faces: that the judge was tried on.
    """

    expression: Expression
    fidelity: Interval
    judge: Interval
    gap: float
    gap_low: float
    gap_high: float
    faces: int
    real_faces: int

    @property
    def ratio(self) -> float:
        """Fidelity over the judge's own accuracy; infinite where the judge is always wrong."""
        own = self.judge.estimate
        return self.fidelity.estimate / own if own > 0 else float("inf")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "expression": str(self.expression),
            "fidelity": span(self.fidelity),
            "judge": span(self.judge),
            "gap": [self.gap, self.gap_low, self.gap_high],
            "faces": self.faces,
            "real_faces": self.real_faces,
        }


@dataclass(frozen=True, slots=True)
class Fidelity:
    """All classes.

    Attributes:
        per_class: one entry a class, in the order of the label space.
        fidelity: mean over the classes.
        judge: the judge's accuracy on real faces, mean over the classes.
        gap: fidelity − judge.
        gap_low: lower end of the gap's interval.
        gap_high: upper end.
        confusion: counts; row = asked for, column = what the judge says.
        judge_confusion: the same on real faces; row = true.
    """

    per_class: tuple[ClassFidelity, ...]
    fidelity: Interval
    judge: Interval
    gap: float
    gap_low: float
    gap_high: float
    confusion: CountMatrix
    judge_confusion: CountMatrix

    @property
    def classes(self) -> tuple[Expression, ...]:
        """The label space."""
        return tuple(c.expression for c in self.per_class)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "fidelity": span(self.fidelity),
            "judge": span(self.judge),
            "gap": [self.gap, self.gap_low, self.gap_high],
            "per_class": [c.to_json() for c in self.per_class],
            "confusion": [list(row) for row in self.confusion],
            "judge_confusion": [list(row) for row in self.judge_confusion],
        }


def fidelity(
    synthetic: Judged, real: Judged, classes: Sequence[Expression], *, alpha: float = 0.05
) -> Fidelity:
    """Measure label fidelity by class beside the judge's own accuracy on real faces.

    Args:
        synthetic: generated faces; ``people`` are identities.
        real: faces that neither the judge nor the generator saw; ``people`` are subjects.
        classes: the label space.
        alpha: intervals cover 1 − alpha, over new identities and new subjects.

    Raises:
        Invalid: ``PROBABILITIES`` when shapes do not fit or rows are no distribution;
            ``MISSING_CLASS`` when a class has no face; ``ONE_SUBJECT``.
    """
    for what, judged in (("generated", synthetic), ("real", real)):
        check_judged(what, judged, classes)
    per_class = tuple(
        _one_class(index, expression, synthetic, real, alpha)
        for index, expression in enumerate(classes)
    )
    mine, own = (_mean_over_classes(j, len(classes), alpha) for j in (synthetic, real))
    low, high = difference(mine, own)
    return Fidelity(
        per_class=per_class,
        fidelity=mine,
        judge=own,
        gap=mine.estimate - own.estimate,
        gap_low=low,
        gap_high=high,
        confusion=_counts(synthetic, len(classes)),
        judge_confusion=_counts(real, len(classes)),
    )


def _one_class(
    index: int, expression: Expression, synthetic: Judged, real: Judged, alpha: float
) -> ClassFidelity:
    mine, own = (_share(judged, index, alpha) for judged in (synthetic, real))
    low, high = difference(mine, own)
    return ClassFidelity(
        expression,
        fidelity=mine,
        judge=own,
        gap=mine.estimate - own.estimate,
        gap_low=low,
        gap_high=high,
        faces=int((synthetic.labels == index).sum()),
        real_faces=int((real.labels == index).sum()),
    )


def _share(judged: Judged, index: int, alpha: float) -> Interval:
    rows = np.flatnonzero(judged.labels == index)
    people = [judged.people[int(r)] for r in rows] if len(judged.people) else ()
    hits = judged.probabilities[rows].argmax(axis=1) == index
    return clustered_proportion(hits, people, alpha=alpha)


def _mean_over_classes(judged: Judged, classes: int, alpha: float) -> Interval:
    """Mean recall with its interval over people, each of whom may show several classes.

    Source: linearised as the sum over classes of ratio estimates, Cochran 1977, 6.13.
    """
    groups, count = cluster_indices(len(judged.labels), judged.people)
    hits = judged.probabilities.argmax(axis=1) == judged.labels
    right = class_sums(hits, groups, count, judged.labels, classes)
    faces = class_sums(np.ones(len(hits)), groups, count, judged.labels, classes)
    share = right.sum(axis=0) / faces.sum(axis=0)
    left_over = ((right - share * faces) / faces.sum(axis=0)).mean(axis=1)
    error = float(np.sqrt(count / (count - 1) * np.square(left_over).sum()))
    return wilson_interval(float(share.mean()), error, count - 1.0, count, alpha)


def _counts(judged: Judged, classes: int) -> CountMatrix:
    called = judged.probabilities.argmax(axis=1).astype(np.int64)
    counts = confusion_counts(judged.labels.astype(np.int64), called, classes)
    return tuple(tuple(int(n) for n in row) for row in counts)


def check_judged(what: str, judged: Judged, classes: Sequence[Expression]) -> None:
    """Refuse what no judge said.

    Raises:
        Invalid: ``PROBABILITIES``, ``MISSING_CLASS``.
    """
    said, labels = judged.probabilities, judged.labels
    if said.shape != (len(labels), len(classes)):
        raise Invalid(
            "PROBABILITIES",
            f"probabilities {said.shape} of {len(labels)} {what} faces and {len(classes)} classes",
            hint="judge all faces in the label space of the generator",
        )
    sums = said.sum(axis=1)
    if not (np.isfinite(sums).all() and np.abs(sums - 1).max(initial=0) < 1e-3 and said.min() >= 0):
        raise Invalid("PROBABILITIES", f"a row of the {what} faces is no distribution")
    missing = [str(c) for i, c in enumerate(classes) if not (labels == i).any()]
    if missing or labels.min() < 0 or labels.max() >= len(classes):
        raise Invalid(
            "MISSING_CLASS",
            f"the {what} faces show nobody with {', '.join(missing) or 'a known label'}",
            hint="judge faces of every class",
        )


def span(interval: Interval) -> list[float]:
    """Write an interval as [estimate, low, high]."""
    return [interval.estimate, interval.low, interval.high]
