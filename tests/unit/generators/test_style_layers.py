"""Layers of the style backbone: modulation, wavelets, resampling."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mien.generators.style_layers import (
    Grain,
    Modulated,
    StyledLayer,
    ToPicture,
    doubled,
    doubled_picture,
    from_wavelets,
    halved,
    to_wavelets,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own_weights(layer: Modulated, planes: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Modulate as the paper writes it: every face's own weights (equations 1 to 3)."""
    out = []
    for face, scales in zip(planes, layer.affine(style), strict=True):
        weight = layer.weight * layer.scale * scales[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        out.append(functional.conv2d(face[None], weight, padding=1))
    return torch.cat(out)


def test_scaling_activations_is_scaling_weights():
    """The form without grouped convolutions computes what the paper's equations say."""
    torch.manual_seed(1)
    layer = Modulated(6, 5, 8)
    planes, style = draw(4, 6, 7, 7), draw(4, 8, seed=1)
    found, factors = layer(planes, style)
    expected = own_weights(layer, planes, style)
    torch.testing.assert_close(found * factors, expected, atol=1e-5, rtol=1e-4)


def test_a_picture_is_a_convolution_with_the_faces_own_weights():
    """Colours are the modulated sums of the planes, at every place."""
    torch.manual_seed(1)
    layer = ToPicture(4, 3, 8)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    planes, style = draw(3, 4, 5, 6), draw(3, 8, seed=1)
    for face, scales, found in zip(planes, layer.affine(style), layer(planes, style), strict=True):
        weight = layer.weight * layer.scale * scales
        expected = functional.conv2d(face[None], weight[:, :, None, None], layer.bias)
        torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-4)


def test_demodulated_planes_keep_their_spread_under_any_style():
    """Styles of any size leave the output's standard deviation near 1."""
    torch.manual_seed(1)
    layer = Modulated(32, 32, 8)
    for size in (0.1, 1.0, 10.0):
        planes, factors = layer(draw(8, 32, 12, 12), draw(8, 8, seed=2) * size)
        inner = (planes * factors)[:, :, 1:-1, 1:-1]
        assert 0.8 < inner.detach().std().item() < 1.2


def test_a_constant_gain_of_the_planes_is_the_styles_matter():
    """Without noise and bias a layer's face depends on its style, and faces do not mix."""
    torch.manual_seed(1)
    layer = StyledLayer(4, 6, 8, 5).eval()
    planes, style = draw(3, 4, 5, 5), draw(3, 8, seed=3)
    together = layer(planes, style)
    for k in range(3):
        alone = layer(planes[k : k + 1], style[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-5)
    other = layer(planes, style.flip(0))
    assert float((together[0] - other[0]).detach().abs().max()) > 0.01


def test_noise_is_drawn_while_training_and_constant_when_sampling():
    """Two passes differ in training mode only, once noise has a strength."""
    torch.manual_seed(1)
    layer = StyledLayer(4, 4, 8, 5)
    with torch.no_grad():
        layer.strength.fill_(0.5)
    planes, style = draw(2, 4, 5, 5), draw(2, 8)
    assert not torch.equal(layer(planes, style), layer(planes, style))
    layer.eval()
    assert torch.equal(layer(planes, style), layer(planes, style))


def test_grain_is_white_and_every_face_has_its_own():
    """Grain has the strength of its style; other offsets are other grain, the same are the same."""
    torch.manual_seed(1)
    layer = Grain(3, 8, 16).eval()
    with torch.no_grad():
        layer.strength.bias.fill_(2.0)
    picture, offsets = torch.zeros(3, 3, 16, 16), torch.tensor([[5, 9], [21, 9], [0, 3]])
    with torch.no_grad():
        grain = layer(picture, draw(3, 8), offsets)
    assert torch.equal(grain[0], grain[1])  # 21 is 5 around a side of 16
    assert not torch.equal(grain[0], grain[2])
    assert torch.equal(grain[2], layer.noise[0].roll(-3, 2) * 0.2)
    colours = torch.corrcoef(grain[0].flatten(1)) - torch.eye(3)
    assert float(colours.abs().max()) < 0.3
    layer.train()
    with torch.no_grad():
        assert not torch.equal(layer(picture, draw(3, 8), offsets)[0], grain[0])


def test_a_fresh_picture_is_grey():
    """Training starts from an even picture."""
    layer = ToPicture(4, 3, 8)
    assert not layer(draw(2, 4, 5, 5), draw(2, 8)).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 3))
def test_doubling_is_bilinear_interpolation(height, width, channels):
    """Doubling agrees with torch's interpolation, edges included."""
    planes = draw(2, channels, height, width)
    expected = functional.interpolate(planes, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(doubled_picture(planes), expected, atol=1e-5, rtol=1e-5)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(doubled(planes)[inner], expected[inner], atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_wavelets_can_be_undone_and_keep_distances(channels, height, width, seed):
    """Taking pictures apart loses nothing and turns them rigidly: no product of two changes."""
    first, second = (draw(2, channels, 2 * height, 2 * width, seed=s) for s in (seed, seed + 1))
    planes = [to_wavelets(picture) for picture in (first, second)]
    assert planes[0].shape == (2, 4 * channels, height, width)
    torch.testing.assert_close(from_wavelets(planes[0]), first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        (planes[0] * planes[1]).sum(), (first * second).sum(), atol=1e-3, rtol=1e-4
    )


def test_the_first_wavelet_is_the_small_picture():
    """The first plane of each channel is the halved picture, twice as bright."""
    picture = draw(2, 3, 8, 8)
    torch.testing.assert_close(to_wavelets(picture)[:, ::4], 2 * halved(picture))
