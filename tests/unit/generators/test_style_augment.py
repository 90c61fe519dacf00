"""Differentiable augmentation: what it changes, what it leaves, what flows back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.generators.gan_augment import AUGMENTATIONS, FACE_AUGMENTATIONS, augment

NAMES = sorted(AUGMENTATIONS)


def faces(count=6, channels=3, size=16, seed=0):
    drawn = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return drawn * 2 - 1


@settings(max_examples=30, deadline=None)
@given(st.permutations(NAMES), st.integers(0, 4), st.integers(0, 2**62), st.sampled_from([1, 3]))
def test_the_same_seed_draws_the_same_change(names, count, seed, channels):
    """A seed decides everything; the shape stays; no value becomes infinite."""
    x = faces(channels=channels)
    first = augment(x, names[:count], seed)
    assert first.shape == x.shape
    assert first.isfinite().all()
    assert torch.equal(first, augment(x, names[:count], seed))


@pytest.mark.parametrize("name", NAMES)
def test_every_change_changes_faces_differently(name):
    """Copies of one face become different pictures, and another seed others."""
    x = faces(1).expand(16, -1, -1, -1)
    first = augment(x, (name,), 1)
    assert len(first.flatten(1).unique(dim=0)) > 1
    assert not torch.equal(first, augment(x, (name,), 2))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow_back_to_the_faces(name):
    """What the judge says about a changed face reaches the generator."""
    x = faces().requires_grad_()
    augment(x, (name,), 3).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


def test_gradients_are_those_of_the_pixels_that_were_moved():
    """Translation moves a pixel's gradient with it, exactly."""
    x = faces(4, 1, 8).requires_grad_()
    weights = faces(4, 1, 8, seed=9)
    (augment(x, ("translation",), 5) * weights).sum().backward()
    moved = augment(x.detach(), ("translation",), 5)
    assert x.grad is not None
    torch.testing.assert_close((x * x.grad).sum(), (moved * weights).sum())


def test_translation_moves_whole_pixels_an_eighth_at_most():
    """Every face is itself, shifted by whole pixels; what comes in is mid-grey."""
    x = faces(40, 3, 16)
    moved = augment(x, ("translation",), 4)
    shifts = set()
    for face, seen in zip(x, moved, strict=True):
        found = [
            (down, right)
            for down in range(-3, 4)
            for right in range(-3, 4)
            if torch.equal(seen, shifted(face, down, right))
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert {abs(d) for pair in shifts for d in pair} == {0, 1, 2}


def shifted(face: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Shift by slices, another way than the code's."""
    out = torch.zeros_like(face)
    side = face.shape[-1]
    rows = slice(max(0, down), side + min(0, down))
    columns = slice(max(0, right), side + min(0, right))
    from_rows = slice(max(0, -down), side + min(0, -down))
    from_columns = slice(max(0, -right), side + min(0, -right))
    out[:, rows, columns] = face[:, from_rows, from_columns]
    return out


def test_flip_mirrors_about_half_of_the_faces():
    """A face is either itself or its mirror image."""
    x = faces(200, 1, 4)
    seen = augment(x, ("flip",), 1)
    same = (seen == x).flatten(1).all(1)
    mirrored = (seen == x.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 70 <= int(mirrored.sum()) <= 130


def test_cutout_greys_a_part_of_one_square():
    """At most a quarter of a face becomes grey; the rest stays."""
    x = faces(60, 1, 16) + 3.0
    seen = augment(x, ("cutout",), 1)
    cut = seen == 0
    assert torch.equal(seen[~cut], x[~cut])
    share = cut.float().mean((1, 2, 3))
    assert float(share.min()) > 0
    assert float(share.max()) == pytest.approx(0.25)
    assert len(share.unique()) > 5


def test_colour_leaves_shapes_alone():
    """A gray face is changed along one line: every pixel by the same gain and shift."""
    x = faces(8, 1, 8)
    seen = augment(x, ("colour",), 2)
    for before, after in zip(x.flatten(1), seen.flatten(1), strict=True):
        correlation = torch.corrcoef(torch.stack([before, after]))[0, 1]
        assert float(correlation) == pytest.approx(1.0, abs=1e-4)


def test_the_set_for_faces_neither_cuts_nor_turns():
    """Faces keep their parts and their direction."""
    assert set(FACE_AUGMENTATIONS) <= set(AUGMENTATIONS)
    assert "cutout" not in FACE_AUGMENTATIONS


def test_no_names_change_nothing_and_unknown_ones_are_refused():
    """A misspelt augmentation is an error that names it and the known ones."""
    x = faces()
    assert torch.equal(augment(x, (), 1), x)
    with pytest.raises(Invalid) as error:
        augment(x, ("colour", "sparkle"), 1)
    assert error.value.reason == "ENGINE_PARAMS"
    assert "sparkle" in str(error.value.violations)
