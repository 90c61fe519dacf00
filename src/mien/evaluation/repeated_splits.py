"""An interval for a gain that was measured on several splits of the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.evaluation.intervals import Interval


def repeated_splits_interval(gains: Sequence[Mapping[str, float]], alpha: float = 0.05) -> Interval:
    """Interval for the mean gain over new training draws and new people.

    Gains of one split share their training people, gains of one person share the person, and test
    parts of different splits overlap: both groupings count, each once.

    Args:
        gains: for each split, person → gain, averaged over seeds.
        alpha: 1 − coverage.

    Raises:
        Invalid: ``ONE_SPLIT`` for fewer than two splits; ``ONE_SUBJECT`` for fewer than two people.

    Source: Cameron, Gelbach and Miller, Robust inference with multiway clustering (JBES 2011),
        section 2: the variances clustered either way, less the one clustered by both. Degrees of
        freedom are those of the splits, the fewer ones; never below either variance alone.
    """
    people = sorted({person for split in gains for person in split})
    if len(gains) < 2:
        raise Invalid("ONE_SPLIT", "one split shows no spread", hint="repeat with other splits")
    if len(people) < 2:
        raise Invalid("ONE_SUBJECT", "one person shows no spread", hint="test on more people")
    split = np.repeat(np.arange(len(gains)), [len(g) for g in gains])
    place = {person: i for i, person in enumerate(people)}
    person = np.array([place[p] for g in gains for p in g])
    values = np.array([v for g in gains for v in g.values()])
    mean = float(values.mean())
    rest = (values - mean) / len(values)
    by_split = _clustered(rest, split)
    by_person = _clustered(rest, person)
    both = float((rest**2).sum())
    variance = max(by_split + by_person - both, by_split, by_person)
    df = float(len(gains) - 1)
    half = float(student.ppf(1 - alpha / 2, df)) * variance**0.5
    return Interval(mean, mean - half, mean + half, variance**0.5, df)


def _clustered(rest: Double, cluster: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
    sums = np.bincount(cluster, weights=rest)
    count = len(sums)
    return float((sums**2).sum() * count / (count - 1))
