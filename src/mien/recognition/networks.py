"""The networks: a body that turns faces into features, and heads on top."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.core.errors import Invalid, NotFound
from mien.recognition.spec import ClassifierSpec

ENTRY_POINTS = "mien.classifiers"


class Outputs(NamedTuple):
    """What a classifier says about N faces.

    Attributes:
        logits: (N, K) before softmax; (N, 0) without the expression head.
        affect: (N, 2) valence, arousal in (-1, 1); (N, 0) without the affect head.
    """

    logits: Tensor
    affect: Tensor


class Body(Protocol):
    """What an entry point of ``mien.classifiers`` returns for a spec.

    A module that maps (N, C, S, S) float in [-1, 1] to (N, ``feature_size``).
    """

    feature_size: int

    def __call__(self, faces: Tensor) -> Tensor:
        """Compute the features."""
        ...


class Classifier(nn.Module):
    """A body with an expression head, an affect head, or both."""

    def __init__(self, body: nn.Module, feature_size: int, spec: ClassifierSpec) -> None:
        super().__init__()
        self.body = body
        self.feature_size = feature_size
        has_logits = "expression" in spec.heads
        self.expression = nn.Linear(feature_size, len(spec.classes)) if has_logits else None
        self.affect = nn.Linear(feature_size, 2) if "affect" in spec.heads else None
        for head in (self.expression, self.affect):
            if head is not None:
                nn.init.xavier_uniform_(head.weight)
                nn.init.zeros_(head.bias)

    def features(self, faces: Tensor) -> Tensor:
        """Map (N, C, S, S) float in [-1, 1] to (N, D)."""
        return cast("Tensor", self.body(faces))

    def forward(self, faces: Tensor) -> Outputs:
        """Judge faces (N, C, S, S), float in [-1, 1]."""
        return self.heads(self.features(faces))

    def heads(self, features: Tensor) -> Outputs:
        """Judge by features (N, D)."""
        none = features.new_zeros((features.shape[0], 0))
        logits = none if self.expression is None else self.expression(features)
        affect = none if self.affect is None else torch.tanh(self.affect(features))
        return Outputs(logits, affect)


def build(spec: ClassifierSpec) -> Classifier:
    """Build a network with fresh weights, drawn from torch's default generator.

    Raises:
        NotFound: ``UNKNOWN_NETWORK`` when no network or entry point has that name.
        Invalid: ``IMAGE_SIZE`` when the images are too small for it.
    """
    body = _factory(spec.network)(spec)
    return Classifier(cast("nn.Module", body), body.feature_size, spec)


def _factory(name: str) -> Callable[[ClassifierSpec], Body]:
    if name in NETWORKS:
        return NETWORKS[name]
    found = {e.name: e for e in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = ", ".join(sorted({*NETWORKS, *found}))
        raise NotFound("UNKNOWN_NETWORK", f"there is no network {name!r}", hint=f"one of: {known}")
    return cast("Callable[[ClassifierSpec], Body]", found[name].load())


def _scaled(channels: int, width: float, multiple: int = 8) -> int:
    return max(multiple, round(channels * width / multiple) * multiple)


def _planes(spec: ClassifierSpec) -> int:
    return 1 if spec.channels == "gray" else 3


def _require_size(spec: ClassifierSpec, least: int) -> None:
    if spec.size_px < least:
        raise Invalid(
            "IMAGE_SIZE",
            f"the network {spec.network!r} needs images of at least {least} px, not {spec.size_px}",
            hint="raise preprocess.size_px or use the network small",
        )


class Dropout(nn.Module):
    """Dropout with a probability that is a multiple of 1/256, from one random byte a value.

    On a processor torch's own draws one value at a time, which costs a tenth of a training step.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = round(probability * 256)

    def forward(self, values: Tensor) -> Tensor:
        """Zero some values and scale up the others while training; do nothing otherwise."""
        if not self.training:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.dropped / 256)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None)
        draw = words.view(torch.uint8).as_strided(values.shape, values.stride())
        return values * (draw >= self.dropped).to(values.dtype).mul_(256 / (256 - self.dropped))


class SeedCnn(nn.Module):
    """The classifier of the study this project starts from.

    At 64×64×1 with six classes: 8,636,038 parameters with ``same`` padding (the paper's table),
    4,966,022 with ``valid`` (the published code). Weights are drawn as Keras draws them.

    Source: VISAPP 2023, "How far can generated data impact neural networks' performance?",
    classifier table. Inputs are in [-1, 1], not 0..255.
    """

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        _require_size(spec, 8 if spec.padding == "same" else 24)
        c1, c2, c3, dense = (_scaled(c, spec.width) for c in (32, 64, 128, 1024))

        def conv(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 3, padding=spec.padding)

        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(2)

        self.convolutions = nn.Sequential(
            *(conv(_planes(spec), c1), nn.ReLU(inplace=True)),
            *(conv(c1, c2), nn.ReLU(inplace=True), pool(), Dropout(0.25)),
            *(conv(c2, c3), nn.ReLU(inplace=True), pool()),
            *(conv(c3, c3), nn.ReLU(inplace=True), pool(), Dropout(0.25)),
        )
        lost = 0 if spec.padding == "same" else 2
        side = ((spec.size_px - 2 * lost) // 2 - lost) // 2 - lost
        self.dense = nn.Linear(c3 * (side // 2) ** 2, dense)
        self.dropout = Dropout(0.5)
        self.feature_size = dense
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast("Tensor", module.bias))

    def forward(self, faces: Tensor) -> Tensor:
        """Map (N, C, S, S) to (N, 1024)."""
        planes = self.convolutions(faces)
        dense = torch.relu_(self.dense(planes.flatten(1)))
        return cast("Tensor", self.dropout(dense))


class Vgg16(nn.Module):
    """VGG16, without its last layer, for any size from 32 px.

    Source: Simonyan and Zisserman 2015, table 1, configuration D. The dense layers take whatever
    the five poolings leave (7×7 at 224 px). Weights are drawn as in He et al. 2015, for without
    pre-training the original needs to be grown layer by layer.
    """

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        _require_size(spec, 32)
        layers: list[nn.Module] = []
        inputs = _planes(spec)
        for outputs, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(repeats):
                wide = _scaled(outputs, spec.width)
                layers += [nn.Conv2d(inputs, wide, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = wide
            layers.append(nn.MaxPool2d(2))
        dense = _scaled(4096, spec.width)
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            *(nn.Linear(inputs * (spec.size_px // 32) ** 2, dense), nn.ReLU(inplace=True)),
            *(Dropout(0.5), nn.Linear(dense, dense), nn.ReLU(inplace=True), Dropout(0.5)),
        )
        self.feature_size = dense
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(cast("Tensor", module.bias))

    def forward(self, faces: Tensor) -> Tensor:
        """Map (N, C, S, S) to (N, 4096)."""
        return cast("Tensor", self.dense(self.convolutions(faces).flatten(1)))


class Residual(nn.Module):
    """Two normalised 3×3 convolutions beside an identity, or beside a strided 1×1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
            )
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, planes: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ⌈H/stride⌉, ⌈W/stride⌉)."""
        inner = torch.relu_(self.first_norm(self.first(planes)))
        inner = self.second_norm(self.second(inner))
        return torch.relu_(inner + self.shortcut(planes))


class SmallNet(nn.Module):
    """A residual network of 190,000 parameters, made for short trainings on a processor core.

    Three choices matter for faces that are aligned and few: every image is brought to mean 0 and
    deviation 1 (skin and light are no expression), features keep their place in the face to the
    end instead of being averaged away, and shortcuts average where the branch strides.

    Source: He et al. 2016 for the blocks; He et al. 2019, "Bag of Tricks", section 4, for the
    averaging shortcut and the residual branch that starts at zero.
    """

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        c0, c1, c2, c3 = (_scaled(c, spec.width) for c in (16, 32, 48, 96))
        self.stem = nn.Conv2d(_planes(spec), c0, 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(c0)
        self.blocks = nn.Sequential(Residual(c0, c1, 2), Residual(c1, c2, 2), Residual(c2, c3, 2))
        # 4 × 4 places at 64 px; larger images are averaged down to about as many.
        side = math.ceil(spec.size_px / 16)
        window = max(1, side // 4)
        self.places = nn.AvgPool2d(window) if window > 1 else nn.Identity()
        self.feature_size = c3 * (side // window) ** 2
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, faces: Tensor) -> Tensor:
        """Map (N, C, S, S) to (N, D); D = 1536 at 64 px."""
        even = functional.layer_norm(faces, faces.shape[1:], eps=1e-4)
        planes = torch.relu_(self.stem_norm(self.stem(even)))
        return cast("Tensor", self.places(self.blocks(planes)).flatten(1))


NETWORKS: dict[str, Callable[[ClassifierSpec], Body]] = {
    "seed": SeedCnn,
    "small": SmallNet,
    "vgg16": Vgg16,
}
