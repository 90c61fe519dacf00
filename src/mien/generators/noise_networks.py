"""The networks of the engine ``noise``: one table of backbones.

A backbone is a module with ``make_generator(spec)`` and ``make_discriminator(spec)``.

A generator has ``z_dim`` and maps z (N, Z), labels (N,) int64 or None and a second z for style
mixing or None to faces (N, C, S, S) in [-1, 1]. A discriminator maps faces and labels or None to
realness logits (N,) and class logits (N, K), or None without an auxiliary head.

Where labels come in gradually, a network has a buffer ``condition_weight`` (scalar) that its label
embedding is multiplied with.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from mien.generators.noise_spec import NoiseSpec

_BACKBONES = {
    "published_cgan": "mien.generators.noise_published",
    "published_acgan": "mien.generators.noise_published",
    "dc": "mien.generators.noise_modern",
    "res": "mien.generators.noise_modern",
    "style": "mien.generators.noise_style",
}


class NoiseGenerator(Protocol):
    """How a generator of the family is called."""

    z_dim: int

    def __call__(self, z: Tensor, labels: Tensor | None, mixed: Tensor | None = None) -> Tensor:
        """Make faces (N, C, S, S) in [-1, 1]."""
        ...


class NoiseDiscriminator(Protocol):
    """How a discriminator of the family is called."""

    def __call__(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Judge faces: realness logits (N,), class logits (N, K) or None."""
        ...


class _Backbone(Protocol):
    def make_generator(self, spec: NoiseSpec) -> nn.Module: ...

    def make_discriminator(self, spec: NoiseSpec) -> nn.Module: ...


def build(spec: NoiseSpec) -> tuple[nn.Module, nn.Module]:
    """Make the generator and the discriminator of a spec, with fresh weights."""
    backbone = cast("_Backbone", import_module(_BACKBONES[spec.backbone]))
    return backbone.make_generator(spec), backbone.make_discriminator(spec)


def build_generator(spec: NoiseSpec) -> nn.Module:
    """Make the generator alone."""
    return cast("_Backbone", import_module(_BACKBONES[spec.backbone])).make_generator(spec)


def weigh_condition(network: nn.Module, weight: float) -> None:
    """Set how much labels count in a network, 0 to 1; nothing where it has no such weight."""
    for name, buffer in network.named_buffers():
        if name.rpartition(".")[2] == "condition_weight":
            with torch.no_grad():
                buffer.fill_(weight)
