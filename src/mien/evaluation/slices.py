"""Accuracy by any attribute of the people or pictures: where a gain, or a harm, is hiding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mien.core.arrays import Bool
from mien.core.sample import Sample
from mien.core.scores import Predictions
from mien.core.split import Arm
from mien.evaluation.accuracy import accuracy_interval
from mien.evaluation.evidence import judge, score_set
from mien.evaluation.intervals import Interval
from mien.evaluation.metrics import labelled

MIN_SUBJECTS = 10
UNKNOWN = "(not stated)"
_ROW_FIELDS = ("expression", "origin", "source", "usage")


@dataclass(frozen=True, slots=True)
class Slice:
    """One arm on the part of a set that shares an attribute's value.

    Attributes:
        attribute: its name, ``gender``.
        value: its value, ``female``; ``(not stated)`` where a face has none.
        subjects: people in the slice (faces, where the set is judged by sample).
        images: labelled faces in the slice.
        accuracy: with its interval over subjects and seeds; None when hidden.
    """

    attribute: str
    value: str
    subjects: int
    images: int
    accuracy: Interval | None

    @property
    def hidden(self) -> bool:
        """Too few people: a figure would speak of individuals, not of the group."""
        return self.accuracy is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        known = self.accuracy
        return {
            "attribute": self.attribute,
            "value": self.value,
            "subjects": self.subjects,
            "images": self.images,
            "accuracy": known and known.estimate,
            "low": known and known.low,
            "high": known and known.high,
        }


def attribute_values(samples: Mapping[str, Sample], name: str, ids: Sequence[str]) -> list[str]:
    """Look an attribute up for every face.

    Args:
        samples: sample id → manifest row.
        name: a key of ``Sample.attributes``, or ``expression``, ``origin``, ``source``, ``usage``.
        ids: of the faces.
    """
    return [_value(samples.get(each), name) for each in ids]


def _value(sample: Sample | None, name: str) -> str:
    if sample is None:
        return UNKNOWN
    if name in sample.attributes:
        return sample.attributes[name] or UNKNOWN
    found = getattr(sample, name) if name in _ROW_FIELDS else None
    return str(found) if found else UNKNOWN


def slice_accuracy(
    predictions: Sequence[tuple[int, int, Predictions]],
    samples: Mapping[str, Sample],
    attributes: Sequence[str],
    *,
    by: Literal["subject", "sample"] = "subject",
    min_subjects: int = MIN_SUBJECTS,
    alpha: float = 0.05,
) -> tuple[Slice, ...]:
    """Judge one arm on every value of every attribute, largest slice first.

    A person whose pictures differ in the attribute (glasses on and off) counts in each slice.

    Args:
        predictions: (seed, fold, predictions) of every trial of the arm on the set.
        samples: sample id → manifest row.
        attributes: names, see ``attribute_values``.
        by: ``sample`` where the set has no subjects.
        min_subjects: slices with fewer are listed with their counts and without accuracy.
        alpha: intervals cover 1 - alpha.

    Raises:
        Invalid: ``NO_SUBJECT``, ``UNPAIRED`` as in ``evidence``.
    """
    found: list[Slice] = []
    for attribute in attributes:
        values = [np.array(attribute_values(samples, attribute, p.ids)) for *_, p in predictions]
        names = sorted({str(v) for each in values for v in each})
        slices = [
            _slice(attribute, name, predictions, values, by, min_subjects, alpha) for name in names
        ]
        found += sorted(slices, key=lambda s: (s.value == UNKNOWN, -s.subjects, s.value))
    return tuple(s for s in found if s.images)


def _slice(
    attribute: str,
    name: str,
    predictions: Sequence[tuple[int, int, Predictions]],
    values: Sequence[np.ndarray[Any, Any]],
    by: Literal["subject", "sample"],
    min_subjects: int,
    alpha: float,
) -> Slice:
    kept = [
        (seed, fold, rows_where(p, labelled(p) & (value == name)))
        for (seed, fold, p), value in zip(predictions, values, strict=True)
    ]
    kept = [each for each in kept if each[2].ids]
    people = {w for *_, p in kept for w in (p.subjects if by == "subject" else p.ids)}
    images = {face for *_, p in kept for face in p.ids}
    if len(people) < max(min_subjects, 2):
        return Slice(attribute, name, len(people), len(images), None)
    scores = score_set(name, [judge(Arm(), seed, fold, p, by) for seed, fold, p in kept])
    interval = accuracy_interval(scores.scores[Arm()], alpha)
    return Slice(attribute, name, len(people), len(images), interval)


def rows_where(predictions: Predictions, keep: Bool) -> Predictions:
    """Keep some rows: ``keep`` is (N,) bool."""
    index = [int(i) for i in np.flatnonzero(keep)]
    return replace(
        predictions,
        ids=[predictions.ids[i] for i in index],
        subjects=[predictions.subjects[i] for i in index],
        labels=predictions.labels[index],
        logits=predictions.logits[index],
        affect=predictions.affect[index],
        affect_true=predictions.affect_true[index],
    )
