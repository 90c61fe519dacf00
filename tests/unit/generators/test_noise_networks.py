"""The networks of the noise engine: the published ones exactly, the modern ones in all options."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from mien.core.errors import Invalid, NotFound
from mien.generators.noise_networks import build, weigh_condition
from mien.generators.noise_published import GhostBatchNorm
from mien.generators.noise_spec import parse_noise_spec, spec_for, spec_from_json
from mien.generators.presets import preset


def spec_of(name, recipe, **more):
    found = preset(name, {"recipe": recipe, **more})
    assert found.engine == "noise"
    return parse_noise_spec(found.params)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_published_cgan_has_its_parameters():
    """48×48 gray, 7 classes: counted layer by layer from the reference."""
    generator, discriminator = build(spec_of("cgan", "published"))
    plane = 7 * 50 + (50 * 144 + 144)
    dense = 100 * 128 * 144 + 128 * 144
    up = (129 * 128 * 16 + 128) + (128 * 128 * 16 + 128)
    assert parameters(generator) == plane + dense + up + (128 * 49 + 1) == 2_402_191
    plane = 7 * 50 + (50 * 2304 + 2304)
    down = (2 * 128 * 9 + 128) + (128 * 128 * 9 + 128)
    assert parameters(discriminator) == plane + down + 128 * 144 + 1 == 286_303


def test_the_published_acgan_has_its_parameters():
    """48×48 gray, 7 classes: counted layer by layer from the reference."""
    generator, discriminator = build(spec_of("acgan", "published"))
    plane = 7 * 50 + (50 * 144 + 144)
    dense = 100 * 384 * 144 + 384 * 144
    up = (385 * 192 * 25 + 192) + 2 * 192 + (192 * 25 + 1)
    assert parameters(generator) == plane + dense + up == 7_445_967
    convolutions = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128)
    convolutions += (9 * 128 * 256 + 256) + 2 * (64 + 128 + 256)
    heads = (256 * 144 + 1) + (256 * 144 + 1) * 7
    assert parameters(discriminator) == convolutions + heads == 683_656


@pytest.mark.parametrize("name", ["cgan", "acgan"])
@pytest.mark.parametrize("recipe", ["published", "modern"])
@pytest.mark.parametrize(("size_px", "channels", "classes"), [(16, 3, 2), (28, 1, 5), (48, 1, 7)])
def test_any_size_and_class_set(name, recipe, size_px, channels, classes):
    """Every recipe draws and judges faces of any size that 4 divides, gray or RGB."""
    spec = spec_of(name, recipe, size_px=size_px, channels=channels, classes=classes)
    generator, discriminator = build(spec)
    labels = torch.tensor([0, classes - 1, 1])
    faces = generator(torch.randn(3, generator.z_dim), labels)
    assert faces.shape == (3, channels, size_px, size_px)
    assert faces.abs().max() <= 1.0
    real, said = discriminator(faces, labels)
    assert real.shape == (3,)
    assert (said is None) == (name == "cgan")
    assert said is None or said.shape == (3, classes)


@pytest.mark.parametrize(
    ("backbone", "g", "d"),
    [*product(("dc", "res"), ("concat", "film"), ("none", "concat", "aux", "projection"))],
)
def test_conditions_take_effect_where_they_are_chosen(backbone, g, d):
    """Labels change the face always, the realness only of a discriminator that looks at them."""
    torch.manual_seed(0)
    params = {"backbone": backbone, "g_condition": g, "d_condition": d, "width": 4, "z_dim": 8}
    generator, discriminator = build(parse_noise_spec({**params, "size_px": 16, "classes": 3}))
    z, one, two = torch.randn(2, 8), torch.tensor([0, 0]), torch.tensor([2, 2])
    faces = generator(z, one)
    assert not torch.allclose(faces, generator(z, two))
    real, said = discriminator(faces, one)
    assert torch.equal(real, discriminator(faces, two)[0]) == (d in ("none", "aux"))
    assert (said is not None) == (d == "aux")


def test_fine_detail_stays_at_edges_where_it_is_asked_to():
    """A last layer that gives every place one detail draws a pattern; with ``edges`` it cannot."""
    rough = {}
    for fine in ("free", "edges"):
        generator, _ = build(spec_of("acgan", "modern", size_px=16, fine=fine))
        torch.nn.init.zeros_(generator.out.weight)
        generator.out.bias.data.copy_(torch.tensor([1.0, 0.5, -0.5, 0.5]))
        with torch.no_grad():
            face = generator(torch.randn(1, generator.z_dim), torch.tensor([0]))[0, 0]
        inner = face[2:-2, 2:-2]
        rough[fine] = float(inner.max() - inner.min())
    assert rough["free"] > 0.1
    assert rough["edges"] < 1e-6


def test_labels_without_weight_change_nothing():
    """Before the transition the networks are unconditional, after it they are not."""
    torch.manual_seed(0)
    params = {"size_px": 16, "width": 4, "classes": 3, "z_dim": 8, "d_condition": "projection"}
    generator, discriminator = build(parse_noise_spec(params))
    z, one, two = torch.randn(2, 8), torch.tensor([0, 0]), torch.tensor([1, 2])
    for weight, same in ((0.0, True), (1.0, False)):
        weigh_condition(generator, weight)
        weigh_condition(discriminator, weight)
        faces = generator(z, one)
        assert torch.equal(faces, generator(z, two)) == same
        assert torch.equal(discriminator(faces, one)[0], discriminator(faces, two)[0]) == same


def test_an_unconditional_pair_needs_no_labels():
    """With no classes both networks work on None."""
    generator, discriminator = build(parse_noise_spec({"size_px": 16, "width": 4, "classes": 0}))
    real, said = discriminator(generator(torch.randn(2, 64), None), None)
    assert real.shape == (2,)
    assert said is None


def test_batch_statistics_are_taken_over_ghosts():
    """A batch of two groups is normalised as each group alone; kept statistics rule later."""
    norm = GhostBatchNorm(3, ghost=4)
    x = torch.randn(8, 3, 2, 2) + torch.arange(8.0)[:, None, None, None]
    whole = norm(x)
    assert torch.allclose(whole[:4], norm(x[:4]), atol=1e-6)
    assert torch.allclose(whole[4:], norm(x[4:]), atol=1e-6)
    assert not torch.allclose(whole, GhostBatchNorm(3, ghost=8)(x), atol=1e-2)
    norm.eval()
    assert torch.allclose(norm(x[:1]), norm(x)[:1], atol=1e-6)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"backbone": "unet"}, "backbone"),
        ({"widht": 3}, "widht"),
        ({"lr_g": 0.0}, "lr_g"),
        ({"batch": 10, "ghost": 4}, "params"),
        ({"loss": "wgan_gp"}, "params"),
        ({"backbone": "published_cgan"}, "params"),
        ({"size_px": 18}, "params"),
        ({"betas": (0.5, 1.0)}, "params"),
    ],
)
def test_wrong_parameters_are_named(params, field):
    """Each wrong key is named, and what is wrong with it."""
    with pytest.raises(Invalid) as caught:
        parse_noise_spec(params)
    assert caught.value.reason == "ENGINE_PARAMS"
    assert field in caught.value.violations


def test_the_training_set_completes_the_parameters():
    """Size, channels and classes are the data's; a contradiction is named, 0 classes is a wish."""
    spec = spec_for({"width": 4}, 16, 3, 5)
    assert (spec.size_px, spec.channels, spec.classes) == (16, 3, 5)
    assert spec_for({"classes": 0}, 16, 3, 5).unconditional
    with pytest.raises(Invalid) as caught:
        spec_for({"size_px": 32, "classes": 4}, 16, 3, 5)
    assert set(caught.value.violations) == {"size_px", "classes"}


def test_a_spec_survives_its_folder():
    """Plain values give the same spec; another release's are refused as such."""
    spec = spec_of("acgan", "published")
    assert spec_from_json(spec.model_dump(mode="json")) == spec
    with pytest.raises(Invalid) as caught:
        spec_from_json({"params": {}})
    assert caught.value.reason == "GENERATOR_FORMAT"


def test_unknown_presets_and_recipes_are_named():
    """The hint lists what there is."""
    with pytest.raises(NotFound) as caught:
        preset("began")
    assert caught.value.reason == "UNKNOWN_PRESET"
    assert "acgan" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        preset("acgan", {"recipe": "secret"})
    assert caught.value.reason == "UNKNOWN_RECIPE"
    assert "modern, published" in caught.value.hint
