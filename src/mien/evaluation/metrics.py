"""How good a classifier's answers are on one set: plain counts and scores, NumPy only.

Classes without a single true face cannot be judged: their recall and F1 are undefined (NaN here,
null in JSON) and they are left out of balanced accuracy and macro-F1. Which classes count is thus
a property of the set, never of the model, so that two models on one set average over the same
classes. Faces wrongly given to an absent class still cost the recall of their true class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Bool, Double, Int
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.scores import Predictions
from mien.evaluation.calibration import expected_calibration_error, log_loss

CountMatrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class of one set.

    Attributes:
        expression: the class.
        precision: share of the faces called so that are so, in [0, 1]; 0 when none was called so.
        recall: share of the faces that are so that were called so; NaN without such faces.
        f1: harmonic mean of both; NaN without such faces.
        support: number of faces that are so.
        predicted: number of faces called so.
    """

    expression: Expression
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """All figures of one model on one set; fractions in [0, 1], NaN where undefined.

    Attributes:
        faces: labelled faces judged.
        subjects: distinct subjects among them; 0 where there are none.
        accuracy: share of faces called right.
        balanced_accuracy: mean recall over the classes present.
        macro_f1: mean F1 over the classes present.
        log_loss: mean negative log-likelihood in nats, before temperature.
        log_loss_scaled: the same after temperature.
        ece: expected calibration error before temperature (15 equal-width bins).
        ece_scaled: the same after temperature.
        temperature: that was applied for the ``_scaled`` figures; 1 = none.
        per_class: one entry a class, in the order of ``confusion``.
        confusion: counts; row = true class, column = predicted class.
        ccc_valence: concordance of predicted with true valence; NaN without that head or truth.
        ccc_arousal: the same for arousal.
    """

    faces: int
    subjects: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    log_loss_scaled: float
    ece: float
    ece_scaled: float
    temperature: float
    per_class: tuple[ClassMetrics, ...]
    confusion: CountMatrix
    ccc_valence: float
    ccc_arousal: float

    @property
    def classes(self) -> tuple[Expression, ...]:
        """The label space, in order."""
        return tuple(c.expression for c in self.per_class)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: NaN becomes None, classes their names."""
        plain: dict[str, Any] = {
            name: _plain(getattr(self, name)) for name in SCALARS if name != "temperature"
        }
        plain["temperature"] = self.temperature
        plain["faces"], plain["subjects"] = self.faces, self.subjects
        plain["confusion"] = [list(row) for row in self.confusion]
        plain["per_class"] = {
            str(c.expression): {
                "precision": _plain(c.precision),
                "recall": _plain(c.recall),
                "f1": _plain(c.f1),
                "support": c.support,
                "predicted": c.predicted,
            }
            for c in self.per_class
        }
        return plain


SCALARS: tuple[str, ...] = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "log_loss_scaled",
    "ece",
    "ece_scaled",
    "temperature",
    "ccc_valence",
    "ccc_arousal",
)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def metrics_from_dict(plain: dict[str, Any]) -> Metrics:
    """Rebuild what ``Metrics.to_dict`` wrote."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else float(value)

    per_class = tuple(
        ClassMetrics(
            Expression(name),
            precision=number(each["precision"]),
            recall=number(each["recall"]),
            f1=number(each["f1"]),
            support=int(each["support"]),
            predicted=int(each["predicted"]),
        )
        for name, each in plain["per_class"].items()
    )
    return Metrics(
        faces=int(plain["faces"]),
        subjects=int(plain["subjects"]),
        per_class=per_class,
        confusion=tuple(tuple(int(n) for n in row) for row in plain["confusion"]),
        **{name: number(plain[name]) for name in SCALARS},
    )


def labelled(predictions: Predictions) -> Bool:
    """Mark the rows with a class label: (N,) bool."""
    mask: Bool = predictions.labels >= 0
    return mask


def correct(predictions: Predictions) -> Bool:
    """Tell for every labelled face whether it was called right: (labelled,) bool."""
    keep = labelled(predictions)
    right: Bool = predictions.logits[keep].argmax(axis=1) == predictions.labels[keep]
    return right


def confusion_counts(truth: Int, called: Int, classes: int) -> Int:
    """Count true class against predicted class: (C, C) int64, rows are the truth.

    Args:
        truth: (N,) class indices in [0, C).
        called: (N,) class indices in [0, C).
        classes: C.
    """
    flat = np.bincount(truth * classes + called, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def normalise_rows(counts: Int) -> Double:
    """Divide each row by its sum: (C, C) float64 in [0, 1]; a row without faces is NaN."""
    totals = counts.sum(axis=1, keepdims=True).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Double = np.where(totals > 0, counts / totals, np.nan)
    return shares


def per_class_metrics(confusion: Int, classes: Sequence[Expression]) -> tuple[ClassMetrics, ...]:
    """Compute precision, recall and F1 of every class from the counts (C, C)."""
    hits = np.diag(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    found = []
    for index, expression in enumerate(classes):
        hit, true, called = int(hits[index]), int(support[index]), int(predicted[index])
        found.append(
            ClassMetrics(
                expression,
                precision=hit / called if called else 0.0,
                recall=hit / true if true else float("nan"),
                f1=2 * hit / (true + called) if true else float("nan"),
                support=true,
                predicted=called,
            )
        )
    return tuple(found)


def concordance(predicted: Double, truth: Double) -> float:
    """Return Lin's concordance correlation coefficient, in [-1, 1].

    Pairs with a NaN on either side are left out; NaN with fewer than two pairs or when both sides
    are one and the same constant.

    Source: Lin 1989, "A concordance correlation coefficient to evaluate reproducibility"; with
    population (1/n) moments, as the affect challenges (AVEC, ABAW) compute it.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2:
        return float("nan")
    scale = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    if scale == 0.0:
        return float("nan")
    return float(2.0 * ((x - x.mean()) * (y - y.mean())).mean() / scale)


def evaluate(predictions: Predictions, *, temperature: float = 1.0) -> Metrics:
    """Judge one model on one set; rows without a class label are left out of class figures.

    Args:
        predictions: raw outputs; with (N, 0) logits only the affect figures are defined.
        temperature: fitted on validation, > 0; used for the ``_scaled`` figures alone, for it
            changes no answer.

    Raises:
        Invalid: ``EMPTY_SET`` when no row can be judged.
    """
    keep = labelled(predictions)
    has_classes = predictions.logits.shape[1] > 0 and bool(keep.any())
    valence, arousal = _affect(predictions)
    if not has_classes and not (np.isfinite(valence) or np.isfinite(arousal)):
        raise Invalid("EMPTY_SET", "no face of the set has a label that the model predicts")
    if not has_classes:
        return _affect_only(predictions, valence, arousal)
    truth = predictions.labels[keep]
    called = predictions.logits[keep].argmax(axis=1).astype(np.int64)
    confusion = confusion_counts(truth, called, len(predictions.classes))
    per_class = per_class_metrics(confusion, predictions.classes)
    present = [c for c in per_class if c.support]
    plain = predictions.probabilities()[keep]
    scaled = predictions.probabilities(temperature)[keep]
    return Metrics(
        faces=int(keep.sum()),
        subjects=len({s for s, k in zip(predictions.subjects, keep, strict=True) if k and s}),
        accuracy=float((truth == called).mean()),
        balanced_accuracy=float(np.mean([c.recall for c in present])),
        macro_f1=float(np.mean([c.f1 for c in present])),
        log_loss=log_loss(plain, truth),
        log_loss_scaled=log_loss(scaled, truth),
        ece=expected_calibration_error(plain, truth),
        ece_scaled=expected_calibration_error(scaled, truth),
        temperature=temperature,
        per_class=per_class,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        ccc_valence=valence,
        ccc_arousal=arousal,
    )


def _affect(predictions: Predictions) -> tuple[float, float]:
    if predictions.affect.shape[1] != 2 or predictions.affect_true.shape[1] != 2:
        return float("nan"), float("nan")
    said = predictions.affect.astype(np.float64)
    true = predictions.affect_true.astype(np.float64)
    return concordance(said[:, 0], true[:, 0]), concordance(said[:, 1], true[:, 1])


def _affect_only(predictions: Predictions, valence: float, arousal: float) -> Metrics:
    nan = float("nan")
    return Metrics(
        faces=len(predictions.ids),
        subjects=len({s for s in predictions.subjects if s}),
        per_class=(),
        confusion=(),
        ccc_valence=valence,
        ccc_arousal=arousal,
        **{n: nan for n in SCALARS if not n.startswith("ccc") and n != "temperature"},
        temperature=1.0,
    )


def mean_metrics(found: Sequence[Metrics]) -> Metrics:
    """Summarise several trials of one arm on one set: scores averaged, confusions added up.

    ``faces``, ``subjects`` and ``support`` stay those of the set, not of the trials together.

    Raises:
        Invalid: ``EMPTY_SET`` without a trial; ``CLASSES_DIFFER`` when label spaces differ.
    """
    if not found:
        raise Invalid("EMPTY_SET", "no trial to summarise")
    if len({each.classes for each in found}) > 1:
        raise Invalid("CLASSES_DIFFER", "the trials of one arm have different classes")
    first, trials = found[0], len(found)
    return Metrics(
        faces=max(each.faces for each in found),
        subjects=max(each.subjects for each in found),
        per_class=tuple(
            ClassMetrics(
                c.expression,
                precision=_mean(each.per_class[i].precision for each in found),
                recall=_mean(each.per_class[i].recall for each in found),
                f1=_mean(each.per_class[i].f1 for each in found),
                support=max(each.per_class[i].support for each in found),
                predicted=round(sum(each.per_class[i].predicted for each in found) / trials),
            )
            for i, c in enumerate(first.per_class)
        ),
        confusion=tuple(
            tuple(sum(each.confusion[r][c] for each in found) for c in range(len(first.classes)))
            for r in range(len(first.classes))
        ),
        **{name: _mean(getattr(each, name) for each in found) for name in SCALARS},
    )


def _mean(values: Iterable[float]) -> float:
    """Average what is defined; NaN where nothing is."""
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
