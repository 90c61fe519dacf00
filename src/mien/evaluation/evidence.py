"""Scores of every arm on every set, subject by seed: what the decision is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mien.core.arrays import Bool, Double
from mien.core.errors import Invalid
from mien.core.scores import Predictions
from mien.core.split import Arm, Protocol


@dataclass(frozen=True, slots=True)
class Judged:
    """What one trial scored on one set.

    Attributes:
        arm: of the trial.
        seed: of the trial.
        fold: cross-validation fold, 0 where there is none.
        subjects: distinct, sorted, length n.
        scores: (n,) float64 mean accuracy of each subject, 0..1.
    """

    arm: Arm
    seed: int
    fold: int
    subjects: tuple[str, ...]
    scores: Double


@dataclass(frozen=True, slots=True)
class ScoreSet:
    """All arms on one set, paired by seed and by subject.

    Attributes:
        name: of the set.
        subjects: length N, sorted; the columns.
        seeds: length S, sorted; the rows.
        scores: arm → (S, N) float64 mean accuracy, 0..1.
    """

    name: str
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: Mapping[Arm, Double]

    def __post_init__(self) -> None:
        shape = (len(self.seeds), len(self.subjects))
        for arm, scores in self.scores.items():
            if scores.shape != shape:
                raise Invalid(
                    "SCORE_SHAPE",
                    f"{self.name}: scores of {arm.name} are {scores.shape}, expected {shape}",
                )
            if not np.isfinite(scores).all():
                raise Invalid("NOT_FINITE", f"{self.name}: a score of {arm.name} is missing")

    def stack(self, arms: Sequence[Arm]) -> Double:
        """Stack arms as (A, S, N).

        Raises:
            Invalid: ``ARM_MISSING`` when an arm was not judged on this set.
        """
        absent = [arm.name for arm in arms if arm not in self.scores]
        if absent:
            raise Invalid("ARM_MISSING", f"{self.name} has no scores of {', '.join(absent)}")
        return np.stack([self.scores[arm] for arm in arms])


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything one protocol knows.

    Attributes:
        protocol: the trials were run under.
        selection: the set that may choose (validation over folds, or a development database).
        own: own-test subjects, disjoint from selection.
        blind: blind database → its scores.
    """

    protocol: Protocol
    selection: ScoreSet
    own: ScoreSet
    blind: Mapping[str, ScoreSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shared = sorted(set(self.selection.subjects) & set(self.own.subjects))
        if shared:
            raise Invalid(
                "SUBJECT_IN_TWO_SETS",
                f"subject {shared[0]!r} both selects and judges ({len(shared)} such subjects)",
                hint="own-test subjects must not be among those that select the ratio",
            )


def subject_scores(
    correct: Bool | Double, subjects: Sequence[str]
) -> tuple[tuple[str, ...], Double]:
    """Average correctness within each subject, so that every subject counts equally.

    Args:
        correct: (M,) one value a sample, 0..1.
        subjects: length M.

    Returns:
        The sorted subjects and their (N,) float64 mean accuracies.

    Raises:
        Invalid: ``NO_SUBJECT`` when a sample has none; ``EMPTY_SET``; ``LENGTH_MISMATCH``.
    """
    values = np.asarray(correct, dtype=np.float64)
    if values.shape != (len(subjects),):
        raise Invalid("LENGTH_MISMATCH", f"{values.shape} scores for {len(subjects)} subjects")
    if len(subjects) == 0:
        raise Invalid("EMPTY_SET", "no sample to score")
    if "" in subjects:
        raise Invalid(
            "NO_SUBJECT",
            f"sample {list(subjects).index('')} has no subject",
            hint="a database without subjects is judged by: sample, and says so",
        )
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    sums = np.bincount(index, weights=values)
    return tuple(str(name) for name in names), sums / np.bincount(index)


def judge(
    arm: Arm,
    seed: int,
    fold: int,
    predictions: Predictions,
    by: Literal["subject", "sample"] = "subject",
) -> Judged:
    """Score one trial's predictions on one set; unlabelled samples are left out.

    Args:
        arm: of the trial.
        seed: of the trial.
        fold: of the trial.
        predictions: of the trial's model on the set.
        by: ``sample`` treats every sample as a subject, for databases without subjects.

    Raises:
        Invalid: ``NO_SUBJECT``, ``EMPTY_SET``.
    """
    labelled = predictions.labels >= 0
    correct = predictions.logits.argmax(axis=1) == predictions.labels
    names = predictions.subjects if by == "subject" else predictions.ids
    kept = [name for name, keep in zip(names, labelled, strict=True) if keep]
    subjects, scores = subject_scores(correct[labelled], kept)
    return Judged(arm, seed, fold, subjects, scores)


def score_set(name: str, judged: Iterable[Judged], *, once: bool = False) -> ScoreSet:
    """Put trials on one set together: mean over folds for every arm, seed and subject.

    A subject judged in several folds (own test, blind databases) counts with the mean over the
    folds' models: its accuracy under a typical model, not under their vote.

    Args:
        name: of the set.
        judged: one entry for each arm, seed and fold.
        once: require that every subject is judged in exactly one fold, as cross-validated
            selection does.

    Raises:
        Invalid: ``EMPTY_SET``; ``TRIAL_TWICE``; ``SUBJECT_IN_TWO_FOLDS`` (only with ``once``);
            ``UNPAIRED`` when an arm and seed lack subjects or folds that another has.
    """
    groups: dict[tuple[Arm, int], dict[int, Judged]] = {}
    for entry in judged:
        folds = groups.setdefault((entry.arm, entry.seed), {})
        if entry.fold in folds:
            title = f"{entry.arm.name} seed {entry.seed} fold {entry.fold}"
            raise Invalid("TRIAL_TWICE", f"{name}: {title} is given twice")
        folds[entry.fold] = entry
    if not groups:
        raise Invalid("EMPTY_SET", f"{name}: nothing was judged")
    layout = _layout(next(iter(groups.values())))
    if once:
        _require_once(name, layout)
    subjects = tuple(sorted({subject for _, members in layout for subject in members}))
    column = {subject: i for i, subject in enumerate(subjects)}
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    seeds = tuple(sorted({seed for _, seed in groups}))
    scores: dict[Arm, Double] = {}
    for arm in arms:
        rows = []
        for seed in seeds:
            folds = groups.get((arm, seed), {})
            if _layout(folds) != layout:
                raise Invalid(
                    "UNPAIRED",
                    f"{name}: {arm.name} seed {seed} was not judged on the subjects and folds "
                    "of the other trials",
                    hint="run the missing trials: mien sweep continues where it stopped",
                )
            rows.append(_mean_over_folds(folds.values(), column))
        scores[arm] = np.stack(rows)
    return ScoreSet(name, subjects, seeds, scores)


def _layout(folds: Mapping[int, Judged]) -> tuple[tuple[int, tuple[str, ...]], ...]:
    return tuple((fold, folds[fold].subjects) for fold in sorted(folds))


def _require_once(name: str, layout: tuple[tuple[int, tuple[str, ...]], ...]) -> None:
    seen: dict[str, int] = {}
    for fold, members in layout:
        for subject in members:
            if subject in seen:
                raise Invalid(
                    "SUBJECT_IN_TWO_FOLDS",
                    f"{name}: subject {subject!r} is judged in folds {seen[subject]} and {fold}",
                )
            seen[subject] = fold


def _mean_over_folds(folds: Iterable[Judged], column: Mapping[str, int]) -> Double:
    sums = np.zeros(len(column))
    counts = np.zeros(len(column))
    for entry in folds:
        index = [column[subject] for subject in entry.subjects]
        sums[index] += entry.scores
        counts[index] += 1
    return sums / counts
