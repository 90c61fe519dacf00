"""The losses of the game: values by hand, what they pull at, and that a batch may be split."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mien.generators.gan_losses import (
    class_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    squared_gradient,
)

KINDS = ("bce", "hinge", "rpgan", "wgan_gp")
LOGITS = st.lists(st.floats(-5, 5), min_size=4, max_size=4)


def test_values_by_hand():
    """Each loss is its paper's formula."""
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])

    def soft(x):
        return math.log1p(math.exp(x))

    wanted = {
        "bce": (soft(-2) + soft(1)) / 2 + (soft(0.5) + soft(0)) / 2,
        "hinge": (0 + 2) / 2 + (1.5 + 1) / 2,
        "rpgan": (soft(0.5 - 2) + soft(0 + 1)) / 2,
        "wgan_gp": 0.25 - 0.5,
    }
    for kind, value in wanted.items():
        assert float(discriminator_loss(kind, real, fake)) == pytest.approx(value, rel=1e-5)
    assert float(generator_loss("bce", fake)) == pytest.approx((soft(-0.5) + soft(0)) / 2)
    assert float(generator_loss("rpgan", fake, real)) == pytest.approx((soft(1.5) + soft(-1)) / 2)
    assert float(generator_loss("hinge", fake)) == pytest.approx(-0.25)


@pytest.mark.parametrize("kind", KINDS)
@given(real=LOGITS, fake=LOGITS)
def test_the_networks_pull_against_each_other(kind, real, fake):
    """A generated face judged more real never costs the generator nor helps the discriminator."""
    r, f = torch.tensor(real), torch.tensor(fake)
    more = f + 1.0
    assert discriminator_loss(kind, r, more) >= discriminator_loss(kind, r, f) - 1e-6
    assert generator_loss(kind, more, r) <= generator_loss(kind, f, r) + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@given(real=LOGITS, fake=LOGITS)
def test_a_batch_may_be_split(kind, real, fake):
    """The loss of a batch is the mean of its halves' losses."""
    r, f = torch.tensor(real), torch.tensor(fake)
    halves = [discriminator_loss(kind, r[p], f[p]) for p in (slice(0, 2), slice(2, 4))]
    whole = discriminator_loss(kind, r, f)
    assert float(sum(halves) / 2) == pytest.approx(float(whole), abs=1e-5)


def test_the_relativistic_loss_needs_real_faces():
    """Asked without them, it says so."""
    with pytest.raises(ValueError, match="real faces"):
        generator_loss("rpgan", torch.zeros(2))


def test_unlabelled_rows_count_nothing_in_the_class_loss():
    """A row labelled -1 changes neither sum nor count; none labelled gives 0."""
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    labelled = class_loss(logits[:2], torch.tensor([1, 3]))
    assert torch.equal(class_loss(logits, torch.tensor([1, 3, -1])), labelled)
    assert float(class_loss(logits, torch.full((3,), -1))) == 0.0


def test_squared_gradient_of_a_known_function():
    """Of w·x it is |w|², and it can be differentiated with respect to w."""
    weight = torch.full((1, 2, 2), 3.0, requires_grad=True)
    faces = torch.randn(5, 1, 2, 2).requires_grad_()
    found = squared_gradient((faces * weight).sum((1, 2, 3)), faces)
    assert float(found.detach()) == pytest.approx(4 * 9.0)
    found.backward()
    assert torch.allclose(weight.grad, torch.full((1, 2, 2), 6.0))


def test_gradient_penalty_wants_slope_one():
    """It is 0 where the critic's slope is 1 and (k - 1)² where it is k."""
    real, fake, mix = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2), torch.rand(4)
    for slope in (1.0, 3.0):
        found = gradient_penalty(lambda x, k=slope: k * x[:, 0, 0, 0], real, fake, mix)
        assert float(found) == pytest.approx((slope - 1) ** 2, abs=1e-5)
