"""The modern backbones: ``dc`` (a plain stack) and ``res`` (residual), without batch statistics.

Resize-convolutions instead of transposed ones, for the latter leave checkerboards, and pictures
as Haar wavelets, so that no layer works at the full side. Labels and noise enter every generator
block (``film``) or its first layer only (``concat``); the discriminator has no normalisation, as
its gradient penalties want it, and class logits, projection or both.

Source: residual blocks without normalisation and the closing depthwise layer after Huang et al.
    2024 (R3GAN), §3; projection: Miyato & Koyama 2018; noise in every block: Chen et al. 2019,
    "On self modulation"; pixel norm: Karras et al. 2018; wavelets: Gal et al. 2021 (SWAGAN).
    Narrower and with a light pixel norm in the generator, for minutes on a processor.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.generators.noise_spec import NoiseSpec
from mien.generators.style_layers import (
    doubled,
    doubled_picture,
    from_wavelets,
    halved,
    to_wavelets,
)

_SLOPE = 0.2
_GAIN = math.sqrt(2.0 / (1.0 + _SLOPE**2))
_WIDEST = 4  # times ``width``: channels of the coarse layers
_COARSEST_PX = 4
_DETAIL_GAIN = 0.25  # of the finest wavelets, which are small in pictures


def make_generator(spec: NoiseSpec) -> nn.Module:
    """Make the generator of ``dc`` or ``res``."""
    return ModernGenerator(spec)


def make_discriminator(spec: NoiseSpec) -> nn.Module:
    """Make the discriminator of ``dc`` or ``res``."""
    return ModernDiscriminator(spec)


class LabelCode(nn.Module):
    """Noise, normalised, with a label's embedding beside it: (N, Z) and (N,) → (N, D)."""

    condition_weight: Tensor

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.embedding = None if spec.unconditional else nn.Embedding(spec.classes, spec.z_dim)
        self.size = spec.z_dim * (1 if spec.unconditional else 2)
        self.register_buffer("condition_weight", torch.ones(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Join noise and label."""
        if self.embedding is None:
            return z
        code: Tensor = functional.normalize(self.embedding(labels)) * math.sqrt(z.shape[1])
        return torch.cat([z, self.condition_weight * code], 1)


class Film(nn.Module):
    """Scale and shift features by what a code says, after bringing them to unit length.

    Source: Perez et al. 2018, FiLM.
    """

    def __init__(self, code: int, features: int, *, modulated: bool) -> None:
        super().__init__()
        self.film = nn.Linear(code, 2 * features) if modulated else None
        if self.film is not None:
            nn.init.normal_(self.film.weight, std=0.5 / math.sqrt(code))
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (N, F, H, W) by (N, D)."""
        x = x * (x.float().square().mean(1, keepdim=True) + 1e-6).rsqrt().to(x.dtype)
        if self.film is None:
            return x
        scale, shift = self.film(code)[:, :, None, None].to(x.dtype).chunk(2, 1)
        return torch.addcmul(shift, x, 1.0 + scale)


class UpBlock(nn.Module):
    """Double the side between two modulated convolutions, with a shortcut in ``res``."""

    def __init__(self, inputs: int, outputs: int, code: int, spec: NoiseSpec) -> None:
        super().__init__()
        modulated = spec.g_condition == "film"
        self.film1 = Film(code, inputs, modulated=modulated)
        self.conv1 = _conv(inputs, outputs, 3)
        self.film2 = Film(code, outputs, modulated=modulated)
        self.conv2 = _conv(outputs, outputs, 3)
        self.skip = _conv(inputs, outputs, 1) if spec.backbone == "res" else None

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map (N, F, S, S) to (N, F', 2S, 2S)."""
        y: Tensor = doubled(self.conv1(functional.leaky_relu(self.film1(x, code), _SLOPE)))
        y = self.conv2(functional.leaky_relu(self.film2(y, code), _SLOPE))
        if self.skip is None:
            return y
        # The 1×1 convolution before the resize: the same result, a quarter of the work.
        return y + doubled(self.skip(x))


class DownBlock(nn.Module):
    """Halve the side: two convolutions and a mean over 2×2, with a shortcut in ``res``."""

    def __init__(self, inputs: int, outputs: int, spec: NoiseSpec) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, inputs, 3)
        self.conv2 = _conv(inputs, outputs, 3)
        self.skip = _conv(inputs, outputs, 1, bias=False) if spec.backbone == "res" else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, F, S, S) to (N, F', S/2, S/2)."""
        y: Tensor = functional.leaky_relu(self.conv1(functional.leaky_relu(x, _SLOPE)), _SLOPE)
        y = self.conv2(halved(y))
        if self.skip is None:
            return y
        return cast("Tensor", (y + self.skip(halved(x))) * math.sqrt(0.5))


class ModernGenerator(nn.Module):
    """From a small dense grid up to the face, modulated by noise and label."""

    gains: Tensor

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.z_dim = spec.z_dim
        widths = _widths(spec)
        self.start_px = spec.size_px >> len(widths)
        self.start = widths[-1]
        self.code = LabelCode(spec)
        size = self.code.size
        self.dense = nn.Linear(size, self.start * self.start_px**2)
        pairs = pairwise(widths[::-1])
        self.blocks = nn.ModuleList(UpBlock(i, o, size, spec) for i, o in pairs)
        self.last = Film(size, widths[0], modulated=spec.g_condition == "film")
        self.out = _conv(widths[0], 4 * spec.channels, 3)
        # Of a mean and three details each; the optimiser's steps are as small as the details.
        gains = torch.tensor([1.0, *3 * (_DETAIL_GAIN,)]).repeat(spec.channels)
        self.register_buffer("gains", 0.5 * gains[:, None, None], persistent=False)
        self.edges = spec.fine == "edges"

    def forward(self, z: Tensor, labels: Tensor | None, mixed: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Make faces; ``mixed`` has no meaning here."""
        code = self.code(z, labels)
        x = self.dense(code).view(-1, self.start, self.start_px, self.start_px)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, code)
        x = functional.leaky_relu(self.last(x, code), _SLOPE)
        planes = self.out(x).float() * self.gains
        return torch.tanh(_smooth_but_for_edges(planes) if self.edges else from_wavelets(planes))


class ModernDiscriminator(nn.Module):
    """Down to a small grid and a feature vector, and from it the heads."""

    condition_weight: Tensor

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        widths = _widths(spec)
        end_px = spec.size_px >> len(widths)
        features = widths[-1]
        planes = spec.classes if spec.d_condition == "concat" else 0
        self.planes = planes
        self.start = _conv(4 * spec.channels + planes, widths[0], 3)
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(DownBlock(i, o, spec) for i, o in pairs))
        self.mix = _conv(features, 2 * features, 3)
        self.gather = nn.Conv2d(2 * features, 2 * features, end_px, groups=2 * features)
        self.features = 2 * features
        self.real = nn.Linear(self.features, 1)
        self.projection = (
            nn.Embedding(spec.classes, self.features)
            if not spec.unconditional and "projection" in spec.d_condition
            else None
        )
        self.classes = nn.Linear(self.features, spec.classes) if spec.has_aux else None
        self.register_buffer("condition_weight", torch.ones(()))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Judge faces (N, C, S, S), with their labels where they are a condition."""
        x = to_wavelets(x)
        if self.planes and labels is not None:
            side = x.shape[-1]
            hot = functional.one_hot(labels, self.planes).to(x.dtype)[:, :, None, None]
            x = torch.cat([x, (self.condition_weight * hot).expand(-1, -1, side, side)], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = functional.leaky_relu(self.blocks(self.start(x)), _SLOPE)
        x = self.gather(functional.leaky_relu(self.mix(x), _SLOPE)).flatten(1).float()
        real = self.real(x).flatten()
        if self.projection is not None and labels is not None:
            towards = functional.normalize(self.projection(labels)).float()
            real = real + self.condition_weight * (towards * x).sum(1)
        return real, None if self.classes is None else self.classes(x)


def _smooth_but_for_edges(planes: Tensor) -> Tensor:
    """Put wavelets (N, 4C, S, S) together without patterns: (N, C, 2S, 2S).

    A last layer easily gives all of an even place the same small detail, which is a pattern of two
    pixels: details lose what they are on average around. Slopes, which such details draw too, come
    from enlarging the means smoothly instead.
    """
    count, channels, *side = planes.shape
    parts = planes.view(count, channels // 4, 4, *side)
    means, details = parts[:, :, 0], parts[:, :, 1:]
    flat = details.flatten(1, 2)
    around = functional.avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=False)
    fine = (flat - around).view_as(details)
    nothing = torch.zeros_like(means)[:, :, None]
    drawn = torch.cat([nothing, fine], 2).view_as(planes)
    return 0.5 * doubled_picture(means) + from_wavelets(drawn)


def _widths(spec: NoiseSpec) -> list[int]:
    """Channels from the finest grid, of half the face's side, to the coarsest."""
    levels, side = 1, spec.size_px // 2
    while side % 2 == 0 and side // 2 >= _COARSEST_PX:
        levels, side = levels + 1, side // 2
    return [spec.width * min(2**level, _WIDEST) for level in range(levels)]


def _conv(inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    gain = _GAIN if kernel > 1 else 1.0
    nn.init.normal_(conv.weight, std=gain / math.sqrt(inputs * kernel**2))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
