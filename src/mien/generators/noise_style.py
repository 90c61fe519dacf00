"""Style backbone of the engine ``noise``: a mapping network, and layers that its styles modulate.

Source: Karras et al. 2019, 2020 (StyleGAN, StyleGAN2); Gal et al. 2021 (SWAGAN) for a discriminator
that works on wavelets, at half the side. The generator works on pixels: drawing wavelets is cheaper
still, but leaves a regular pattern of two pixels that takes long to unlearn. We differ in this:
channels change before a doubling, not after, for the dearest layers are then a third cheaper; the
mapping network has four layers; one style mixing point a face; grain.
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
    Convolution,
    Dense,
    Grain,
    StyledLayer,
    ToPicture,
    doubled,
    doubled_picture,
    halved,
    rectify,
    to_wavelets,
)

_GAIN = math.sqrt(2.0)
_MAPPING_LAYERS = 4
_MAPPING_RATE = 0.01
_STYLE = 128  # length of a style
_WIDEST = 8  # of the coarsest layers, in widths
_MEAN_RATE = 0.005  # at which the mean style follows
_PATH_DECAY = 0.01  # at which the mean path length follows
_GROUP = 4  # faces over which the discriminator sees the spread


def make_generator(spec: NoiseSpec) -> nn.Module:
    """Build the generator with fresh weights, drawn from torch's default generator."""
    return StyleGenerator(spec)


def make_discriminator(spec: NoiseSpec) -> nn.Module:
    """Build the discriminator with fresh weights, drawn from torch's default generator."""
    return StyleDiscriminator(spec)


def sides(size_px: int) -> tuple[int, ...]:
    """Give the sides of the layers, coarse to fine: from 4…7, or an odd number, to the face's.

    ``sides(64) == (4, 8, 16, 32, 64)``, ``sides(48) == (6, 12, 24, 48)``.
    """
    found = [size_px]
    while found[0] >= 8 and found[0] % 2 == 0:
        found.insert(0, found[0] // 2)
    return tuple(found)


def _widths(spec: NoiseSpec) -> list[int]:
    return [min(_WIDEST, spec.size_px // side) * spec.width for side in sides(spec.size_px)]


def normalised(z: Tensor) -> Tensor:
    """Scale vectors (N, D) to root mean square 1."""
    return z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)


def offsets(z: Tensor) -> Tensor:
    """Say from which row and column on a face of noise (N, Z) has its grain: (N, 2) int64.

    From the noise itself, not from its style: it must not hang on how a sum was rounded.
    """
    return (z[:, [0, -1]].abs() * 1000.0).long()


class Mapping(nn.Module):
    """Noise and label to a style, and the mean style of every class.

    Source: Karras et al. 2019, section 3; labels as in Karras et al. 2020 (ADA), appendix.
    """

    mean: Tensor
    condition_weight: Tensor

    def __init__(self, z_dim: int, classes: int) -> None:
        super().__init__()
        self.label = nn.Embedding(classes, z_dim) if classes else None
        first = z_dim * (2 if classes else 1)
        self.layers = nn.ModuleList(
            Dense(first if k == 0 else _STYLE, _STYLE, rate=_MAPPING_RATE)
            for k in range(_MAPPING_LAYERS)
        )
        self.register_buffer("mean", torch.zeros(max(1, classes), _STYLE))
        if classes:
            self.register_buffer("condition_weight", torch.ones(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Map z (N, Z) and labels (N,) or None to styles (N, W), float32."""
        with torch.autocast(z.device.type, enabled=False):
            values = normalised(z.float())
            if self.label is not None and labels is not None:
                label = normalised(self.label(labels)) * self.condition_weight
                values = torch.cat([values, label], 1)
            for layer in self.layers:
                values = rectify(layer(values)) * _GAIN
        if self.training:
            self._follow(values.detach(), labels)
        return values

    @torch.no_grad()
    def _follow(self, styles: Tensor, labels: Tensor | None) -> None:
        """Move the mean of every class that is there a little towards its faces' mean."""
        if self.label is None or labels is None:
            self.mean.lerp_(styles.mean(0, keepdim=True), _MEAN_RATE)
            return
        member = functional.one_hot(labels, len(self.mean)).to(styles.dtype)
        count = member.sum(0)[:, None]
        means = member.t() @ styles / count.clamp(min=1)
        self.mean.copy_(torch.where(count > 0, self.mean.lerp(means, _MEAN_RATE), self.mean))

    def towards_mean(self, styles: Tensor, labels: Tensor | None, psi: float) -> Tensor:
        """Draw styles (N, W) towards the mean of their class: 1 = as they are, 0 = the mean."""
        mean = self.mean if labels is None or self.label is None else self.mean[labels]
        return mean + psi * (styles - mean)


class StyleGenerator(nn.Module):
    """Noise (N, Z) to faces (N, C, S, S).

    Every doubling has a layer before and one after it. Every side has a picture; the face is the
    smooth sum of all of them.
    """

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.z_dim = spec.z_dim
        self.classes = spec.classes
        self.mapping = Mapping(spec.z_dim, spec.classes)
        scales, widths = sides(spec.size_px), _widths(spec)
        self.start = nn.Parameter(torch.randn(1, widths[0], scales[0], scales[0]))
        self.first = StyledLayer(widths[0], widths[0], _STYLE, scales[0])
        steps = list(zip(widths[:-1], widths[1:], scales[:-1], scales[1:], strict=True))
        self.before = nn.ModuleList(StyledLayer(a, b, _STYLE, s) for a, b, s, _ in steps)
        self.after = nn.ModuleList(StyledLayer(b, b, _STYLE, t) for _, b, _, t in steps)
        self.pictures = nn.ModuleList(ToPicture(w, spec.channels, _STYLE) for w in widths)
        self.grain = Grain(spec.channels, _STYLE, scales[-1])
        self.layers = 1 + 2 * len(steps)

    def forward(self, z: Tensor, labels: Tensor | None, mixed: Tensor | None = None) -> Tensor:
        """Make faces; values outside [-1, 1] are possible and stand for the limit.

        Args:
            z: (N, Z) standard normal.
            labels: (N,) int64, or None for an unconditional generator.
            mixed: (N, Z): from a random layer on, a face has this one's style.
        """
        return self.draw(self.styles(z, labels, mixed), offsets(z))

    def styles(self, z: Tensor, labels: Tensor | None, mixed: Tensor | None = None) -> Tensor:
        """Give every layer its style: (N, L, W)."""
        style: Tensor = self.mapping(z, labels)[:, None].expand(-1, self.layers, -1)
        if mixed is None or self.layers == 1:
            return style
        other = self.mapping(mixed, labels)[:, None]
        cut = torch.randint(1, self.layers, (len(z), 1), device=z.device)
        own = torch.arange(self.layers, device=z.device) < cut
        return torch.where(own[:, :, None], style, other)

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float) -> Tensor:
        """Make faces with styles drawn towards the mean style, within [-1, 1].

        Args:
            z: (N, Z).
            labels: (N,) or None.
            psi: 1 = none; below 1 faces are more typical and less diverse.

        Source: Karras et al. 2019, appendix B.
        """
        style = self.mapping.towards_mean(self.mapping(z, labels), labels, psi)
        styles = style[:, None].expand(-1, self.layers, -1)
        return self.draw(styles, offsets(z)).clamp(-1.0, 1.0)

    def draw(self, styles: Tensor, grain: Tensor | None = None) -> Tensor:
        """Draw styles (N, L, W) as faces (N, C, S, S).

        Args:
            styles: of every layer.
            grain: (N, 2) int64, see ``offsets``; of no effect while training.
        """
        start = self.start.expand(len(styles), -1, -1, -1)
        planes = self.first(start.contiguous(memory_format=torch.channels_last), styles[:, 0])
        picture = self.pictures[0](planes, styles[:, 0])
        for k, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            planes = doubled(before(planes, styles[:, 2 * k + 1]))
            planes = after(planes, styles[:, 2 * k + 2])
            picture = doubled_picture(picture) + self.pictures[k + 1](planes, styles[:, 2 * k + 2])
        return cast("Tensor", self.grain(picture, styles[:, -1], grain))


class _Residual(nn.Module):
    """Two 3×3 convolutions and a halving, and a 1×1 shortcut.

    Source: Karras et al. 2020, figure 7b; we halve between the convolutions, not in the second.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fine = Convolution(inputs, inputs, 3)
        self.coarse = Convolution(inputs, outputs, 3)
        self.shortcut = Convolution(inputs, outputs, 1, bias=False)

    def forward(self, planes: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/2, W/2)."""
        inner = halved(rectify(self.fine(planes)))
        # Gains: √2 for each rectifier, 1/√2 for the sum.
        inner = rectify(self.coarse(inner)) * _GAIN
        return cast("Tensor", inner + self.shortcut(halved(planes)) * (1 / _GAIN))


class StyleDiscriminator(nn.Module):
    """Residual discriminator on wavelets, with the spread over groups of faces as a plane.

    Groups are consecutive rows, so that a batch split at multiples of ``spec.ghost`` is judged as
    the whole one would be.

    Source: Karras et al. 2020, section 2.3; projection: Miyato and Koyama 2018.
    """

    condition_weight: Tensor

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        widths = _widths(spec)[-2::-1]  # the wavelets have half the side
        coarsest = sides(spec.size_px)[0]
        self.group = math.gcd(_GROUP, spec.ghost)
        self.first = Convolution(4 * spec.channels, widths[0], 3)
        self.blocks = nn.ModuleList(_Residual(a, b) for a, b in pairwise(widths))
        self.last = Convolution(widths[-1] + 1, widths[-1], 3)
        self.dense = Dense(widths[-1] * coarsest * coarsest, widths[-1])
        self.real = Dense(widths[-1], 1)
        wants = spec.d_condition if spec.classes else "none"
        self.classes = Dense(widths[-1], spec.classes) if "aux" in wants else None
        self.label = nn.Embedding(spec.classes, widths[-1]) if "projection" in wants else None
        if self.label is not None:
            self.register_buffer("condition_weight", torch.ones(()))

    def forward(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Judge faces (N, C, S, S): realness logits (N,), class logits (N, K) or None."""
        planes = to_wavelets(x).contiguous(memory_format=torch.channels_last)
        planes = rectify(self.first(planes)) * _GAIN
        for block in self.blocks:
            planes = block(planes)
        planes = rectify(self.last(self._with_spread(planes))) * _GAIN
        features = rectify(self.dense(planes.flatten(1)).float()) * _GAIN
        with torch.autocast(x.device.type, enabled=False):
            real = self.real(features)[:, 0]
            if self.label is not None and labels is not None:
                towards = (features * self.label(labels)).sum(1) / math.sqrt(features.shape[1])
                real = real + towards * self.condition_weight
            said = None if self.classes is None else self.classes(features)
        return real, said

    def _with_spread(self, planes: Tensor) -> Tensor:
        """Append a plane: the mean standard deviation within each group of faces.

        Source: Karras et al. 2018, section 3.
        """
        count, _, height, width = planes.shape
        group = math.gcd(self.group, count)
        grouped = planes.float().reshape(-1, group, *planes.shape[1:])
        spread = (grouped.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        plane = spread.repeat_interleave(group)[:, None, None, None].to(planes.dtype)
        return torch.cat([planes, plane.expand(-1, 1, height, width)], 1)


def path_length(images: Tensor, styles: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Penalise styles that move the picture more or less than the others do.

    Args:
        images: (N, C, S, S) drawn from ``styles``.
        styles: (N, L, W) with a gradient.
        mean: scalar: mean length so far, 0 at first.

    Returns:
        The penalty (scalar, differentiable) and the new mean length.

    Source: Karras et al. 2020, section 3.2, equation 4.
    """
    weights = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    (slope,) = torch.autograd.grad((images * weights).sum(), styles, create_graph=True)
    lengths = (slope.square().sum(2).mean(1) + 1e-8).sqrt()
    moved = mean.lerp(lengths.detach().mean(), _PATH_DECAY)
    return (lengths - moved).square().mean(), moved
