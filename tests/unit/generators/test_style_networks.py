"""The style backbone: shapes, truncation, mixing, conditions, path length, the loop."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Interrupted
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.generators.noise_fit import fit_noise
from mien.generators.noise_networks import build, build_generator, weigh_condition
from mien.generators.noise_spec import NoiseSpec
from mien.generators.noise_style import path_length, sides
from mien.generators.trained import TrainHooks, training_set


def spec(**options):
    plain = {"backbone": "style", "size_px": 16, "channels": 3, "classes": 0, "z_dim": 8}
    return NoiseSpec(
        **{**plain, "width": 4, "batch": 8, "ghost": 4, "precision": "fp32", **options}
    )


def made(**options):
    torch.manual_seed(0)
    generator, discriminator = build(spec(**options))
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if name.startswith("pictures"):  # as after some training: pictures start grey
                weight.normal_(0, 0.3)
    return generator.eval(), discriminator.eval()


def noise(count, seed=0, z_dim=8):
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60)
@given(st.integers(2, 256).map(lambda n: 4 * n))
def test_layers_double_up_to_the_face(size):
    """Sides double, end at the face's and begin where no more halving is good."""
    found = sides(size)
    assert found[-1] == size
    assert all(b == 2 * a for a, b in pairwise(found))
    assert found[0] < 8 or found[0] % 2 == 1


@pytest.mark.parametrize("size", [8, 12, 16, 20])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 0), (1, 7), (3, 2)])
def test_networks_fit_every_size_channel_and_class_count(size, channels, classes):
    """Faces have the spec's size; every face gets a logit, and class logits where asked for."""
    generator, discriminator = made(size_px=size, channels=channels, classes=classes)
    labels = torch.arange(5) % classes if classes else None
    faces = generator(noise(5), labels)
    assert faces.shape == (5, channels, size, size)
    real, said = discriminator(faces, labels)
    assert real.shape == (5,)
    assert said is None if not classes else said.shape == (5, classes)


def test_the_identity_generator_is_small():
    """At 64 px RGB its weights take less than 4 MB, and no published size is exceeded."""
    generator = build_generator(spec(size_px=64, z_dim=64, width=16))
    numbers = sum(t.numel() for t in generator.state_dict().values())
    assert 0.5e6 < numbers < 1e6
    assert numbers * 4 < 4e6


def test_training_begins_with_a_grey_face():
    """Fresh pictures are mid-grey, so that nothing has to be unlearned."""
    torch.manual_seed(0)
    assert not build_generator(spec())(noise(2), None).any()


def test_a_face_depends_on_its_noise_alone():
    """When sampling, the same noise is the same face, and only its direction counts."""
    generator, _ = made()
    first = generator(noise(4), None)
    assert torch.equal(first, generator(noise(4), None))
    torch.testing.assert_close(first, generator(noise(4) * 3.0, None), atol=1e-4, rtol=1e-3)
    assert float((first[0] - first[1]).detach().abs().max()) > 0.01


def test_truncation_goes_from_the_face_to_the_mean_face():
    """ψ = 1 is the face itself, ψ = 0 one face for all, and between them diversity falls."""
    generator, _ = made()
    generator.train()
    for k in range(20):
        generator(noise(32, seed=k), None)
    generator.eval()
    with torch.no_grad():
        z = noise(32)
        faces = {psi: generator.truncated(z, None, psi) for psi in (0.0, 0.5, 1.0)}
        assert torch.equal(faces[1.0], generator(z, None).clamp(-1, 1)) or torch.allclose(
            faces[1.0], generator(z, None).clamp(-1, 1), atol=1e-5
        )
    spread = {psi: float(f.std(0).mean()) for psi, f in faces.items()}
    assert spread[0.0] < 1e-5 < spread[0.5] < spread[1.0]


def test_each_class_is_truncated_towards_its_own_mean():
    """Fully truncated faces of two classes differ, of one class not."""
    generator, _ = made(classes=2)
    generator.train()
    labels = torch.arange(32) % 2
    for k in range(400):
        generator.mapping(noise(32, seed=k), labels)
    generator.eval()
    styles = generator.mapping(noise(2000, seed=999), torch.zeros(2000, dtype=torch.int64))
    mean = generator.mapping.mean[0]
    assert float((styles.mean(0) - mean).detach().norm() / mean.norm()) < 0.3
    with torch.no_grad():
        faces = generator.truncated(noise(4), torch.tensor([0, 0, 1, 1]), 0.0)
    torch.testing.assert_close(faces[0], faces[1])
    assert float((faces[0] - faces[2]).abs().max()) > 1e-4


def test_an_absent_class_keeps_its_mean_style():
    """A batch moves only the means of the classes that are in it."""
    generator, _ = made(classes=3)
    generator.train()
    generator.mapping(noise(8), torch.ones(8, dtype=torch.int64))
    moved = generator.mapping.mean.abs().sum(1) > 0
    assert moved.tolist() == [False, True, False]


def test_mixing_changes_styles_from_one_layer_on():
    """The coarse layers keep the first style, the fine ones have the second; the cut varies."""
    generator, _ = made()
    own, other = (generator.mapping(noise(64, seed=s), None) for s in (1, 2))
    torch.manual_seed(3)
    styles = generator.styles(noise(64, seed=1), None, noise(64, seed=2))
    from_own = (styles == own[:, None]).all(2)
    from_other = (styles == other[:, None]).all(2)
    assert (from_own ^ from_other).all()
    cuts = from_own.sum(1)
    assert set(cuts.tolist()) == set(range(1, generator.layers))
    expected = torch.arange(generator.layers)[None] < cuts[:, None]
    assert torch.equal(from_own, expected)


def test_labels_without_weight_change_nothing():
    """At the start of a transition faces and judgements do not depend on labels; later they do."""
    generator, discriminator = made(classes=4, d_condition="projection")
    with torch.no_grad():
        faces = generator(noise(4), torch.arange(4))
        for weight, same in ((0.0, True), (1.0, False)):
            for network in (generator, discriminator):
                weigh_condition(network, weight)
            drawn = [
                generator(noise(4), labels) for labels in (torch.arange(4), torch.zeros(4).long())
            ]
            judged = [
                discriminator(faces, labels)[0]
                for labels in (torch.arange(4), torch.zeros(4).long())
            ]
            assert torch.equal(*drawn) is same
            assert torch.equal(*judged) is same


def test_a_batch_split_at_ghost_groups_is_judged_as_a_whole():
    """The spread is taken within groups of consecutive rows, whatever the batch."""
    _, discriminator = made()
    faces = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(4)) * 2 - 1
    whole, _ = discriminator(faces, None)
    parts = torch.cat([discriminator(part, None)[0] for part in faces.split(4)])
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)
    mixed, _ = discriminator(faces[[0, 5, 10, 3, 4, 1, 6, 7, 8, 9, 2, 11]], None)
    assert float((mixed[0] - whole[0]).detach().abs()) > 1e-6


def test_path_length_of_a_known_map_is_its_slope():
    """Where a style of length 1 moves the picture by s per pixel, the length is s·√(pixels)."""
    styles = torch.zeros(6, 1, 4, requires_grad=True)
    slope = 3.0
    # Every style number paints its own quarter of a 2×8 picture: orthogonal columns.
    images = (slope * styles[:, 0, :, None].expand(-1, 4, 4)).reshape(6, 1, 2, 8)
    torch.manual_seed(0)
    lengths = []
    for _ in range(300):
        _, mean = path_length(images, styles, torch.tensor(0.0))
        lengths.append(float(mean) / 0.01)
    # E‖Jᵀy‖ with y ~ N(0, 1/16) and JᵀJ = 4·slope²: a chi of four degrees of freedom.
    expected = slope * 2.0 / math.sqrt(16) * math.sqrt(2) * math.gamma(2.5) / math.gamma(2)
    assert np.mean(lengths) == pytest.approx(expected, rel=0.03)


def test_path_length_penalty_can_be_lowered_by_the_generator():
    """Its gradient reaches the generator's weights, through the styles."""
    generator, _ = made()
    generator.train()
    styles = generator.styles(noise(4), None)
    penalty, mean = path_length(generator.draw(styles), styles, torch.tensor(0.0))
    penalty.backward()
    assert float(mean) > 0
    assert generator.before[0].convolution.weight.grad.abs().sum() > 0
    assert generator.mapping.layers[0].weight.grad.abs().sum() > 0


OPTIONS = {
    "size_px": 16,
    "loss": "rpgan",
    "mixing": 0.5,
    "augment": ("colour", "translation"),
    "path_length_weight": 2.0,
    "reg_every": 2,
    "kimg": 0.096,
    "evaluations": 4,
}


def people():
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    names = [f"p:{k // 6}" for k in range(24)]
    return training_set(FaceArrays.of(faces, np.arange(24) % 6, subjects=names), EKMAN_SIX)


def test_a_killed_training_of_the_style_backbone_goes_on_bit_for_bit():
    """Path length, mixing, noise and augmentation are all drawn from the step."""
    whole = fit_noise(spec(**OPTIONS), people(), TrainHooks())
    asked, states = iter([False] * 5 + [True]), []
    hooks = TrainHooks(cancelled=lambda: next(asked), save=states.append, save_every_s=1e9)
    with pytest.raises(Interrupted):
        fit_noise(spec(**OPTIONS), people(), hooks)
    again = fit_noise(spec(**OPTIONS), people(), TrainHooks(resume=states[-1]))
    assert list(again.history) == list(whole.history)
    assert all(torch.equal(again.weights[k], whole.weights[k]) for k in whole.weights)


def test_the_style_backbone_learns_the_colour_of_its_faces():
    """After some steps on faces of one colour, generated faces have it."""
    faces = np.full((16, 8, 8, 3), (230, 120, 40), np.uint8)
    names = [f"p:{k // 4}" for k in range(16)]
    data = training_set(FaceArrays.of(faces, np.arange(16) % 6, subjects=names), EKMAN_SIX)
    seen = []
    hooks = TrainHooks(sheet=lambda _, sheet: seen.append(sheet))
    fit_noise(
        spec(size_px=8, kimg=1.2, evaluations=2, loss="hinge", lr_g=1e-2, lr_d=1e-2, ema_kimg=0.05),
        data,
        hooks,
    )
    error = np.abs(seen[-1].reshape(-1, 3).mean(0) - (230, 120, 40)).max()
    assert error < 40  # grey, where it started, is 102 away
