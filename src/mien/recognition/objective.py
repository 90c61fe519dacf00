"""What is minimised, and what validation measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.core.arrays import Float, Int
from mien.recognition.networks import Outputs


def training_loss(
    outputs: Outputs,
    labels: Tensor,
    affect: Tensor,
    *,
    smoothing: float = 0.0,
    affect_weight: float = 1.0,
) -> Tensor:
    """Cross-entropy over labelled faces plus weighted 1 − CCC over faces with known affect.

    Args:
        outputs: of N faces; a head that is absent adds nothing.
        labels: (N,) int64, -1 where unlabelled.
        affect: (N, 2) float, NaN where unknown.
        smoothing: label smoothing in [0, 1).
        affect_weight: weight of the second term.

    Returns:
        A scalar in fp32; 0 where no face counts.
    """
    loss = labels.new_zeros((), dtype=torch.float32)
    if outputs.logits.shape[1]:
        total = functional.cross_entropy(
            outputs.logits.float(),
            labels,
            ignore_index=-1,
            label_smoothing=smoothing,
            reduction="sum",
        )
        loss = loss + total / (labels >= 0).sum().clamp(min=1)
    if outputs.affect.shape[1]:
        loss = loss + affect_weight * (1.0 - concordance(outputs.affect.float(), affect).mean())
    return loss


def concordance(predicted: Tensor, true: Tensor) -> Tensor:
    """Concordance correlation coefficient of valence and arousal over rows that are known.

    Args:
        predicted: (N, 2) float.
        true: (N, 2) float, NaN where unknown.

    Returns:
        (2,): 2·cov / (var + var + (difference of means)²), in [-1, 1]; 1 (no loss, no gradient)
        where fewer than two rows are known.

    Source: Lin 1989; as a loss, Kollias et al. 2020, section 4.
    """
    known = torch.isfinite(true).all(1)
    weight = known.to(predicted.dtype)[:, None] / known.sum().clamp(min=1)
    true = torch.where(known[:, None], true, 0.0).to(predicted.dtype)
    mean_p, mean_t = (weight * predicted).sum(0), (weight * true).sum(0)
    off_p, off_t = predicted - mean_p, true - mean_t
    spread = (weight * (off_p.square() + off_t.square())).sum(0) + (mean_p - mean_t).square()
    ccc = 2.0 * (weight * off_p * off_t).sum(0) / spread.clamp(min=1e-8)
    return torch.where(known.sum() > 1, ccc, torch.ones_like(ccc))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Figures of one model on one set; None where there is nothing to measure.

    Attributes:
        loss: cross-entropy without smoothing plus weighted 1 − CCC: what selects the checkpoint.
        accuracy: in [0, 1].
        macro_f1: mean F1 over the classes that occur as label or prediction, in [0, 1].
        ccc: mean of valence's and arousal's, in [-1, 1].
    """

    loss: float
    accuracy: float | None
    macro_f1: float | None
    ccc: float | None


def judge(logits: Float, affect: Float, labels: Int, true: Float, weight: float) -> Judgement:
    """Measure outputs against the truth.

    Args:
        logits: (N, K) or (N, 0).
        affect: (N, 2) or (N, 0).
        labels: (N,), -1 where unlabelled.
        true: (N, 2), NaN where unknown.
        weight: of 1 − CCC in the loss.
    """
    loss = 0.0
    accuracy = macro_f1 = ccc = None
    labelled = labels >= 0
    if logits.shape[1] and labelled.any():
        scores, wanted = torch.from_numpy(logits[labelled]).double(), labels[labelled]
        loss += float(functional.cross_entropy(scores, torch.from_numpy(wanted)))
        said = logits[labelled].argmax(1)
        accuracy = float((said == wanted).mean())
        macro_f1 = _macro_f1(said, wanted, logits.shape[1])
    if affect.shape[1] and np.isfinite(true).all(1).sum() > 1:
        both = concordance(torch.from_numpy(affect).double(), torch.from_numpy(true).double())
        ccc = float(both.mean())
        loss += weight * (1.0 - ccc)
    return Judgement(loss, accuracy, macro_f1, ccc)


def _macro_f1(said: Int, wanted: Int, classes: int) -> float:
    hits = np.bincount(wanted[said == wanted], minlength=classes)
    both = np.bincount(wanted, minlength=classes) + np.bincount(said, minlength=classes)
    return float((2.0 * hits[both > 0] / both[both > 0]).mean())
