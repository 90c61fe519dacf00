"""Accuracy against ratio: one point an arm, set and protocol, with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Double
from mien.core.scores import Predictions
from mien.core.split import Arm, Protocol
from mien.evaluation.accuracy import accuracy_interval, accuracy_intervals
from mien.evaluation.evidence import subject_scores
from mien.evaluation.intervals import Interval
from mien.evaluation.metrics import correct, labelled


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Accuracy of one arm on one set under one protocol.

    Attributes:
        arm: what was trained.
        role: the set judged on: ``test``, ``mixed_test``, ``blind:<name>`` …
        protocol: ``steps`` or ``paper``.
        mean: accuracy, mean over subjects and seeds, in [0, 1].
        low: lower end of its interval.
        high: upper end.
        seeds: behind it.
        subjects: behind it; faces where the set has no subjects.
        image_ratio: synthetic images per real image; None without real ones.
    """

    arm: Arm
    role: str
    protocol: Protocol
    mean: float
    low: float
    high: float
    seeds: int
    subjects: int
    image_ratio: float | None = None


def role_title(role: str) -> str:
    """Name a set for people: ``blind:mmi`` → ``Blind: mmi``."""
    kind, _, name = role.partition(":")
    known = {
        "test": "Own test",
        "mixed_test": "Mixed test (holds synthetic faces)",
        "validation": "Validation",
        "blind": "Blind",
        "development": "Development",
    }
    title = known.get(kind, kind)
    return f"{title}: {name}" if name else title


def curve_points(
    groups: Mapping[tuple[Arm, str, Protocol], Sequence[Predictions]],
    *,
    image_ratios: Mapping[Arm, float | None] | None = None,
    alpha: float = 0.05,
) -> list[CurvePoint]:
    """Summarise every arm on every set under every protocol.

    The ratios of one set and protocol share their spread between seeds, as the decision does, so
    that three seeds do not blow their intervals up; the other arms stand alone.

    Args:
        groups: (arm, role, protocol) → one entry a seed. A face without a subject counts as one
            of its own. Where the seeds were judged on different subjects (the mixed test draws
            synthetic faces by seed) the interval speaks of subjects alone.
        image_ratios: arm → synthetic images per real image, where known.
        alpha: intervals cover 1 - alpha.

    Raises:
        Invalid: ``EMPTY_SET`` without a labelled face; ``ONE_SUBJECT`` for a single person.
    """
    tables = {key: _table(said) for key, said in groups.items()}
    alike: dict[tuple[str, Protocol], list[tuple[Arm, str, Protocol]]] = {}
    for (arm, role, protocol), table in tables.items():
        if arm.kind == "ratio" and arm.base == "geometric" and len(table) > 1:
            alike.setdefault((role, protocol), []).append((arm, role, protocol))
    intervals: dict[tuple[Arm, str, Protocol], Interval] = {}
    for keys in alike.values():
        if len({tables[k].shape for k in keys}) == 1:
            found = accuracy_intervals(np.stack([tables[k] for k in keys]), alpha)
            intervals |= dict(zip(keys, found, strict=True))
    return [
        _point(
            key,
            intervals.get(key) or accuracy_interval(table, alpha),
            len(groups[key]),
            table.shape[1],
            (image_ratios or {}).get(key[0]),
        )
        for key, table in tables.items()
    ]


def _point(
    key: tuple[Arm, str, Protocol],
    found: Interval,
    seeds: int,
    subjects: int,
    image_ratio: float | None,
) -> CurvePoint:
    return CurvePoint(*key, found.estimate, found.low, found.high, seeds, subjects, image_ratio)


def _table(predictions: Sequence[Predictions]) -> Double:
    """Build accuracy by seed and subject: (S, N), or (1, N) where the seeds' subjects differ."""
    rows = [dict(zip(*_scores(each), strict=True)) for each in predictions]
    people = sorted({who for row in rows for who in row})
    if all(len(row) == len(people) for row in rows):
        return np.array([[row[who] for who in people] for row in rows])
    return np.array([[float(np.mean([r[who] for r in rows if who in r])) for who in people]])


def _scores(said: Predictions) -> tuple[tuple[str, ...], Double]:
    keep = labelled(said)
    # A face id holds a slash, a subject a colon: the two cannot meet.
    names = [subject or face for face, subject in zip(said.ids, said.subjects, strict=True)]
    return subject_scores(correct(said), [n for n, k in zip(names, keep, strict=True) if k])


def curve_rows(points: Iterable[CurvePoint]) -> list[dict[str, Any]]:
    """List the points as flat JSON rows for ``dvc plots`` and spreadsheets, in a stable order."""
    ordered = sorted(points, key=lambda p: (p.role, p.protocol, p.arm))
    return [
        {
            "arm": point.arm.name,
            "kind": point.arm.kind,
            "ratio": point.arm.ratio,
            "base": point.arm.base,
            "pool": point.arm.pool,
            "set": point.role,
            "protocol": point.protocol,
            "mean": point.mean,
            "low": point.low,
            "high": point.high,
            "seeds": point.seeds,
            "subjects": point.subjects,
            "image_ratio": point.image_ratio,
        }
        for point in ordered
    ]
