"""The style backbone behind the engine noise: the same face for the same name."""

import numpy as np
import pytest
import torch

from mien.core.closure import Closure
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.generation import FaceRequest
from mien.generators.noise import MICRO_BATCH, NoiseEngine
from mien.generators.noise_networks import build_generator
from mien.generators.noise_spec import NoiseSpec
from mien.generators.trained import Generator, save_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generator as after some training: pictures, noise and mean style are not zero."""
    spec = NoiseSpec(backbone="style", size_px=32, channels=3, classes=0, z_dim=16, width=8)
    torch.manual_seed(0)
    network = build_generator(spec)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("pictures"):
                weight.normal_(0, 0.5)
            if name.endswith("strength"):
                weight.fill_(1.0)
        for _ in range(50):
            network.mapping(torch.randn(32, 16), None)
    made = tmp_path_factory.mktemp("style") / "generator"
    save_generator(
        made,
        Generator(
            engine="noise",
            preset="stylegan",
            classes=tuple(EXPRESSIONS),
            size_px=32,
            channels="rgb",
            spec=spec.model_dump(mode="json"),
            weights=network.state_dict(),
            closure=Closure(frozenset({"p:1"})),
        ),
    )
    return made


def engine(folder, **options):
    return NoiseEngine.from_params({"generator": str(folder), **options}, None)


def asked(count, seed=3):
    return [FaceRequest(f"r{i}", seed, f"i{i}", Expression.NEUTRAL) for i in range(count)]


def faces(maker, requests):
    return np.stack([face.image for face in maker.synthesise(requests)])


@pytest.mark.parametrize("truncation", [1.0, 0.6])
def test_an_identity_is_the_same_bytes_in_any_order_and_company(folder, truncation):
    """Order, shard and process change no byte; another seed changes the face."""
    requests = asked(MICRO_BATCH + 9)
    whole = faces(engine(folder, truncation=truncation), requests)
    assert whole.shape == (len(requests), 32, 32, 3)
    assert len(np.unique(whole.reshape(len(requests), -1), axis=0)) == len(requests)
    order = np.random.default_rng(0).permutation(len(requests))
    again = engine(folder, truncation=truncation)
    assert np.array_equal(faces(again, [requests[i] for i in order]), whole[order])
    assert np.array_equal(faces(again, requests[5:6])[0], whole[5])
    assert not np.array_equal(faces(again, asked(1, seed=4))[0], whole[0])


def test_truncation_is_part_of_the_name_and_makes_faces_more_alike(folder):
    """Another truncation is another engine; lower ones are less diverse."""
    makers = [engine(folder, truncation=psi) for psi in (1.0, 0.5, 0.1)]
    assert len({maker.digest for maker in makers}) == 3
    spread = [float(faces(maker, asked(24)).std(0).mean()) for maker in makers]
    assert spread[0] > spread[1] > spread[2] > 0
