"""Keep generated faces that show what was asked for, without losing the balance of the pool.

The filter's judge is no generator's teacher, and its threshold is fitted on real faces. How often
the filter errs is measured on other real faces some of whose labels are made wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Bool, Double, Int
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.evaluation.clusters import clustered_proportion
from mien.evaluation.generator_fidelity import Judged, check_judged, span
from mien.evaluation.intervals import Interval


@dataclass(frozen=True, slots=True)
class Filter:
    """Least probability, by class, that the judge gives to what was asked for.

    Attributes:
        classes: the label space.
        thresholds: one a class, in [0, 1].
    """

    classes: tuple[Expression, ...]
    thresholds: tuple[float, ...]

    def to_json(self) -> dict[str, float]:
        """Return plain values: class → threshold."""
        return {str(c): t for c, t in zip(self.classes, self.thresholds, strict=True)}


@dataclass(frozen=True, slots=True)
class FilterFigures:
    """How well a filter tells wrong labels from right ones; intervals over people.

    Attributes:
        precision: share of the removed faces whose label is really wrong.
        recall: share of the wrong labels that are removed.
        right_kept: share of the right labels that are kept.
        kept_right: share of the kept faces whose label is right; before: 1 − planted.
        removed: faces removed.
        planted: share of labels made wrong.
        faces: tried on.
    """

    precision: Interval | None
    recall: Interval
    right_kept: Interval
    kept_right: Interval | None
    removed: int
    planted: float
    faces: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values; None where nothing was removed, or nothing kept."""
        return {
            "precision": self.precision and span(self.precision),
            "recall": span(self.recall),
            "right_kept": span(self.right_kept),
            "kept_right": self.kept_right and span(self.kept_right),
            "removed": self.removed,
            "planted": self.planted,
            "faces": self.faces,
        }


@dataclass(frozen=True, slots=True)
class Filtered:
    """What is left of a pool.

    Attributes:
        keep: (N,) bool: the face passes.
        balanced: (N,) bool: a subset of ``keep`` with as many faces of every class for each
            identity, the surest first; an identity with an empty cell has none.
        empty: (identity, class) cells of the pool without a face that passes: to be made again.
        kept_per_class: faces that pass, by class.
        asked_per_class: faces there were.
    """

    keep: Bool
    balanced: Bool
    empty: tuple[tuple[str, Expression], ...]
    kept_per_class: tuple[int, ...]
    asked_per_class: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: counts, and the first hundred empty cells."""
        return {
            "faces": len(self.keep),
            "kept": int(self.keep.sum()),
            "balanced": int(self.balanced.sum()),
            "empty": len(self.empty),
            "empty_cells": [[who, str(what)] for who, what in self.empty[:100]],
            "kept_per_class": list(self.kept_per_class),
            "asked_per_class": list(self.asked_per_class),
        }


def fit_filter(real: Judged, classes: Sequence[Expression], *, keep: float = 0.9) -> Filter:
    """Set each class's threshold so that a given share of its real faces would pass.

    A threshold of its own for each class, because a judge is less sure of fear than of happiness
    and one threshold for all would empty the difficult classes.

    Args:
        real: faces that the judge was not trained on.
        classes: the label space.
        keep: share of the real faces of each class that pass, in (0, 1).

    Raises:
        Invalid: ``FILTER_KEEP``; ``PROBABILITIES``, ``MISSING_CLASS``.
    """
    if not 0.0 < keep < 1.0:
        raise Invalid("FILTER_KEEP", f"a filter keeps a share between 0 and 1, not {keep}")
    check_judged("real", real, classes)
    sure = asked_probability(real)
    found = [
        float(np.quantile(sure[real.labels == index], 1.0 - keep, method="lower"))
        for index in range(len(classes))
    ]
    return Filter(tuple(classes), tuple(found))


def asked_probability(judged: Judged) -> Double:
    """Probability that the judge gives to what was asked for: (N,)."""
    rows = np.arange(len(judged.labels))
    found: Double = judged.probabilities[rows, judged.labels].astype(np.float64)
    return found


def passes(chosen: Filter, judged: Judged) -> Bool:
    """Tell which faces pass: (N,) bool.

    Raises:
        Invalid: ``PROBABILITIES`` when the label spaces differ.
    """
    if judged.probabilities.shape != (len(judged.labels), len(chosen.classes)):
        raise Invalid(
            "PROBABILITIES",
            f"probabilities {judged.probabilities.shape} do not fit {len(judged.labels)} faces"
            f" and {len(chosen.classes)} classes of the filter",
            hint="judge the faces in the label space of the filter",
        )
    limits = np.asarray(chosen.thresholds, dtype=np.float64)[judged.labels]
    passed: Bool = asked_probability(judged) >= limits
    return passed


def plant_wrong(labels: Int, classes: int, *, share: float, seed: int = 0) -> tuple[Int, Bool]:
    """Give a share of faces another class's label: labels (N,), and which are wrong (N,) bool."""
    rng = np.random.Generator(np.random.Philox(seed_of("plant wrong", seed, len(labels))))
    wrong = rng.random(len(labels)) < share
    moved = (labels + rng.integers(1, classes, size=len(labels))) % classes
    return np.where(wrong, moved, labels).astype(np.int64), wrong


def filter_figures(
    chosen: Filter, real: Judged, *, share: float = 0.2, seed: int = 0, alpha: float = 0.05
) -> FilterFigures:
    """Measure a filter on real faces some of whose labels are made wrong.

    Args:
        chosen: the filter.
        real: faces that neither the judge nor the filter was fitted on.
        share: of labels made wrong, in (0, 1).
        seed: of the draw.
        alpha: intervals cover 1 − alpha, over people.

    Raises:
        Invalid: ``PROBABILITIES``, ``MISSING_CLASS``, ``ONE_SUBJECT``; ``TOO_FEW_FACES`` when the
            draw leaves no wrong or no right label.
    """
    check_judged("real", real, chosen.classes)
    labels, wrong = plant_wrong(real.labels, len(chosen.classes), share=share, seed=seed)
    if wrong.all() or not wrong.any():
        raise Invalid("TOO_FEW_FACES", f"{len(labels)} faces are too few to make some labels wrong")
    kept = passes(chosen, Judged(real.probabilities, labels, real.people))

    def share_of(hits: Bool, among: Bool) -> Interval | None:
        rows = np.flatnonzero(among)
        people = [real.people[int(r)] for r in rows] if len(real.people) else ()
        if len(set(people)) < 2 and (len(people) or len(rows) < 2):
            return None
        return clustered_proportion(hits[rows], people, alpha=alpha)

    recall, right_kept = share_of(~kept, wrong), share_of(kept, ~wrong)
    if recall is None or right_kept is None:
        raise Invalid("ONE_SUBJECT", "the wrong or the right labels are all of one person")
    return FilterFigures(
        precision=share_of(wrong, ~kept),
        recall=recall,
        right_kept=right_kept,
        kept_right=share_of(~wrong, kept),
        removed=int((~kept).sum()),
        planted=float(wrong.mean()),
        faces=len(labels),
    )


def filter_pool(chosen: Filter, pool: Judged) -> Filtered:
    """Filter a pool and say which (identity, class) cells have to be made again.

    Args:
        chosen: the filter.
        pool: generated faces; ``people`` names the identity of each.

    Raises:
        Invalid: ``PROBABILITIES``; ``UNEQUAL_LENGTHS`` when identities are not named.
    """
    if len(pool.people) != len(pool.labels):
        raise Invalid(
            "UNEQUAL_LENGTHS",
            f"{len(pool.people)} identities are named for {len(pool.labels)} faces",
        )
    keep = passes(chosen, pool)
    count = len(chosen.classes)
    names, groups = np.unique(np.asarray(pool.people), return_inverse=True)
    cell = groups.astype(np.int64) * count + pool.labels
    shape = (len(names), count)
    asked = np.bincount(cell, minlength=len(names) * count).reshape(shape)
    passed = np.bincount(cell[keep], minlength=len(names) * count).reshape(shape)
    least = passed.min(axis=1)
    return Filtered(
        keep=keep,
        balanced=_balanced(keep, cell, asked_probability(pool), least[groups]),
        empty=tuple(
            (str(names[row]), chosen.classes[column])
            for row, column in np.argwhere((passed == 0) & (asked > 0))
        ),
        kept_per_class=tuple(int(n) for n in passed.sum(axis=0)),
        asked_per_class=tuple(int(n) for n in asked.sum(axis=0)),
    )


def _balanced(keep: Bool, cell: Int, sure: Double, least: Int) -> Bool:
    """Keep the ``least`` surest passing faces of every cell."""
    rows = np.flatnonzero(keep)
    order = rows[np.lexsort((rows, -sure[rows], cell[rows]))]
    sorted_cells = cell[order]
    starts = np.flatnonzero(np.r_[True, sorted_cells[1:] != sorted_cells[:-1]])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    balanced = np.zeros(len(keep), dtype=bool)
    balanced[order[rank < least[order]]] = True
    return balanced
