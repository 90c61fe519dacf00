"""Does an identity stay itself over its expressions, and are different identities different?

Both are asked in a feature space where people differ; a space trained on expressions alone tells
little of identity, so the real faces' own figure always stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.evaluation.feature_neighbours import nearest
from mien.evaluation.generator_distances import check_features
from mien.evaluation.memorisation import LOW_QUANTILE

_PAIRS = 20_000  # compared at most: their figures are then sure to 0.5 points


@dataclass(frozen=True, slots=True)
class Separation:
    """Distances between faces of one identity against faces of two.

    Attributes:
        within: median distance of two faces of one identity.
        between: median distance of faces of two identities, with the same two expressions.
        auc: chance that a pair of one identity is nearer than a pair of two, in [0, 1];
            0.5 = identity cannot be told.
        pairs: compared of each kind.
    """

    within: float
    between: float
    auc: float
    pairs: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "within": self.within,
            "between": self.between,
            "auc": self.auc,
            "pairs": self.pairs,
        }


@dataclass(frozen=True, slots=True)
class IdentityKept:
    """How well generated identities stay themselves, beside real people.

    Attributes:
        space: name of the feature space.
        synthetic: of generated identities.
        real: of real subjects, who vary in light, pose and day as well.
    """

    space: str
    synthetic: Separation
    real: Separation

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "synthetic": self.synthetic.to_json(),
            "real": self.real.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Distinct:
    """How different generated identities are from each other, beside real people.

    Attributes:
        space: name of the feature space.
        median: distance to the nearest other identity.
        real_median: the same among as many real people.
        limit: the 0.1 % quantile of real people's distance to their nearest other.
        alike: share of identities whose nearest other is nearer than the limit; real people
            have 0.1 %.
        n: identities and people compared, in every expression.
    """

    space: str
    median: float
    real_median: float
    limit: float
    alike: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "median": self.median,
            "real_median": self.real_median,
            "limit": self.limit,
            "alike": self.alike,
            "n": self.n,
        }


def separation(
    features: Float, identities: Sequence[str], labels: Int, *, pairs: int = _PAIRS
) -> Separation:
    """Compare pairs of one identity with pairs of two that show the same two expressions.

    Args:
        features: (N, D).
        identities: of each face.
        labels: (N,) class index of each face.
        pairs: compared at most.

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``; ``UNEQUAL_LENGTHS``; ``ONE_SUBJECT``;
            ``NO_PAIRS`` when no identity has two faces, or no expression has two identities.
    """
    check_features(features, at_least=2)
    if not len(features) == len(identities) == len(labels):
        raise Invalid(
            "UNEQUAL_LENGTHS",
            f"{len(features)} faces, {len(identities)} identities, {len(labels)} labels",
        )
    groups = np.unique(np.asarray(identities), return_inverse=True)[1].astype(np.int64)
    if groups.max() == 0:
        raise Invalid("ONE_SUBJECT", "all faces are of one identity: none to tell it from")
    rng = np.random.Generator(np.random.Philox(seed_of("separation", len(features))))
    first, second = _pairs_within(groups, pairs, rng)
    other = _counterparts(second, groups[first], groups, labels, rng)
    kept = other >= 0
    if not kept.any():
        raise Invalid(
            "NO_PAIRS",
            "no two faces of one identity can be compared with those of two identities",
            hint="judge several expressions of several identities",
        )
    first, second, other = first[kept], second[kept], other[kept]
    within, between = _apart(features, first, second), _apart(features, first, other)
    return Separation(
        within=float(np.median(within)),
        between=float(np.median(between)),
        auc=_chance_below(within, between),
        pairs=len(within),
    )


def distinct(
    synthetic: Float, real: Float, *, space: str, labels: tuple[Int, Int] | None = None
) -> Distinct:
    """Compare how near identities come to each other with how near real people do.

    The nearest of many is nearer than the nearest of few, so as many of both are compared. The
    limit is far out in the tail: with faces of several expressions, compared each within its own,
    it hangs on more than one pair of people.

    Args:
        synthetic: (M, D) features, one face an identity and expression.
        real: (N, D) features, one face a person and expression.
        space: name of the feature space.
        labels: (M,) and (N,) class indices; None = all faces show the same (neutral).

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``.
    """
    check_features(synthetic, real, at_least=2)
    shown = labels or (np.zeros(len(synthetic), np.int64), np.zeros(len(real), np.int64))
    rng = np.random.Generator(np.random.Philox(seed_of("distinct", space)))
    apart, reference, n = [], [], 0
    for label in np.intersect1d(*shown):
        sides = [x[rows == label] for x, rows in zip((synthetic, real), shown, strict=True)]
        check_features(*sides, at_least=2)
        count = min(len(x) for x in sides)
        mine, people = (x[np.sort(rng.permutation(len(x))[:count])] for x in sides)
        apart.append(nearest(mine, mine, same=True)[1])
        reference.append(nearest(people, people, same=True)[1])
        n = max(n, count)
    if not n:
        raise Invalid("TOO_FEW_FACES", "no expression is shown by identities and real people both")
    made, known = np.concatenate(apart), np.concatenate(reference)
    limit = float(np.quantile(known, LOW_QUANTILE))
    return Distinct(
        space=space,
        median=float(np.median(made)),
        real_median=float(np.median(known)),
        limit=limit,
        alike=float((made < limit).mean()),
        n=n,
    )


def _pairs_within(groups: Int, pairs: int, rng: np.random.Generator) -> tuple[Int, Int]:
    """All pairs of neighbours in random orders of each identity's faces, at most ``pairs``."""
    found_first, found_second = [], []
    for _ in range(4):
        order = rng.permutation(len(groups))
        order = order[np.argsort(groups[order], kind="stable")]
        same = groups[order][1:] == groups[order][:-1]
        found_first.append(order[:-1][same])
        found_second.append(order[1:][same])
    first, second = np.concatenate(found_first), np.concatenate(found_second)
    chosen = rng.permutation(len(first))[:pairs]
    return first[chosen], second[chosen]


def _counterparts(second: Int, own: Int, groups: Int, labels: Int, rng: np.random.Generator) -> Int:
    """A face with the expression of ``second`` but of another identity; -1 where none is found."""
    found = np.full(len(second), -1, dtype=np.int64)
    for label in np.unique(labels[second]):
        rows = np.flatnonzero(labels == label)
        wanted = np.flatnonzero(labels[second] == label)
        for _ in range(20):  # a draw hits the same identity rarely, unless it is nearly alone
            open_ = wanted[found[wanted] < 0]
            drawn = rows[rng.integers(len(rows), size=len(open_))]
            fits = groups[drawn] != own[open_]
            found[open_[fits]] = drawn[fits]
    return found


def _apart(features: Float, first: Int, second: Int) -> Double:
    gap = features[first].astype(np.float64) - features[second].astype(np.float64)
    distances: Double = np.sqrt(np.square(gap).sum(axis=1))
    return distances


def _chance_below(low: Double, high: Double) -> float:
    """Chance that a value of ``low`` is below one of ``high``; equal ones count half."""
    order = np.sort(high)
    above = len(order) - np.searchsorted(order, low, side="right")
    equal = np.searchsorted(order, low, side="right") - np.searchsorted(order, low, side="left")
    return float((above + 0.5 * equal).mean() / len(order))
