"""Calibration error on known cases, and the temperature that mends it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX
from mien.core.scores import Predictions
from mien.evaluation.calibration import (
    TEMPERATURE_RANGE,
    Binning,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    pooled_reliability,
    reliability,
)


def said(labels, logits) -> Predictions:
    labels, logits = np.asarray(labels, np.int64), np.asarray(logits, np.float32)
    none = np.zeros((len(labels), 0), np.float32)
    names = [f"set/{i}" for i in range(len(labels))]
    return Predictions(
        names, names, labels, logits, EKMAN_SIX[: logits.shape[1]], none, none.copy()
    )


def calibrated(faces: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true distribution of the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (faces, 6))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((faces, 1))).argmax(axis=1)
    return labels, logits


def test_ece_of_cases_that_can_be_worked_out() -> None:
    """Always sure and half right: 0.5. Always sure and right: 0. Half sure, half right: 0."""
    sure = np.array([[1.0, 0.0]] * 4)
    assert expected_calibration_error(sure, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert expected_calibration_error(sure, np.zeros(4, np.int64)) == pytest.approx(0.0)
    even = np.array([[0.5 + 1e-9, 0.5 - 1e-9]] * 4)
    assert expected_calibration_error(even, np.array([0, 0, 1, 1])) == pytest.approx(0.0, abs=1e-6)


def test_ece_weighs_bins_by_their_faces() -> None:
    """Three faces at 0.9, all right, and one at 0.6, wrong: (3·0.1 + 1·0.6)/4."""
    chances = np.array([[0.9, 0.1]] * 3 + [[0.6, 0.4]])
    assert expected_calibration_error(chances, np.array([0, 0, 0, 1])) == pytest.approx(0.225)


@given(st.integers(0, 10_000), st.floats(0.3, 3.0))
@settings(max_examples=25, deadline=None)
def test_ece_agrees_with_torchmetrics(seed: int, sharpness: float) -> None:
    """15 bins of equal width give torchmetrics' figure."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    labels, logits = calibrated(300, sharpness, seed)
    chances = said(labels, logits).probabilities()
    theirs = multiclass_calibration_error(
        torch.tensor(chances), torch.tensor(labels), num_classes=6, n_bins=15, norm="l1"
    )
    assert expected_calibration_error(chances, labels) == pytest.approx(float(theirs), abs=2e-5)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """Bins are (low, high], as Guo et al. define them."""
    chances = np.array([[0.6, 0.4]])
    found = reliability(chances, np.array([0]), bins=5)
    assert [b.faces for b in found] == [0, 0, 1, 0, 0]
    assert found[2].high == pytest.approx(0.6)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_every_face_lands_in_exactly_one_bin(binning: Binning) -> None:
    """Bins cover [0, 1], empty ones are NaN and count nothing."""
    labels, logits = calibrated(200, 1.5)
    found = reliability(said(labels, logits).probabilities(), labels, binning=binning)
    assert len(found) == 15
    assert sum(b.faces for b in found) == 200
    assert all(np.isnan(b.accuracy) for b in found if not b.faces)
    assert found[-1].high == 1.0
    if binning == "mass":
        assert {b.faces for b in found} <= {13, 14}


def test_true_confidences_are_nearly_calibrated() -> None:
    """Labels drawn from the probabilities leave only sampling noise."""
    labels, logits = calibrated(20_000, 1.5)
    chances = said(labels, logits).probabilities()
    assert expected_calibration_error(chances, labels) < 0.02
    assert expected_calibration_error(chances, labels, binning="mass") < 0.02


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_a_factor_on_the_logits(factor: float) -> None:
    """Calibrated logits times f want the temperature f, and ECE falls."""
    labels, logits = calibrated(8000, 1.5)
    stretched = said(labels, factor * logits)
    temperature = fit_temperature(stretched)
    assert temperature == pytest.approx(factor, rel=0.06)
    if factor != 1.0:
        before = expected_calibration_error(stretched.probabilities(), labels)
        after = expected_calibration_error(stretched.probabilities(temperature), labels)
        assert after < before / 2


def test_temperature_is_the_minimum_of_the_loss() -> None:
    """No temperature nearby gives a lower log-loss."""
    labels, logits = calibrated(500, 2.0)
    found = said(labels, 2 * logits)
    best = fit_temperature(found)
    loss = log_loss(found.probabilities(best), labels)
    for other in (0.9 * best, 1.1 * best):
        assert log_loss(found.probabilities(other), labels) > loss


def test_temperature_stays_in_its_range() -> None:
    """Faces all called right would want zero, all wrong infinity: the range bounds both."""
    logits = 5 * np.eye(6)[[0, 1, 2, 3]]
    low, high = TEMPERATURE_RANGE
    # Far below 1 the loss is zero to the last digit, so any temperature there will do.
    assert low <= fit_temperature(said([0, 1, 2, 3], logits)) < 0.2
    assert fit_temperature(said([1, 2, 3, 4], logits)) == pytest.approx(high, rel=0.05)


def test_temperature_needs_a_label() -> None:
    """Without a labelled face there is nothing to fit."""
    with pytest.raises(Invalid) as caught:
        fit_temperature(said([-1], np.zeros((1, 6))))
    assert caught.value.reason == "EMPTY_SET"


def test_log_loss_of_an_impossible_answer_is_finite() -> None:
    """A probability of zero is clipped, so one face cannot make the mean infinite."""
    assert np.isfinite(log_loss(np.array([[1.0, 0.0]]), np.array([1])))


def test_trials_pool_into_one_diagram() -> None:
    """Faces of all trials are binned together, each with its trial's temperature."""
    labels, logits = calibrated(300, 1.5)
    trials = [said(labels, logits), said(labels, 3 * logits)]
    plain, scaled = pooled_reliability(trials), pooled_reliability(trials, [1.0, 3.0])
    assert sum(b.faces for b in plain) == sum(b.faces for b in scaled) == 600
    one = reliability(trials[0].probabilities(), labels)
    assert [2 * b.faces for b in one] == [b.faces for b in scaled]
    assert pooled_reliability([said([-1], np.zeros((1, 0)))]) == ()
    with pytest.raises(Invalid) as caught:
        pooled_reliability([said([-1], np.zeros((1, 6)))])
    assert caught.value.reason == "EMPTY_SET"
