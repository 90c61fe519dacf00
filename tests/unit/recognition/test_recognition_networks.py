"""Networks: sizes, heads, shapes, plug-ins."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from torch import nn

from mien.core.errors import Invalid, NotFound
from mien.core.expression import EKMAN_SIX, EXPRESSIONS
from mien.recognition import networks
from mien.recognition.networks import Dropout, build
from mien.recognition.spec import ClassifierSpec


def parameters(spec: ClassifierSpec) -> int:
    return sum(p.numel() for p in build(spec).parameters())


@pytest.mark.parametrize(("padding", "count"), [("same", 8_636_038), ("valid", 4_966_022)])
def test_seed_network_has_the_published_number_of_parameters(padding, count):
    """The seed CNN at 64×64×1 with six classes has exactly the paper's and the code's size."""
    assert parameters(ClassifierSpec("seed", EKMAN_SIX, padding=padding)) == count


def test_vgg16_is_the_published_one():
    """At 224 px RGB, VGG16 differs from the published 138,357,544 by its last layer only."""
    with torch.device("meta"):
        count = parameters(ClassifierSpec("vgg16", EXPRESSIONS, size_px=224, channels="rgb"))
    assert count == 138_357_544 - 4097 * 1000 + 4097 * 8


def test_small_network_is_small():
    """The small network has less than a fortieth of the seed's parameters."""
    assert parameters(ClassifierSpec("small", EKMAN_SIX)) < 8_636_038 / 40


@pytest.mark.parametrize("network", ["seed", "small", "vgg16"])
@pytest.mark.parametrize("heads", [("expression",), ("affect",), ("expression", "affect")])
def test_heads_give_what_they_promise(network, heads):
    """Each head gives its columns, within range; an absent head gives none."""
    spec = ClassifierSpec(network, EXPRESSIONS, size_px=32, heads=heads, width=0.25)
    said = build(spec).eval()(torch.randn(3, 1, 32, 32))
    assert said.logits.shape == (3, 8 if "expression" in heads else 0)
    assert said.affect.shape == (3, 2 if "affect" in heads else 0)
    assert (said.affect.abs() <= 1).all()


@pytest.mark.parametrize(
    ("network", "size_px", "padding"),
    [
        ("small", 8, "same"),
        ("small", 17, "same"),
        ("small", 48, "same"),
        ("small", 100, "same"),
        ("small", 256, "same"),
        ("seed", 24, "valid"),
        ("seed", 49, "valid"),
        ("seed", 50, "same"),
        ("seed", 8, "same"),
        ("vgg16", 33, "same"),
        ("vgg16", 96, "same"),
    ],
)
@pytest.mark.parametrize("channels", ["gray", "rgb"])
def test_any_size_and_colour(network, size_px, padding, channels):
    """Networks take any size from their least one up, in gray and in RGB."""
    spec = ClassifierSpec(
        network, EKMAN_SIX, size_px=size_px, channels=channels, padding=padding, width=0.1
    )
    planes = 1 if channels == "gray" else 3
    model = build(spec).eval()
    faces = torch.randn(2, planes, size_px, size_px)
    assert model(faces).logits.shape == (2, 6)
    assert model.features(faces).shape == (2, model.feature_size)


@pytest.mark.parametrize(
    ("network", "size_px", "padding"), [("vgg16", 31, "same"), ("seed", 23, "valid")]
)
def test_too_small_images_are_refused(network, size_px, padding):
    """A size that would leave nothing after the poolings is an error that says the least size."""
    with pytest.raises(Invalid, match="at least") as error:
        build(ClassifierSpec(network, EKMAN_SIX, size_px=size_px, padding=padding))
    assert error.value.reason == "IMAGE_SIZE"


def test_unknown_network_names_the_known_ones():
    """An unknown network is an error that lists those there are."""
    with pytest.raises(NotFound) as error:
        build(ClassifierSpec("resnext", EKMAN_SIX))
    assert error.value.reason == "UNKNOWN_NETWORK"
    assert "small" in error.value.hint


class Plugged(nn.Module):
    """A network of somebody else's."""

    feature_size = 5

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.size_px**2, self.feature_size)

    def forward(self, faces):
        return self.linear(faces.flatten(1))


def test_entry_points_plug_networks_in(monkeypatch):
    """An entry point of ``mien.classifiers`` is found by its name and gets the heads on top."""
    entry = EntryPoint("plugged", f"{__name__}:Plugged", networks.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda _entry: Plugged)
    monkeypatch.setattr(networks, "entry_points", lambda group: [entry] if group else [])
    model = build(ClassifierSpec("plugged", EKMAN_SIX, size_px=8))
    assert model(torch.zeros(1, 1, 8, 8)).logits.shape == (1, 6)


@pytest.mark.parametrize("probability", [0.25, 0.5])
def test_dropout_drops_as_often_as_it_says(probability):
    """Dropout zeroes the given share, keeps the mean, follows the seed, and rests in eval."""
    layer = Dropout(probability)
    values = torch.ones(64, 32, 8, 8).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(3)
    first = layer(values)
    assert (first == 0).float().mean() == pytest.approx(probability, abs=0.005)
    assert first.mean() == pytest.approx(1.0, abs=0.01)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert not torch.equal(layer(values), first)
    assert torch.equal(layer.eval()(values), values)


def test_small_network_ignores_brightness_and_contrast():
    """The small network brings every image to the same mean and deviation before it looks."""
    model = build(ClassifierSpec("small", EKMAN_SIX)).eval()
    face = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 1, 64, 64))).float()
    assert torch.allclose(model(face).logits, model(0.4 * face - 0.3).logits, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": EKMAN_SIX[:1]},
        {"classes": (EKMAN_SIX[0], EKMAN_SIX[0])},
        {"size_px": 7},
        {"channels": "bgr"},
        {"heads": ()},
        {"heads": ("age",)},
        {"padding": "full"},
        {"width": 0.0},
    ],
)
def test_wrong_specs_name_the_field(wrong):
    """A spec that cannot be built names the field at fault."""
    with pytest.raises(Invalid) as error:
        ClassifierSpec(**{"network": "small", "classes": EKMAN_SIX, **wrong})
    assert list(error.value.violations) == list(wrong)


def test_specs_survive_json():
    """A spec written as plain values is read back equal; nonsense is an error."""
    spec = ClassifierSpec("seed", EXPRESSIONS, heads=("expression", "affect"), padding="valid")
    assert ClassifierSpec.from_json(spec.to_json()) == spec
    for values in ({}, {**spec.to_json(), "depth": 3}, {**spec.to_json(), "classes": ["joy", "x"]}):
        with pytest.raises(Invalid):
            ClassifierSpec.from_json(values)
