"""The translator's networks: published sizes, an intensity that means something, bad parameters."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from mien.core.errors import Invalid
from mien.generators.translate_networks import build_discriminator, build_generator
from mien.generators.translate_published import PublishedCritic, PublishedGenerator
from mien.generators.translate_spec import (
    Domains,
    parse_translate_spec,
    require_size,
)

TINY = {"width": 8, "blocks": 1, "d_width": 8, "d_depth": 3}
SEVEN = Domains(16, "rgb", 7)


def count(network):
    return sum(p.numel() for p in network.parameters())


def batch(domains, n=3):
    torch.manual_seed(0)
    faces = torch.rand(n, domains.planes, domains.size_px, domains.size_px) * 2 - 1
    condition = torch.zeros(n, domains.condition_size)
    condition[torch.arange(n), torch.arange(n) % domains.classes] = 1.0
    return faces, condition


def test_published_generator_has_its_published_size():
    """8.44 million parameters for RGB faces and seven labels, whatever the side."""
    generator = PublishedGenerator(Domains(128, "rgb", 7), parse_translate_spec(PUBLISHED))
    assert count(generator) == 8_436_800


PUBLISHED = {"recipe": "published"}


def test_published_critic_has_its_published_size():
    """44.8 million parameters at 128 px with seven labels."""
    critic = PublishedCritic(Domains(128, "rgb", 7), parse_translate_spec(PUBLISHED))
    assert count(critic) == 44_778_432


def test_published_recipe_is_the_papers():
    """The recipe's name alone gives the paper's losses and schedule."""
    spec = parse_translate_spec(PUBLISHED)
    assert (spec.loss, spec.critic_steps, spec.batch, spec.lr) == ("wgan_gp", 5, 16, 1e-4)
    assert (spec.class_weight, spec.cycle_weight, spec.gp_weight) == (1.0, 10.0, 10.0)
    assert spec.betas == (0.5, 0.999)
    assert spec.steps == 200_000
    assert spec.flip
    assert [spec.rate(s) for s in (0, 99_999, 150_000)] == [1.0, 1.0, 0.5]
    assert spec.rate(199_999) == pytest.approx(1e-5)


@pytest.mark.parametrize("params", [PUBLISHED, {"head": "mask"}, {"head": "warp_residual"}])
@pytest.mark.parametrize("channels", ["gray", "rgb"])
@pytest.mark.parametrize("known", [((),), ((0, 1), (1, 2))])
def test_networks_take_their_domains(params, channels, known):
    """Every head gives faces of the same shape, and every discriminator patches and classes."""
    domains = Domains(16, channels, 3, known)
    spec = parse_translate_spec({**TINY, **params})
    faces, condition = batch(domains)
    made = build_generator(domains, spec)(faces, condition, torch.ones(3))
    assert made.faces.shape == faces.shape
    assert made.faces.dtype == torch.float32
    scores, logits = build_discriminator(domains, spec)(made.faces, torch.tensor([0, 1, -1]))
    assert scores.shape == (3, 2, 2)
    assert logits.shape == (3, 3)


@pytest.mark.parametrize("params", [PUBLISHED, {"head": "mask"}, {"head": "warp_residual"}])
def test_intensity_zero_changes_nothing(params):
    """At intensity 0 the face comes back, before any training and with any weights."""
    spec = parse_translate_spec({**TINY, **params})
    faces, condition = batch(SEVEN)
    generator = build_generator(SEVEN, spec)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        made = generator(faces, condition, torch.zeros(3)).faces
    assert torch.allclose(made, faces, atol=1e-5)


@pytest.mark.parametrize("params", [{"head": "mask"}, {"head": "warp_residual"}])
def test_intensity_is_continuous(params):
    """A small step of intensity is a small step of the face, and full intensity the largest."""
    spec = parse_translate_spec({**TINY, **params})
    faces, condition = batch(SEVEN)
    faces = torch.nn.functional.avg_pool2d(faces, 5, 1, 2)  # a warp of noise is noise
    generator = build_generator(SEVEN, spec)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        ramp = [generator(faces, condition, torch.full((3,), i / 10)).faces for i in range(11)]
    steps = [float((b - a).abs().mean()) for a, b in pairwise(ramp)]
    changes = [float((made - faces).abs().mean()) for made in ramp]
    assert max(steps) < 0.3 * changes[-1]
    assert changes == sorted(changes)


def test_the_class_decides_the_modern_realness():
    """Scores of one face differ between the classes it may be judged for."""
    critic = build_discriminator(SEVEN, parse_translate_spec(TINY))
    faces, _ = batch(SEVEN)
    same = critic(faces, torch.tensor([0, 1, 2]))[0]
    other = critic(faces, torch.tensor([1, 1, 2]))[0]
    assert not torch.allclose(same[0], other[0])


def test_wrong_parameters_are_all_named():
    """Unknown and wrong keys are refused together, by name."""
    with pytest.raises(Invalid) as caught:
        parse_translate_spec({"width": 1, "widht": 8, "loss": "magic"})
    assert caught.value.reason == "ENGINE_PARAMS"
    assert set(caught.value.violations) == {"width", "widht", "loss"}


@pytest.mark.parametrize("params", [{"head": "rgb"}, {"recipe": "published", "head": "mask"}])
def test_heads_belong_to_recipes(params):
    """The published recipe has one head, and nobody else has it."""
    with pytest.raises(Invalid, match="published"):
        parse_translate_spec(params)


@pytest.mark.parametrize("recipe", ["newest", 3, None, ["modern"]])
def test_an_unknown_recipe_is_refused(recipe):
    """A recipe that does not exist is an error, not a default."""
    with pytest.raises(Invalid) as caught:
        parse_translate_spec({"recipe": recipe})
    assert "recipe" in caught.value.violations


@pytest.mark.parametrize(("size_px", "depth"), [(18, 3), (16, 5), (30, 2)])
def test_sizes_that_do_not_divide_are_refused(size_px, depth):
    """Faces that the networks cannot halve often enough are refused before training."""
    spec = parse_translate_spec({**TINY, "d_depth": depth})
    with pytest.raises(Invalid) as caught:
        require_size(Domains(size_px, "gray", 3), spec)
    assert caught.value.reason == "IMAGE_SIZE"


def test_domains_survive_being_written():
    """What a generator folder says of its faces is read back as it was."""
    domains = Domains(16, "gray", 3, ((0, 1), (2,)))
    assert Domains.from_json(domains.to_json()) == domains


def test_a_displacement_is_enlarged_as_torch_enlarges():
    """The matrix of the enlargement is bilinear interpolation."""
    generator = build_generator(SEVEN, parse_translate_spec(TINY))
    flow = torch.randn(2, 2, 4, 4)
    wide = torch.nn.functional.interpolate(flow, (16, 16), mode="bilinear")
    assert torch.allclose(
        generator.enlarge_flow @ flow @ generator.enlarge_flow.t(), wide, atol=1e-5
    )
