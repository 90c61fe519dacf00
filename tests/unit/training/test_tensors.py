"""Images at rest and inside networks."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mien.training.tensors import planes, to_images, to_network


@given(seed=st.integers(0, 99), channels=st.sampled_from([1, 3]))
def test_uint8_survives_the_network_range(seed, channels):
    """To [-1, 1], channels first, and back: exact, for every value."""
    shape = (3, 16, 16) if channels == 1 else (3, 16, 16, 3)
    levels = torch.arange(256).repeat(9)[: 3 * 16 * 16 * channels]
    order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(seed))
    images = levels[order].to(torch.uint8).reshape(shape)
    inside = planes(to_network(images))
    assert inside.shape == (3, channels, 16, 16)
    assert inside.dtype == torch.float32
    assert float(inside.min()) >= -1.0
    assert float(inside.max()) <= 1.0
    assert torch.equal(to_images(inside), images)


def test_what_networks_overshoot_is_clipped():
    """Not wrapped around."""
    faces = torch.tensor([-1.5, -1.001, 1.001, 3.0]).reshape(1, 1, 2, 2)
    assert to_images(faces).flatten().tolist() == [0, 0, 255, 255]
