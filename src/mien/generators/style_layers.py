"""Layers of the style backbone: equalised weights, modulation by styles, wavelets, resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2  # of all leaky rectifiers
_NOISE = 0.1  # unit in which the strength of noise is learned
_GAIN = math.sqrt(2.0)  # keeps the variance through a rectifier


def rectify(values: Tensor) -> Tensor:
    """Leaky rectifier without gain."""
    return functional.leaky_relu(values, SLOPE)


class Dense(nn.Module):
    """Linear layer whose weights are kept at variance 1 and scaled when used.

    Source: Karras et al. 2018 (progressive growing), section 4.1. ``rate`` slows its learning, as
    the mapping network needs (Karras et al. 2019, appendix C).
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, values: Tensor) -> Tensor:
        """Map (N, inputs) to (N, outputs)."""
        return functional.linear(values, self.weight * self.scale, self.bias * self.rate)


class Convolution(nn.Module):
    """Convolution with ``same`` padding and equalised weights, as ``Dense``."""

    def __init__(self, inputs: int, outputs: int, side: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.padding = 1.0 / math.sqrt(inputs * side * side), side // 2

    def forward(self, planes: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        weight = (self.weight * self.scale).contiguous(memory_format=torch.channels_last)
        return functional.conv2d(planes, weight, self.bias, padding=self.padding)


class Modulated(nn.Module):
    """3×3 convolution whose input channels a style scales, and whose output is brought back to 1.

    Scaling the activations before and after one shared convolution is the same function as scaling
    every face's own weights, and needs neither grouped convolutions nor a copy of the weights a
    face.

    Source: Karras et al. 2020 (StyleGAN2), section 2.2, equations 1 and 3.
    """

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.affine = Dense(style, inputs, bias=1.0)
        self.scale = 1.0 / math.sqrt(inputs * 9)

    def forward(self, planes: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve planes (N, inputs, H, W) under styles (N, W).

        Returns:
            (N, outputs, H, W), and the factors (N, outputs, 1, 1) that it is still to be
            multiplied with: the caller has a gain to put into them.
        """
        weight = self.weight * self.scale
        with torch.autocast(planes.device.type, enabled=False):
            scales = self.affine(style.float())
            power = scales.square() @ weight.square().sum((2, 3)).t()
            factors = torch.rsqrt(power + 1e-8)[:, :, None, None]
        weight = weight.contiguous(memory_format=torch.channels_last)
        scaled = planes * scales[:, :, None, None].to(planes.dtype)
        return functional.conv2d(scaled, weight, padding=1), factors


class StyledLayer(nn.Module):
    """Modulated 3×3 convolution, noise of learned strength, bias, rectifier.

    While training, noise is drawn anew from the device's default generator; when sampling it is a
    constant of the layer, so that a face depends on its name alone. Its strength is learned ten
    times slower than in the source, for a strong constant is a flaw that all faces share.

    Source: Karras et al. 2020, section 2.1, figure 2c.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, side: int) -> None:
        super().__init__()
        self.convolution = Modulated(inputs, outputs, style)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, planes: Tensor, style: Tensor) -> Tensor:
        """Map (N, inputs, side, side) under styles (N, W) to (N, outputs, side, side)."""
        planes, factors = self.convolution(planes, style)
        kind = planes.dtype
        noise = self.noise
        if self.training:
            noise = torch.randn(len(planes), *noise.shape[1:], device=noise.device)
        # The rectifier is homogeneous: its gain is taken into what stands before it. Summed one by
        # one, for the sum of bias and noise alone would not lie channels last, which is slow.
        planes = planes * (factors * _GAIN).to(kind)
        planes = planes + (noise * (self.strength * _NOISE * _GAIN)).to(kind)
        return rectify(planes + (self.bias[None, :, None, None] * _GAIN).to(kind))


class ToPicture(nn.Module):
    """Modulated 1×1 convolution to the picture's planes, without demodulation.

    Here every face has its own weights, for they are few and the planes many. We start them at
    zero: training then begins with a grey picture, not with coloured noise that takes thousands of
    faces to unlearn.
    """

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.affine = Dense(style, inputs, bias=1.0)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1.0 / math.sqrt(inputs)

    def forward(self, planes: Tensor, style: Tensor) -> Tensor:
        """Map (N, inputs, H, W) under styles (N, W) to float32 (N, outputs, H, W)."""
        with torch.autocast(planes.device.type, enabled=False):
            scales = self.affine(style.float())
            weights = (self.weight * self.scale) * scales[:, None, :]
            pixels = planes.permute(0, 2, 3, 1).flatten(1, 2)
            colours = pixels @ weights.transpose(1, 2).to(pixels.dtype)
            picture: Tensor = (colours.float() + self.bias).transpose(1, 2)
        return picture.reshape(len(planes), -1, *planes.shape[2:])


class Grain(nn.Module):
    """White noise on the picture, as strong as the style says: the grain of a camera.

    We add it to StyleGAN's noise inputs, whose planes are the same for all colours. While training
    it is drawn anew; when sampling, every face has the layer's constant from another offset on, so
    that no two faces share their grain and a face depends on its name alone.
    """

    noise: Tensor

    def __init__(self, planes: int, style: int, side: int) -> None:
        super().__init__()
        self.strength = Dense(style, planes)
        nn.init.zeros_(self.strength.weight)
        self.register_buffer("noise", torch.randn(1, planes, side, side))

    def forward(self, picture: Tensor, style: Tensor, offsets: Tensor | None) -> Tensor:
        """Add grain to pictures (N, planes, side, side) float32.

        Args:
            picture: without grain.
            style: (N, W).
            offsets: (N, 2) int64 rows and columns, for sampling; None = no offset.
        """
        noise = self.noise
        if self.training:
            noise = torch.randn(len(picture), *noise.shape[1:], device=noise.device)
        elif offsets is not None:
            side = noise.shape[-1]
            places = torch.arange(side, device=noise.device) + offsets[:, :, None]
            down, right = (places % side).unbind(1)
            noise = noise[0][:, down[:, :, None], right[:, None, :]].transpose(0, 1)
        with torch.autocast(picture.device.type, enabled=False):
            strength: Tensor = self.strength(style.float()) * _NOISE
        return picture + noise * strength[:, :, None, None]


def doubled(planes: Tensor) -> Tensor:
    """Double height and width by bilinear interpolation, with zero beyond the edges.

    Repeating, then a 1-2-1 blur: on a processor this is faster than torch's own, and on CUDA,
    unlike that, its gradient is summed in a fixed order.
    """
    channels = planes.shape[1]
    line = planes.new_full((3,), 0.25)  # filled on the device: a copy to it would make it wait
    line[1] = 0.5
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    repeated = functional.interpolate(planes, scale_factor=2, mode="nearest")
    return functional.conv2d(repeated, kernel, padding=1, groups=channels)


def doubled_picture(picture: Tensor) -> Tensor:
    """Double height and width by bilinear interpolation; the edges do not fade."""
    blurred = doubled(picture)
    down, right = (_edge(blurred, size) for size in blurred.shape[2:])
    return blurred * torch.outer(down, right)


def _edge(like: Tensor, size: int) -> Tensor:
    factors = like.new_ones(size)
    factors[0] = factors[-1] = 4 / 3
    return factors


def halved(planes: Tensor) -> Tensor:
    """Halve height and width: means of 2×2."""
    return functional.avg_pool2d(planes, 2)


def to_wavelets(picture: Tensor) -> Tensor:
    """Take (N, C, H, W) apart into Haar wavelets (N, 4C, H/2, W/2); orthonormal.

    Source: Gal et al. 2021 (SWAGAN), section 3: a network on wavelets treats four pixels at once,
    which halves the side of its dearest layers.
    """
    return _butterfly(functional.pixel_unshuffle(picture, 2))


def from_wavelets(planes: Tensor) -> Tensor:
    """Put Haar wavelets (N, 4C, H, W) together into (N, C, 2H, 2W): undoes ``to_wavelets``."""
    return functional.pixel_shuffle(_butterfly(planes), 2)


def _butterfly(planes: Tensor) -> Tensor:
    """Multiply every four planes of (N, 4C, H, W) with the symmetric orthonormal Haar matrix."""
    count, channels, height, width = planes.shape
    a, b, c, d = planes.reshape(count, channels // 4, 4, height, width).unbind(2)
    parts = torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 2) * 0.5
    return parts.reshape(planes.shape)
