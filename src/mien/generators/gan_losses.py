"""Losses of the adversarial game, as pure functions of logits: (N,) each, higher = more real.

All but the regularisers are plain means over the batch, and the relativistic loss pairs the i-th
real with the i-th generated face, so that a batch may be split into parts and the gradients added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

GanLoss = Literal["bce", "hinge", "rpgan", "wgan_gp"]
Regulariser = Literal["none", "r1", "r1r2"]


def discriminator_loss(kind: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Score how badly real and generated faces are told apart; a scalar.

    ``wgan_gp`` is the critic's loss without its penalty: see ``gradient_penalty``.

    Source: bce: Goodfellow et al. 2014; hinge: Miyato et al. 2018, eq. 16; rpgan:
        Jolicoeur-Martineau 2019 as in Huang et al. 2024 (R3GAN), eq. 2; wgan_gp: Gulrajani et al.
        2017, eq. 3.
    """
    if kind == "bce":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    if kind == "hinge":
        return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()
    if kind == "rpgan":
        return functional.softplus(fake - real).mean()
    return fake.mean() - real.mean()


def generator_loss(kind: GanLoss, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """Score how badly the generated faces pass; a scalar.

    Args:
        kind: ``bce`` is the non-saturating form.
        fake: logits of generated faces.
        real: of as many real faces; only ``rpgan`` needs them.

    Raises:
        ValueError: when ``rpgan`` is not given the real ones.
    """
    if kind == "bce":
        return functional.softplus(-fake).mean()
    if kind == "rpgan":
        if real is None:
            raise ValueError("the relativistic loss compares with real faces")
        return functional.softplus(real - fake).mean()
    return -fake.mean()


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N, K) against (N,) int64; rows with a label of -1 count nothing; a scalar."""
    total = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def squared_gradient(logits: Tensor, faces: Tensor) -> Tensor:
    """Mean over the batch of ‖∂ logit / ∂ face‖²: R1 on real faces, R2 on generated ones; a scalar.

    Multiply by γ/2, and by the interval where it is computed only every so many steps. ``faces``
    must require gradients and have led to ``logits``; the result can be differentiated.

    Source: Mescheder et al. 2018, "Which training methods for GANs do actually converge?", eq. 9;
        both together: Huang et al. 2024, eq. 3; lazily: Karras et al. 2020 (StyleGAN2), §3.1.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), faces, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """Mean of (‖∂ critic / ∂ face‖ - 1)² on the lines between real and generated faces; a scalar.

    Args:
        critic: faces (N, C, S, S) → logits (N,).
        real: faces.
        fake: as many.
        mix: (N,) in [0, 1]: where on each line; drawn by the caller.

    Source: Gulrajani et al. 2017, algorithm 1.
    """
    share = mix.view(-1, 1, 1, 1)
    between = (share * real + (1.0 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # Away from zero, where a norm has no second derivative.
    norm = (gradient.float().square().flatten(1).sum(1) + 1e-12).sqrt()
    return (norm - 1.0).square().mean()
