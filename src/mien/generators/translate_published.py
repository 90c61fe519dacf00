"""StarGAN v1 as published: a picture-to-picture generator and a patch critic with class logits."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mien.generators.translate_spec import Domains, TranslateSpec

_LEAK = 0.01


class Translated(NamedTuple):
    """What a generator makes of N faces.

    Attributes:
        faces: (N, C, S, S) float32, about [-1, 1].
        change: (N, 1 or C, S, S) what is added at full intensity; None for ``rgb``.
        flow: (N, 2, h, w) where each place was taken from, in half sides; None without a warp.
    """

    faces: Tensor
    change: Tensor | None = None
    flow: Tensor | None = None


class Residual(nn.Module):
    """Two normalised 3×3 convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, planes: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return cast("Tensor", planes + self.body(planes))


class PublishedGenerator(nn.Module):
    """Face and label planes in, face out; 8.44 M parameters at width 64, 6 blocks, c = 7.

    Source: Choi et al. 2018, "StarGAN", table 4. The published network knows no intensity; here
    the pixels are mixed with the source's, so that intensity 0 changes nothing.
    """

    def __init__(self, domains: Domains, spec: TranslateSpec) -> None:
        super().__init__()
        w = spec.width

        def after(width: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(width, affine=True), nn.ReLU(inplace=True)]

        inputs = domains.planes + domains.condition_size
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, w, 7, 1, 3, bias=False), *after(w)),
            *(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), *after(2 * w)),
            *(nn.Conv2d(2 * w, 4 * w, 4, 2, 1, bias=False), *after(4 * w)),
            *(Residual(4 * w) for _ in range(spec.blocks)),
            *(nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1, bias=False), *after(2 * w)),
            *(nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), *after(w)),
            nn.Conv2d(w, domains.planes, 7, 1, 3, bias=False),
        )

    def forward(self, faces: Tensor, condition: Tensor, intensity: Tensor) -> Translated:
        """Translate.

        Args:
            faces: (N, C, S, S) in [-1, 1].
            condition: (N, D): one-hot label and mask bits.
            intensity: (N,) in [0, 1].
        """
        side = faces.shape[2:]
        labels = condition[:, :, None, None].expand(-1, -1, *side)
        made = torch.tanh(self.body(torch.cat([faces, labels.to(faces.dtype)], 1)).float())
        return Translated(torch.lerp(faces, made, intensity.view(-1, 1, 1, 1)))


class PublishedCritic(nn.Module):
    """Patches real or not, and class logits; 44.8 M parameters at 128 px, width 64, c = 7.

    Source: Choi et al. 2018, table 5. Class logits cover the union of labels; for several
    databases the loss looks only at those a face's database has (§3.3).
    """

    def __init__(self, domains: Domains, spec: TranslateSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, width = domains.planes, spec.d_width
        for _ in range(spec.d_depth):
            layers += [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(_LEAK)]
            inputs, width = width, 2 * width
        self.body = nn.Sequential(*layers)
        side = domains.size_px // 2**spec.d_depth
        self.realness = nn.Conv2d(inputs, 1, 3, 1, 1, bias=False)
        self.classes = nn.Conv2d(inputs, domains.classes, side, bias=False)

    def forward(self, faces: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Judge (N, C, S, S): patch scores (N, H, W) and class logits (N, K).

        The labels are what the faces should show; this critic does not look at them.
        """
        del labels
        features = self.body(faces)
        return self.realness(features).squeeze(1), self.classes(features).flatten(1)
