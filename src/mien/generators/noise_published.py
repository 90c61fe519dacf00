"""The published conditional GAN and auxiliary-classifier GAN for small gray faces.

Any size that 4 divides and any class set; 48×48 gray with 7 classes is the published one.

Source: cGAN: Mirza & Osindero 2014, labels as an extra plane of feature maps and of the image;
    ACGAN: Odena et al. 2017. Layers and hyper-parameters are those of the FER2013 systems in
    section C of the reference; what it leaves open is the customary choice of such networks:
    4×4 and 7×7 kernels in the cGAN's generator, 3×3 in both discriminators, no batch statistics in
    the first discriminator block, weights from N(0, 0.02) in the ACGAN, Glorot's in the cGAN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.generators.noise_spec import NoiseSpec

EMBEDDING = 50  # of a label
_SLOPE = 0.2
_BN_EPS, _BN_MOMENTUM = 1e-3, 0.01  # of the framework they were published in


def make_generator(spec: NoiseSpec) -> nn.Module:
    """Make the generator of ``published_cgan`` or ``published_acgan``."""
    if spec.backbone == "published_cgan":
        return CganGenerator(spec)
    return AcganGenerator(spec)


def make_discriminator(spec: NoiseSpec) -> nn.Module:
    """Make the discriminator of ``published_cgan`` or ``published_acgan``."""
    if spec.backbone == "published_cgan":
        return CganDiscriminator(spec)
    return AcganDiscriminator(spec)


class LabelPlane(nn.Module):
    """A label as one plane of features: embedding, then a dense layer. (N,) → (N, 1, S, S)."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.embedding = nn.Embedding(classes, EMBEDDING)
        self.dense = nn.Linear(EMBEDDING, side * side)

    def forward(self, labels: Tensor) -> Tensor:
        """Draw the planes of labels (N,)."""
        plane: Tensor = self.dense(self.embedding(labels))
        return plane.view(-1, 1, self.side, self.side)


class GhostBatchNorm(nn.Module):
    """Batch normalisation over groups of a fixed number of faces, whatever the batch.

    So results do not depend on how much memory there is. A batch that is no multiple of the group
    is one group.

    Source: Hoffer et al. 2017, "Train longer, generalize better", §4.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, ghost: int) -> None:
        super().__init__()
        self.ghost = ghost
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, F, H, W) with its groups' statistics, or when not training the kept."""
        if not self.training:
            return functional.batch_norm(
                x, self.mean, self.variance, self.weight, self.bias, eps=_BN_EPS
            )
        n = len(x)
        size = self.ghost if n % self.ghost == 0 else n
        parts = [
            functional.batch_norm(
                part,
                self.mean,
                self.variance,
                self.weight,
                self.bias,
                training=True,
                momentum=_BN_MOMENTUM,
                eps=_BN_EPS,
            )
            for part in torch.split(x, size)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class CganGenerator(nn.Module):
    """z and a label's plane at a quarter of the size, two transposed convolutions of stride 2."""

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.z_dim = spec.z_dim
        self.side = spec.size_px // 4
        self.plane = LabelPlane(spec.classes, self.side)
        self.dense = nn.Linear(spec.z_dim, 128 * self.side**2)
        self.up1 = nn.ConvTranspose2d(129, 128, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(128, 128, 4, stride=2, padding=1)
        self.out = nn.Conv2d(128, spec.channels, 7, padding=3)
        self.apply(_glorot)

    def forward(self, z: Tensor, labels: Tensor, mixed: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Make faces; ``mixed`` has no meaning here."""
        start = functional.leaky_relu(self.dense(z), _SLOPE).view(-1, 128, self.side, self.side)
        x = torch.cat([start, self.plane(labels).to(start.dtype)], 1)
        x = functional.leaky_relu(self.up1(x), _SLOPE)
        x = functional.leaky_relu(self.up2(x), _SLOPE)
        return torch.tanh(self.out(x))


class CganDiscriminator(nn.Module):
    """The face and the label's plane at full size, two convolutions of stride 2, dropout."""

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.plane = LabelPlane(spec.classes, spec.size_px)
        self.down1 = nn.Conv2d(spec.channels + 1, 128, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(128, 128, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.4)
        self.real = nn.Linear(128 * (spec.size_px // 4) ** 2, 1)
        self.apply(_glorot)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, None]:
        """Judge faces together with their labels."""
        x = torch.cat([x, self.plane(labels).to(x.dtype)], 1)
        x = functional.leaky_relu(self.down1(x), _SLOPE)
        x = functional.leaky_relu(self.down2(x), _SLOPE)
        return self.real(self.drop(x.flatten(1))).flatten(), None


class AcganGenerator(nn.Module):
    """Dense 384 maps at a quarter of the size and the label's plane; 5×5 transposed twice."""

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        self.z_dim = spec.z_dim
        self.side = spec.size_px // 4
        self.plane = LabelPlane(spec.classes, self.side)
        self.dense = nn.Linear(spec.z_dim, 384 * self.side**2)
        self.up1 = nn.ConvTranspose2d(385, 192, 5, stride=2, padding=2, output_padding=1)
        self.norm = GhostBatchNorm(192, spec.ghost)
        self.up2 = nn.ConvTranspose2d(192, spec.channels, 5, stride=2, padding=2, output_padding=1)
        self.apply(_narrow)

    def forward(self, z: Tensor, labels: Tensor, mixed: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Make faces; ``mixed`` has no meaning here."""
        start = functional.relu(self.dense(z)).view(-1, 384, self.side, self.side)
        x = torch.cat([start, self.plane(labels).to(start.dtype)], 1)
        x = functional.relu(self.norm(self.up1(x)))
        return torch.tanh(self.up2(x))


class AcganDiscriminator(nn.Module):
    """Convolutions 32 (stride 2), 64, 128 (stride 2), 256; heads real and class."""

    def __init__(self, spec: NoiseSpec) -> None:
        super().__init__()
        shapes = ((spec.channels, 32, 2), (32, 64, 1), (64, 128, 2), (128, 256, 1))
        layers: list[nn.Module] = []
        for inputs, outputs, stride in shapes:
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1))
            if inputs != spec.channels:
                layers.append(GhostBatchNorm(outputs, spec.ghost))
            layers += [nn.LeakyReLU(_SLOPE), nn.Dropout(0.5)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        features = 256 * (spec.size_px // 4) ** 2
        self.real = nn.Linear(features, 1)
        self.classes = nn.Linear(features, spec.classes)
        self.apply(_narrow)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Judge faces and name their classes; the labels are not looked at."""
        features = self.body(x)
        return self.real(features).flatten(), self.classes(features)


def _glorot(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


def _narrow(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.Linear, nn.Embedding)):
        _glorot(module)
