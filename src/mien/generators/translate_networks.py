"""The modern translator: it moves the face first, and paints only what moving cannot give."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from mien.generators.translate_published import PublishedCritic, PublishedGenerator, Translated
from mien.generators.translate_spec import Domains, TranslateSpec

REACH = 0.25  # longest displacement, in half sides: an eighth of the picture
_LEAK = 0.2
_GROUP = 8  # channels normalised together
_OPEN = 1.0  # start of the mask before its sigmoid: closed, nothing would ever change


def build_generator(domains: Domains, spec: TranslateSpec) -> nn.Module:
    """Build the generator with fresh weights, drawn from torch's default generator."""
    if spec.head == "rgb":
        return PublishedGenerator(domains, spec)
    return ModernGenerator(domains, spec)


def build_discriminator(domains: Domains, spec: TranslateSpec) -> nn.Module:
    """Build the discriminator with fresh weights, drawn from torch's default generator."""
    if spec.recipe == "published":
        return PublishedCritic(domains, spec)
    return ModernDiscriminator(domains, spec)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // _GROUP), width)


class ConditionedBlock(nn.Module):
    """Two 3×3 convolutions beside an identity; the condition scales and shifts between them.

    Source: He et al. 2016; Perez et al. 2018, "FiLM", eq. 1.
    """

    def __init__(self, width: int, condition_size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.norm = _norm(width)
        self.film = nn.Linear(condition_size, 2 * width)
        self.second = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, planes: Tensor, condition: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        inner = self.norm(self.first(planes)) * (1.0 + scale) + shift
        return cast("Tensor", planes + self.second(torch.relu(inner)))


class ModernGenerator(nn.Module):
    """A trunk at a quarter of the resolution with one of two heads.

    ``warp_residual``: a displacement, smooth because it is enlarged from a quarter of the
    resolution, moves the face; the decoder sees the moved face and paints light and shade on it,
    at half the resolution and in one plane for all colours: finer it paints streaks that please
    a teacher, and what it may colour it colours in blotches.
    ``mask``: the decoder paints a face, and a mask tells where it covers the source.

    The condition enters as one-hot; its intensity scales displacement, residual and mask, so that
    intensity 0 changes nothing and the strength between is continuous without being trained.

    Source: Pumarola et al. 2018, "GANimation", §4.1, for the mask; the warp is ours. We differ
    from both in working at a quarter of the resolution and in enlarging before convolving, which
    leaves no checkerboard (Odena et al. 2016).
    """

    def __init__(self, domains: Domains, spec: TranslateSpec) -> None:
        super().__init__()
        w, half, fine = spec.width, spec.width // 2, max(4, spec.width // 4)
        self.warps = spec.head == "warp_residual"
        inputs = domains.planes + 2
        self.stem = nn.Sequential(nn.Conv2d(inputs, half, 5, 2, 2), _norm(half), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(half, w, 4, 2, 1), _norm(w))
        self.blocks = nn.ModuleList(
            ConditionedBlock(w, domains.condition_size) for _ in range(spec.blocks)
        )
        self.flow = nn.Conv2d(w, 2, 3, 1, 1) if self.warps else None
        self.up = nn.Sequential(nn.Conv2d(w, half, 3, 1, 1), _norm(half), nn.ReLU())
        self.merge = nn.Sequential(nn.Conv2d(2 * half, fine, 3, 1, 1), nn.ReLU())
        self.paint = nn.Sequential(
            nn.Conv2d(fine + domains.planes, fine, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(fine, 1 if self.warps else domains.planes + 1, 3, 1, 1),
        )
        self.register_buffer("grid", _grid(domains.size_px), persistent=False)
        self.register_buffer("enlarge_flow", _enlarge(domains.size_px, 4), persistent=False)
        self.register_buffer("enlarge_light", _enlarge(domains.size_px, 2), persistent=False)
        for last in (self.flow, cast("nn.Conv2d", self.paint[-1])):
            if last is not None:  # begin close to changing nothing
                nn.init.normal_(last.weight, std=0.01)
                nn.init.zeros_(cast("Tensor", last.bias))

    def forward(self, faces: Tensor, condition: Tensor, intensity: Tensor) -> Translated:
        """Translate.

        Args:
            faces: (N, C, S, S) in [-1, 1].
            condition: (N, D): one-hot label and mask bits.
            intensity: (N,) in [0, 1].
        """
        strength = intensity.view(-1, 1, 1, 1)
        grid = cast("Tensor", self.grid)
        places = grid.permute(2, 0, 1).expand(len(faces), -1, -1, -1).to(faces.dtype)
        shallow = self.stem(torch.cat([faces, places], 1))
        deep = self.down(shallow)
        for block in self.blocks:
            deep = block(deep, condition)
        flow, moved = None, faces
        if self.flow is not None:
            flow = REACH * torch.tanh(self.flow(deep).float())
            wide = _wide(strength * flow, self.enlarge_flow)
            moved = functional.grid_sample(
                faces, grid + wide.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
            )
        middle = self.merge(torch.cat([_doubled(self.up(deep)), shallow], 1))
        if flow is not None:
            small = functional.avg_pool2d(moved, 2).to(middle.dtype)
            painted = 2.0 * torch.tanh(self.paint(torch.cat([middle, small], 1)).float())
            light = _wide(painted, self.enlarge_light)
            return Translated(moved + strength * light, light, flow)
        painted = self.paint(torch.cat([_doubled(middle), moved.to(middle.dtype)], 1)).float()
        mask = torch.sigmoid(painted[:, -1:] + _OPEN)
        change = mask * (torch.tanh(painted[:, :-1]) - faces)
        return Translated(faces + strength * change, change, None)


def _wide(planes: Tensor, matrix: Tensor | nn.Module) -> Tensor:
    """Enlarge (N, C, h, h) float32 to (N, C, S, S) by a matrix (S, h)."""
    enlarge = cast("Tensor", matrix)
    with torch.autocast(planes.device.type, enabled=False):
        return enlarge @ planes @ enlarge.t()


def _doubled(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")


def _grid(side: int) -> Tensor:
    """Centres of the pixels, (S, S, 2) x and y in [-1, 1]."""
    line = (torch.arange(side, dtype=torch.float32) * 2.0 + 1.0) / side - 1.0
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), 2)


def _enlarge(side: int, factor: int) -> Tensor:
    """Bilinear enlargement of a line as a matrix (S, S / factor); S pixels, centres half-way.

    As a product its gradient is summed in a fixed order on a GPU too, where torch's is not.
    """
    coarse = side // factor
    places = ((torch.arange(side, dtype=torch.float32) + 0.5) / factor - 0.5).clamp(0, coarse - 1)
    distance = (places[:, None] - torch.arange(coarse, dtype=torch.float32)).abs()
    return (1.0 - distance).clamp(min=0.0)


def _unchanged(layer: nn.Module) -> nn.Module:
    return layer


class ModernDiscriminator(nn.Module):
    """Patches real or not for their class, and class logits from the whole face.

    Source: Miyato et al. 2018, "Spectral normalization"; Miyato and Koyama 2018, eq. 4, for the
    inner product of class and features, here at every place. Without the normalisation
        (``spectral: false``) it sees faults after a third of the steps.
    """

    def __init__(self, domains: Domains, spec: TranslateSpec) -> None:
        super().__init__()
        bounded = spectral_norm if spec.spectral else _unchanged
        layers: list[nn.Module] = []
        inputs, width = domains.planes, spec.d_width
        for _ in range(spec.d_depth):
            layers += [bounded(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(_LEAK)]
            inputs, width = width, min(2 * width, 8 * spec.d_width)
        self.body = nn.Sequential(*layers)
        self.realness = bounded(nn.Conv2d(inputs, 1, 1))
        self.matching = bounded(nn.Conv2d(inputs, domains.classes, 1, bias=False))
        side = domains.size_px // 2**spec.d_depth
        self.classes = bounded(nn.Linear(inputs * side * side, domains.classes))

    def forward(self, faces: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Judge faces.

        Args:
            faces: (N, C, S, S).
            labels: (N,) int64: what they should show; -1 where that is not known.

        Returns:
            Scores of the patches (N, H, W) and class logits (N, K).
        """
        features = self.body(faces)
        match = self.matching(features)
        rows = torch.arange(len(faces), device=faces.device)
        chosen = match[rows, labels.clamp(min=0)] * (labels >= 0).view(-1, 1, 1)
        return self.realness(features).squeeze(1) + chosen, self.classes(features.flatten(1))
