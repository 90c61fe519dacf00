"""The engine noise: the same request is the same face anywhere; what it cannot do it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.core.closure import Closure
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import EKMAN_SIX, Affect, Expression
from mien.core.generation import FaceRequest, SourceFace
from mien.generators.engines import make_engine
from mien.generators.noise import MICRO_BATCH, NoiseEngine
from mien.generators.noise_networks import build
from mien.generators.noise_spec import parse_noise_spec
from mien.generators.requests import check_balance, plan_requests
from mien.generators.trained import Generator, load_generator, save_generator

CLASSES = EKMAN_SIX[:3]
TINY = {"size_px": 16, "width": 4, "classes": 3, "z_dim": 8}


def made(folder: Path, seed=0, **more):
    """Leave a generator folder with random weights; some networks start with grey pictures."""
    spec = parse_noise_spec({**TINY, **more})
    torch.manual_seed(seed)
    fresh = build(spec)[0].state_dict()
    weights = {name: value + 0.2 * torch.randn_like(value) for name, value in fresh.items()}
    generator = Generator(
        engine="noise",
        preset="acgan",
        classes=CLASSES,
        size_px=spec.size_px,
        channels="gray" if spec.channels == 1 else "rgb",
        spec=spec.model_dump(mode="json"),
        weights=weights,
        closure=Closure(frozenset({"web:1"}), frozenset()),
    )
    save_generator(folder, generator)
    return folder


def engine_of(folder, **more):
    return make_engine("noise", {"generator": str(folder), **more})


def requests_of(identities=15, images=1):
    return list(
        plan_requests(
            pool="p",
            pool_seed=4,
            expressions=CLASSES,
            identities=identities,
            images_per_cell=images,
        )
    )


def pictures(engine, requests):
    return {face.request.id: face.image.tobytes() for face in engine.synthesise(requests)}


@pytest.mark.parametrize("more", [{}, {"backbone": "style"}, {"channels": 3, "backbone": "dc"}])
def test_the_same_request_is_the_same_face_in_any_shard_and_order(more, tmp_path):
    """Byte for byte: whole, in pieces, backwards, alone, by another instance."""
    engine = engine_of(made(tmp_path / "g", **more))
    requests = requests_of()
    assert len(requests) > MICRO_BATCH
    whole = pictures(engine, requests)
    assert pictures(engine, requests[::-1]) == whole
    pieces = [pictures(engine, requests[i : i + 7]) for i in range(0, len(requests), 7)]
    assert {k: v for piece in pieces for k, v in piece.items()} == whole
    other = engine_of(tmp_path / "g")
    assert other.digest == engine.digest
    assert pictures(other, requests[5:6]).items() <= whole.items()
    torch.manual_seed(3)
    assert pictures(other, requests) == whole


def test_a_pool_is_balanced_and_every_face_another(tmp_path):
    """Identities, classes and variations all give different pictures."""
    requests = requests_of(6, images=2)
    faces = list(engine_of(made(tmp_path / "g")).synthesise(requests))
    assert [face.request for face in faces] == requests
    cells = [(face.request.identity, face.request.expression) for face in faces]
    assert check_balance(cells, expressions=CLASSES, images_per_cell=2) == 6
    assert len({face.image.tobytes() for face in faces}) == len(faces)
    assert faces[0].image.shape == (16, 16)
    assert faces[0].image.dtype == np.uint8


def test_variations_stay_closer_than_identities(tmp_path):
    """Another picture of the same cell differs less than another identity's, the less the share."""
    folder = made(tmp_path / "g", width=8)
    requests = requests_of(20, images=2)

    def apart(**more):
        faces = np.stack([f.image for f in engine_of(folder, **more).synthesise(requests)])
        cells = faces.reshape(20, 3, 2, -1).astype(float)
        within = np.abs(cells[:, :, 0] - cells[:, :, 1]).mean()
        return within, np.abs(cells[1:, :, 0] - cells[:-1, :, 0]).mean()

    within, between = apart()
    assert within < 0.7 * between
    assert apart(variation=0.02)[0] < within < apart(variation=0.8)[0]


def test_truncation_draws_faces_together(tmp_path):
    """Smaller truncation, less diverse faces."""
    for backbone in ("res", "style"):
        folder = made(tmp_path / backbone, backbone=backbone)
        spread = []
        for psi in (1.0, 0.5, 0.1):
            faces = engine_of(folder, truncation=psi).synthesise(requests_of())
            images = np.stack([f.image for f in faces]).astype(float)
            spread.append(images.reshape(15, 3, -1).std(0).mean())
        assert spread[0] > spread[1] > spread[2]


def test_digests_name_what_decides_the_faces(tmp_path):
    """Other weights or sampling options, another digest."""
    folder = made(tmp_path / "a")
    digests = {
        engine_of(folder).digest,
        engine_of(folder, truncation=0.7).digest,
        engine_of(folder, variation=0.2).digest,
        engine_of(made(tmp_path / "b", seed=1)).digest,
    }
    assert len(digests) == 4


def test_an_unconditional_generator_is_asked_for_identities(tmp_path):
    """It answers for neutral or no expression, and refuses any other."""
    engine = engine_of(made(tmp_path / "g", classes=0))
    asked = FaceRequest(id="x", seed=0, identity="1", expression=Expression.NEUTRAL)
    neutral, nothing = (
        next(iter(engine.synthesise([replace(asked, expression=e)])))
        for e in (Expression.NEUTRAL, None)
    )
    assert np.array_equal(neutral.image, nothing.image)
    with pytest.raises(Invalid) as caught:
        list(engine.synthesise([replace(asked, expression=Expression.FEAR)]))
    assert caught.value.reason == "UNCONDITIONAL"


def test_what_it_cannot_do_it_refuses(tmp_path):
    """Photos, points of the plane, unknown classes: each a named error."""
    engine = engine_of(made(tmp_path / "g"))
    asked = FaceRequest(id="x", seed=0, identity="1", expression=CLASSES[0])
    photo = SourceFace("s", "d", None, np.zeros((16, 16), np.uint8), ())
    for wrong, reason in (
        (replace(asked, source=photo), "SOURCE_UNUSED"),
        (replace(asked, expression=None, affect=Affect(0.1, 0.2)), "AFFECT_UNSUPPORTED"),
        (replace(asked, expression=None), "AFFECT_UNSUPPORTED"),
        (replace(asked, expression=Expression.SURPRISE), "OTHER_LABEL_SPACE"),
    ):
        with pytest.raises(Invalid) as caught:
            list(engine.synthesise([wrong]))
        assert caught.value.reason == reason


def test_wrong_parameters_and_folders_are_named(tmp_path):
    """Unknown keys, missing folders, altered weights, weights of another network."""
    folder = made(tmp_path / "g")
    with pytest.raises(Invalid) as caught:
        engine_of(folder, truncaton=1.0, variation=0.0)
    assert caught.value.reason == "ENGINE_PARAMS"
    assert set(caught.value.violations) == {"truncaton", "variation"}
    with pytest.raises(NotFound) as missing:
        engine_of(tmp_path / "none")
    assert missing.value.reason == "GENERATOR_MISSING"
    known = load_generator(folder, "noise")
    save_generator(tmp_path / "w", replace(known, spec={**known.spec, "width": 8}))
    with pytest.raises(Corrupt) as other:
        engine_of(tmp_path / "w")
    assert other.value.reason == "WEIGHTS"
    save_generator(tmp_path / "t", replace(known, engine="translate"))
    with pytest.raises(Invalid) as foreign:
        engine_of(tmp_path / "t")
    assert foreign.value.reason == "OTHER_ENGINE"
    file = folder / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(Corrupt) as short:
        engine_of(folder)
    assert short.value.reason == "GENERATOR_FILE"


def test_making_faces_leaves_the_process_as_it_was(tmp_path):
    """Neither the caller's random state nor its number of threads changes."""
    engine = NoiseEngine.from_params({"generator": made(tmp_path / "g")}, None)
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    list(engine.synthesise(requests_of(2)))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
