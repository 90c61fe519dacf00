"""Metrics against scikit-learn and torchmetrics, and where they are undefined."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS
from mien.core.scores import Predictions
from mien.evaluation.metrics import (
    concordance,
    confusion_counts,
    evaluate,
    mean_metrics,
    metrics_from_dict,
    normalise_rows,
)


def predictions(labels, logits, affect=None, affect_true=None) -> Predictions:
    labels = np.asarray(labels, dtype=np.int64)
    logits = np.asarray(logits, dtype=np.float32)
    none = np.zeros((len(labels), 0), dtype=np.float32)
    return Predictions(
        ids=[f"set/{i}" for i in range(len(labels))],
        subjects=[f"set:{i // 3}" for i in range(len(labels))],
        labels=labels,
        logits=logits,
        classes=EXPRESSIONS[: logits.shape[1]],
        affect=none if affect is None else np.asarray(affect, np.float32),
        affect_true=none if affect_true is None else np.asarray(affect_true, np.float32),
    )


@st.composite
def answers(draw) -> Predictions:
    classes = draw(st.integers(2, 8))
    faces = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    highest = draw(st.integers(0, classes - 1))
    labels = rng.integers(0, highest + 1, faces)
    logits = rng.normal(0, 2, (faces, classes))
    logits[np.arange(faces), labels] += draw(st.floats(0, 4))
    return predictions(labels, logits)


@given(answers())
@settings(max_examples=60, deadline=None)
def test_class_metrics_agree_with_sklearn(said: Predictions) -> None:
    """Accuracy, balanced accuracy, F1, per-class figures and log-loss are scikit-learn's."""
    found = evaluate(said)
    called = said.logits.argmax(axis=1)
    present = sorted(set(said.labels.tolist()))
    everything = range(len(said.classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that occur on one side
        precision, recall, f1, support = reference.precision_recall_fscore_support(
            said.labels, called, labels=list(everything), zero_division=0.0
        )
        balanced = reference.balanced_accuracy_score(said.labels, called)
    assert found.accuracy == pytest.approx(reference.accuracy_score(said.labels, called))
    assert found.balanced_accuracy == pytest.approx(balanced)
    macro = reference.f1_score(
        said.labels, called, labels=present, average="macro", zero_division=0.0
    )
    assert found.macro_f1 == pytest.approx(macro)
    matrix = reference.confusion_matrix(said.labels, called, labels=list(everything))
    assert np.array_equal(np.array(found.confusion), matrix)
    loss = reference.log_loss(said.labels, said.probabilities(), labels=list(everything))
    assert found.log_loss == pytest.approx(loss, abs=1e-5)
    for index, each in enumerate(found.per_class):
        assert each.support == support[index]
        assert each.precision == pytest.approx(precision[index])
        if each.support:
            assert each.recall == pytest.approx(recall[index])
            assert each.f1 == pytest.approx(f1[index])
        else:
            assert np.isnan(each.recall)
            assert np.isnan(each.f1)


def test_an_absent_class_leaves_the_averages_to_the_others() -> None:
    """A class without true faces is undefined and does not change what is averaged."""
    said = predictions([0, 0, 1, 1], [[9, 0, 0], [0, 0, 9], [0, 9, 0], [0, 9, 0]])
    found = evaluate(said)
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.macro_f1 == pytest.approx((2 / 3 + 1.0) / 2)
    assert found.per_class[2].precision == 0.0
    assert found.per_class[2].predicted == 1


def test_unlabelled_faces_are_left_out() -> None:
    """Rows with label -1 count nowhere, also not among the subjects."""
    said = predictions([0, -1, 1, -1], [[9, 0], [0, 9], [9, 0], [0, 9]])
    found = evaluate(said)
    assert (found.faces, found.subjects) == (2, 1)
    assert found.accuracy == 0.5
    assert np.array(found.confusion).sum() == 2


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_nothing_to_judge_is_an_error(labels: list[int]) -> None:
    """An empty or unlabelled set is refused, not scored as zero."""
    with pytest.raises(Invalid) as caught:
        evaluate(predictions(labels, np.zeros((len(labels), 3))))
    assert caught.value.reason == "EMPTY_SET"


def test_concordance_agrees_with_torchmetrics() -> None:
    """Lin's coefficient is torchmetrics' (which uses 1/(n-1) moments) up to that factor."""
    import torch
    from torchmetrics.functional import concordance_corrcoef

    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, 4000)
    said = 0.6 * truth + rng.normal(0, 0.3, 4000) + 0.1
    theirs = float(concordance_corrcoef(torch.tensor(said), torch.tensor(truth)))
    assert concordance(said, truth) == pytest.approx(theirs, abs=2e-3)


def test_concordance_of_known_cases() -> None:
    """Agreement is 1, a mirrored answer −1, a constant 0, one value twice undefined."""
    truth = np.array([-1.0, 0.0, 1.0])
    assert concordance(truth, truth) == pytest.approx(1.0)
    assert concordance(-truth, truth) == pytest.approx(-1.0)
    assert concordance(np.zeros(3), truth) == pytest.approx(0.0)
    assert np.isnan(concordance(np.ones(3), np.ones(3)))
    assert np.isnan(concordance(np.array([1.0, np.nan]), np.array([0.0, 1.0])))
    # By hand: 2·cov / (var + var + shift²) with cov = 2/3, variances 2/3, shift 1.
    assert concordance(truth + 1, truth) == pytest.approx((4 / 3) / (4 / 3 + 1))


def test_affect_alone_is_judged_without_classes() -> None:
    """A model with only the affect head gets CCC and no class figures."""
    rng = np.random.default_rng(1)
    true = rng.uniform(-1, 1, (50, 2))
    said = predictions([-1] * 50, np.zeros((50, 0)), affect=true * 0.9, affect_true=true)
    found = evaluate(said)
    assert found.ccc_valence > 0.9
    assert np.isnan(found.accuracy)
    assert found.per_class == ()
    assert found.to_dict()["accuracy"] is None


def test_metrics_survive_json() -> None:
    """What is written is plain JSON (no NaN) and reads back the same."""
    found = evaluate(predictions([0, 1, 1], [[9, 0, 0], [0, 9, 0], [9, 0, 0]]), temperature=1.7)
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = metrics_from_dict(json.loads(text))
    assert back.to_dict() == found.to_dict()
    assert back.classes == found.classes
    assert back.temperature == 1.7


@given(answers())
@settings(max_examples=25, deadline=None)
def test_rows_of_the_normalised_matrix_sum_to_one(said: Predictions) -> None:
    """Shares of a class with faces sum to 1; a class without is NaN throughout."""
    counts = confusion_counts(
        said.labels, said.logits.argmax(axis=1).astype(np.int64), len(said.classes)
    )
    shares = normalise_rows(counts)
    present = counts.sum(axis=1) > 0
    assert np.allclose(shares[present].sum(axis=1), 1.0)
    assert np.isnan(shares[~present]).all()


def test_several_trials_average_scores_and_add_counts() -> None:
    """Scores are means over trials, confusions sums, faces and support those of the set."""
    first = evaluate(predictions([0, 1], [[9, 0], [0, 9]]))
    second = evaluate(predictions([0, 1], [[0, 9], [0, 9]]))
    both = mean_metrics([first, second])
    assert both.accuracy == pytest.approx(0.75)
    assert both.confusion == ((1, 1), (0, 2))
    assert both.faces == 2
    assert both.per_class[0].support == 1
    assert both.per_class[0].recall == pytest.approx(0.5)


def test_trials_of_other_classes_do_not_mix() -> None:
    """Averaging needs one label space and at least one trial."""
    two = evaluate(predictions([0, 1], [[9, 0], [0, 9]]))
    three = evaluate(predictions([0, 1], [[9, 0, 0], [0, 9, 0]]))
    with pytest.raises(Invalid) as caught:
        mean_metrics([two, three])
    assert caught.value.reason == "CLASSES_DIFFER"
    with pytest.raises(Invalid) as caught:
        mean_metrics([])
    assert caught.value.reason == "EMPTY_SET"


def test_temperature_changes_confidence_but_no_answer() -> None:
    """Only the scaled figures move with the temperature."""
    rng = np.random.default_rng(3)
    said = predictions(rng.integers(0, 4, 200), rng.normal(0, 3, (200, 4)))
    plain, scaled = evaluate(said), evaluate(said, temperature=3.0)
    moved = {name for name, value in scaled.to_dict().items() if value != plain.to_dict()[name]}
    assert moved == {"ece_scaled", "log_loss_scaled", "temperature"}
    assert scaled.ece_scaled < plain.ece
