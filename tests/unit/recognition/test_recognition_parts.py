"""Arrays, schedules, losses, optimisers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.faces import FaceArrays, concat
from mien.recognition.networks import Outputs
from mien.recognition.objective import concordance, judge, training_loss
from mien.recognition.optimiser import orthogonalised
from mien.recognition.schedule import schedule_of
from mien.recognition.spec import FitSpec


def test_take_keeps_rows_together(make_faces):
    """Rows taken by index, in any order and twice, or by mask, keep their labels and names."""
    faces = make_faces(9)
    some = faces.take([4, 4, 0])
    assert some.ids == ["4", "4", "0"]
    assert list(some.labels) == [faces.labels[i] for i in (4, 4, 0)]
    assert np.array_equal(some.images[2], faces.images[0])
    assert len(faces.take(faces.labels == 1)) == 3


def test_concat_appends(make_faces):
    """Joining keeps the order; unlike sizes and nothing are refused."""
    both = concat([make_faces(4), make_faces(5, seed=1)])
    assert len(both) == 9
    assert np.array_equal(both.images[4:], make_faces(5, seed=1).images)
    with pytest.raises(Invalid, match="shapes"):
        concat([make_faces(4), make_faces(4, size_px=24)])
    with pytest.raises(Invalid) as error:
        concat([])
    assert error.value.reason == "EMPTY_SET"


def test_arrays_that_do_not_match_are_refused():
    """Unequal lengths and other kinds of images are errors at the door."""
    images = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(Invalid) as error:
        FaceArrays.of(images, [0, 1])
    assert error.value.reason == "UNEQUAL_LENGTHS"
    with pytest.raises(Invalid) as error:
        FaceArrays.of(images.astype(np.float32), [0, 1, 2])
    assert error.value.reason == "IMAGE_TYPE"


@given(
    faces=st.integers(1, 60),
    batch=st.integers(1, 40),
    seed=st.integers(0, 9),
    protocol=st.sampled_from(["steps", "paper"]),
)
def test_every_epoch_shows_every_face_once(faces, batch, seed, protocol):
    """Batches laid end to end are shuffles of all rows, one after the other."""
    spec = FitSpec(protocol=protocol, batch=batch, seed=seed, kimg=0.2, epochs=3)
    schedule = schedule_of(spec, "small", faces)
    stream = np.concatenate([schedule.rows(step) for step in range(schedule.steps)])
    assert schedule.images_seen(schedule.steps) == len(stream)
    for start in range(0, len(stream) - faces + 1, faces):
        assert sorted(stream[start : start + faces]) == list(range(faces))
    if protocol == "steps":
        assert len(stream) == math.ceil(200 / batch) * batch


def test_epochs_are_shuffled_apart():
    """Two epochs, and two seeds, differ in order."""
    schedule = schedule_of(FitSpec(batch=50, kimg=1), "small", 50)
    other = schedule_of(FitSpec(batch=50, kimg=1, seed=1), "small", 50)
    assert not np.array_equal(schedule.rows(0), schedule.rows(1))
    assert not np.array_equal(schedule.rows(0), other.rows(0))


@given(kimg=st.floats(0.01, 3), batch=st.integers(1, 64), evaluations=st.integers(1, 20))
def test_validations_are_spread_evenly_and_end_with_the_run(kimg, batch, evaluations):
    """``steps`` validates as often as asked (or every step), the last time at the end."""
    schedule = schedule_of(FitSpec(kimg=kimg, batch=batch, evaluations=evaluations), "small", 9)
    when = [s for s in range(1, schedule.steps + 1) if schedule.validates_after(s)]
    assert len(when) == min(evaluations, schedule.steps)
    assert when[-1] == schedule.steps
    gaps = np.diff([0, *when])
    assert gaps.max() - gaps.min() <= 1


def test_learning_rates():
    """``steps`` warms up and falls to nothing; ``paper`` decays as Keras does."""
    steps = schedule_of(FitSpec(kimg=1.6, batch=16, lr=1e-3), "small", 50)
    rates = [steps.lr(s) for s in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * i for i in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert rates[-1] < 1e-6
    paper = schedule_of(FitSpec(protocol="paper"), "seed", 50)
    assert paper.lr(0) == 1e-4
    assert paper.lr(1000) == pytest.approx(1e-4 / 1.001)


def test_concordance_is_lins():
    """The coefficient equals its definition, skips unknown rows, and is 1 where it says nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (50, 2)), rng.uniform(-1, 1, (50, 2))
    y += 0.5 * x
    want = [
        2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        for a, b in zip(x.T, y.T, strict=True)
    ]
    assert concordance(torch.from_numpy(x), torch.from_numpy(y)).tolist() == pytest.approx(want)
    gaps = np.concatenate([y, np.full((9, 2), np.nan)])
    more = np.concatenate([x, rng.uniform(-1, 1, (9, 2))])
    assert concordance(torch.from_numpy(more), torch.from_numpy(gaps)).tolist() == pytest.approx(
        want
    )
    assert concordance(torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [1, 1]


def test_loss_counts_only_what_is_labelled():
    """Unlabelled faces and unknown affect add neither loss nor gradient."""
    torch.manual_seed(0)
    logits, affect = torch.randn(4, 3, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    labels = torch.tensor([0, -1, 2, -1])
    true = torch.tensor([[0.1, 0.2], [0.5, -0.3], [math.nan, math.nan], [math.nan, math.nan]])
    loss = training_loss(Outputs(logits, affect), labels, true, smoothing=0.1, affect_weight=0.5)
    loss.backward()
    expected = torch.nn.functional.cross_entropy(
        logits[[0, 2]], labels[[0, 2]], label_smoothing=0.1
    ) + 0.5 * (1 - concordance(affect[:2], true[:2]).mean())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()))
    assert logits.grad is not None
    assert affect.grad is not None
    assert (logits.grad[[1, 3]] == 0).all()
    assert (affect.grad[2:] == 0).all()
    none = training_loss(Outputs(logits, affect), torch.full((4,), -1), true * math.nan)
    assert float(none.detach()) == 0.0


def test_judgement():
    """Accuracy, macro-F1 and log-loss equal scikit-learn's; absent heads leave None."""
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    rng = np.random.default_rng(1)
    logits = rng.normal(size=(60, 4)).astype(np.float32)
    labels = rng.integers(0, 3, 60)  # the fourth class is predicted but never true
    nothing = np.empty((60, 0), np.float32)
    found = judge(logits, nothing, labels, nothing, 1.0)
    exp = np.exp(logits.astype(float))
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found.macro_f1 == pytest.approx(
        f1_score(labels, logits.argmax(1), average="macro", labels=range(4))
    )
    assert found.loss == pytest.approx(
        log_loss(labels, exp / exp.sum(1, keepdims=True), labels=range(4)), rel=1e-5
    )
    assert found.ccc is None
    affect = judge(nothing, logits[:, :2], labels, logits[:, :2], 1.0)
    assert affect.accuracy is None
    assert affect.ccc == pytest.approx(1.0)
    assert affect.loss == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shape", [(8, 8), (16, 25), (40, 12), (32, 288)])
def test_orthogonalised_keeps_directions(shape):
    """Singular vectors stay, singular values come close to 1, wide or tall."""
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalised(matrix) @ right.T
    found = torch.diagonal(turned)
    assert torch.allclose(turned, torch.diag(found), atol=1e-4)
    assert found.max() < 1.25
    assert found[values > 0.05 * values.max()].min() > 0.6
