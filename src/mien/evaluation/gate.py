"""What a challenger must hold before it becomes champion, on people nothing was selected on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.serving import GateCheck
from mien.evaluation.calibration import expected_calibration_error

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class GateRule:
    """How much worse a challenger may be.

    Attributes:
        margin: of macro-F1; the lower bound of challenger − champion stays above −margin.
        recall_drop: of any one class, at most.
        max_ece: expected calibration error, at most.
        alpha: the lower bound is that of the two-sided 1 − alpha interval.
    """

    margin: float = 0.01
    recall_drop: float = 0.05
    max_ece: float = 0.1
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class GateFaces:
    """The faces of the gate with their truth.

    Attributes:
        labels: (N,) class indices into ``classes``, all ≥ 0.
        subjects: of each face; "" = a person of its own.
        classes: the label space, in order.
    """

    labels: Int
    subjects: Sequence[str]
    classes: tuple[Expression, ...]

    def __post_init__(self) -> None:
        if not len(self.labels) or self.labels.min() < 0:
            raise Invalid("GATE_SET", "the gate's set has no labelled face", hint="name another")


def judge_challenger(
    faces: GateFaces,
    challenger: Float,
    *,
    champion: Float | None,
    baseline: Int | None,
    rule: GateRule,
) -> tuple[GateCheck, ...]:
    """Hold a challenger against the champion, or a first one against chance and HOG + SVM.

    Args:
        faces: of the gate.
        challenger: calibrated probabilities (N, K).
        champion: of the present champion (N, K); None when there is none.
        baseline: classes (N,) that HOG + SVM calls; needed for a first champion.
        rule: how much worse it may be.
    """
    called = challenger.argmax(axis=1)
    if champion is None:
        checks = _first(faces, called, baseline, rule)
    else:
        before = champion.argmax(axis=1)
        checks = [_macro_f1(faces, called, before, rule), _recall(faces, called, before, rule)]
    ece = expected_calibration_error(challenger, faces.labels)
    told = f"expected calibration error {ece:.3f}, at most {rule.max_ece:g}"
    return (*checks, GateCheck("ece", ece <= rule.max_ece, told))


def _macro_f1(faces: GateFaces, called: Int, before: Int, rule: GateRule) -> GateCheck:
    gain, low = _gain(faces, called, before, rule.alpha)
    told = (
        f"macro-F1 {_points(gain)} against the champion, lower bound {_points(low)} over "
        f"{_people(faces)}, which must be above {_points(-rule.margin)}"
    )
    return GateCheck("macro_f1", low > -rule.margin, told)


def _recall(faces: GateFaces, called: Int, before: Int, rule: GateRule) -> GateCheck:
    drops = {
        str(expression): float((before[mine] == index).mean() - (called[mine] == index).mean())
        for index, expression in enumerate(faces.classes)
        if (mine := faces.labels == index).any()
    }
    worst = max(drops, key=lambda name: drops[name])
    told = (
        f"recall of {worst} {_points(-drops[worst])}, the worst of {len(drops)} classes; "
        f"at most {_points(-rule.recall_drop)}"
    )
    return GateCheck("recall", drops[worst] <= rule.recall_drop + 1e-12, told)


def _first(faces: GateFaces, called: Int, baseline: Int | None, rule: GateRule) -> list[GateCheck]:
    """A first champion: surely better than chance, and better than HOG + SVM."""
    counts = _counts(faces, called)
    chance = 1.0 / len(faces.classes)
    low = _low(macro_f1(_resampled(counts)), rule.alpha)
    told = f"macro-F1 {macro_f1(counts.sum(0)[None])[0]:.3f}, lower bound {low:.3f}"
    checks = [GateCheck("chance", low > chance, f"{told}; chance is {chance:.3f}")]
    if baseline is None:
        why = "the model's package has no HOG + SVM to compare with"
        return [*checks, GateCheck("hog", False, why)]
    gain, low = _gain(faces, called, baseline, rule.alpha)
    told = f"macro-F1 {_points(gain)} against HOG + SVM, lower bound {_points(low)}"
    return [*checks, GateCheck("hog", gain > 0.0 and low > -rule.margin, told)]


def _gain(faces: GateFaces, called: Int, before: Int, alpha: float) -> tuple[float, float]:
    """Difference of macro-F1, and its lower bound by resampling people, the same for both."""
    mine, theirs = _counts(faces, called), _counts(faces, before)
    whole = macro_f1(mine.sum(0)[None])[0] - macro_f1(theirs.sum(0)[None])[0]
    differences = macro_f1(_resampled(mine)) - macro_f1(_resampled(theirs))
    return float(whole), _low(differences, alpha)


def _low(values: Double, alpha: float) -> float:
    return float(np.quantile(values, alpha / 2))


def _counts(faces: GateFaces, called: Int) -> Double:
    """Truth against answer of each person: (S, K, K)."""
    k = len(faces.classes)
    names = [s or f"#{i}" for i, s in enumerate(faces.subjects)]
    people, index = np.unique(np.asarray(names), return_inverse=True)
    counts = np.zeros((len(people), k, k))
    np.add.at(counts, (index, faces.labels, called), 1.0)
    return counts


def _resampled(counts: Double) -> Double:
    """Counts of resampled people: (B, K, K); the draws depend on the number of people only.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13
        (percentile interval), with people as the units.
    """
    people = len(counts)
    rng = np.random.default_rng(seed_of("gate", people))
    draws = rng.multinomial(people, np.full(people, 1.0 / people), size=RESAMPLES)
    flat = draws.astype(np.float64) @ counts.reshape(people, -1)
    return flat.reshape(RESAMPLES, *counts.shape[1:])


def macro_f1(counts: Double) -> Double:
    """Macro-F1 (B,) of counts (B, K, K), over the classes that have a true face."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    true, said = counts.sum(-1), counts.sum(-2)
    present = true > 0
    f1 = np.where(present, 2 * hits / np.maximum(true + said, 1e-12), 0.0)
    found: Double = f1.sum(-1) / np.maximum(present.sum(-1), 1)
    return found


def _people(faces: GateFaces) -> str:
    return f"{len({s or i for i, s in enumerate(faces.subjects)})} people"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
