"""The engine translate: same request same bytes, sources of all kinds, clear refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.core.closure import Closure
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import EKMAN_SIX, Affect, Expression
from mien.core.generation import FaceRequest, SourceFace
from mien.generators.engines import engine_names, make_engine
from mien.generators.trained import Generator, load_generator, save_generator
from mien.generators.translate import MICRO_BATCH, TranslateEngine, Translator, fitted
from mien.generators.translate_networks import build_generator
from mien.generators.translate_spec import Domains, parse_translate_spec

CLASSES = EKMAN_SIX[:3]
TINY = {"width": 8, "blocks": 1, "d_width": 8, "d_depth": 3}


def generator(channels="gray", known=((),), **params):
    """Make a generator with random weights that visibly change a face."""
    domains = Domains(16, channels, len(CLASSES), known)
    spec = parse_translate_spec({**TINY, **params})
    torch.manual_seed(0)
    network = build_generator(domains, spec)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    described = {"params": spec.model_dump(mode="json"), "domains": domains.to_json()}
    return Generator(
        "translate", "stargan", CLASSES, 16, channels, described, network.state_dict(), Closure()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("generators") / "gray"
    save_generator(path, generator())
    return path


@pytest.fixture(scope="module")
def engine(folder):
    return make_engine("translate", {"generator": str(folder)})


def picture(seed=0, shape=(16, 16)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def request(number, expression=CLASSES[0], intensity=1.0, image=None):
    image = picture(number) if image is None else image
    source = SourceFace(f"s{number}", f"d{number}", f"p{number}", image, ())
    return FaceRequest(
        f"r{number}", 7, f"i{number}", expression, intensity=intensity, source=source
    )


def many(count):
    return [request(i, CLASSES[i % 3], 0.25 + 0.75 * (i % 4) / 3) for i in range(count)]


def test_the_engine_is_in_the_table():
    """It is found by its name like every engine."""
    assert "translate" in engine_names()


def test_the_same_request_gives_the_same_bytes_in_any_company(engine):
    """Order, neighbours and the size of the last batch change no byte."""
    requests = many(2 * MICRO_BATCH + 5)
    together = {f.request.id: f.image for f in engine.synthesise(requests)}
    backwards = {f.request.id: f.image for f in engine.synthesise(reversed(requests))}
    for one in (*requests[:3], requests[-1]):
        (alone,) = engine.synthesise([one])
        assert np.array_equal(alone.image, together[one.id])
    assert together.keys() == backwards.keys()
    assert all(np.array_equal(together[k], backwards[k]) for k in together)


def test_faces_come_in_the_order_of_the_requests(engine):
    """One face a request, each with its own request."""
    requests = many(MICRO_BATCH + 2)
    assert [f.request for f in engine.synthesise(iter(requests))] == requests


def test_requests_are_streamed(engine):
    """The engine takes no more requests than a micro-batch ahead of what it gives."""
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield request(len(taken))

    faces = engine.synthesise(endless())
    next(faces)
    assert len(taken) == MICRO_BATCH


def test_intensity_zero_is_the_source(engine):
    """At intensity 0 not one pixel changes, and at 1 many do."""
    (still,) = engine.synthesise([request(1, intensity=0.0)])
    assert np.array_equal(still.image, picture(1))
    (moved,) = engine.synthesise([request(1)])
    assert (moved.image != picture(1)).mean() > 0.2


def test_the_expression_decides(engine):
    """Two expressions of one face are two pictures."""
    first, second = engine.synthesise([request(1, CLASSES[0]), request(1, CLASSES[1])])
    assert not np.array_equal(first.image, second.image)


def test_the_plain_function_does_what_requests_do(engine):
    """``translate`` on arrays gives the bytes that requests give."""
    requests = many(5)
    images = np.stack([r.source.image for r in requests])
    labels = np.array([CLASSES.index(r.expression) for r in requests])
    strength = np.array([r.intensity for r in requests], np.float32)
    plain = engine.translate(images, labels, strength)
    asked = np.stack([f.image for f in engine.synthesise(requests)])
    assert np.array_equal(plain, asked)
    assert engine.translate(images[:0], labels[:0], strength[:0]).shape == (0, 16, 16)


@pytest.mark.parametrize("channels", ["gray", "rgb"])
@pytest.mark.parametrize("shape", [(16, 16), (40, 30, 3), (9, 13), (64, 64, 3)])
def test_sources_are_brought_to_the_generator(channels, shape):
    """Any size and kind of source becomes the generator's."""
    image = picture(3, shape)
    made = fitted(image, 16, channels)
    assert made.shape == ((16, 16) if channels == "gray" else (16, 16, 3))
    one = TranslateEngineOf(generator(channels))
    (face,) = one.synthesise([request(3, image=image)])
    assert face.image.shape == made.shape


def TranslateEngineOf(made):
    from mien.generators.translate import SamplingParams

    return TranslateEngine(made, SamplingParams(generator="unused"))


def test_a_generator_of_two_databases_uses_one_that_knows_the_label():
    """Every label of the union can be asked for."""
    translator = Translator(generator(known=((0, 1), (1, 2))))
    images = np.stack([picture(1)] * 3)
    made = translator.translate(images, np.arange(3), np.ones(3, np.float32))
    assert len({m.tobytes() for m in made}) == 3


def test_the_process_is_left_as_it_was(engine):
    """Sampling touches neither the caller's random state nor its number of threads."""
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    list(engine.synthesise(many(3)))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_digest_names_weights_and_options(folder, engine):
    """The same folder and options have one digest; other options or weights another."""
    again = make_engine("translate", {"generator": str(folder)})
    weaker = make_engine("translate", {"generator": str(folder), "intensity": 0.5})
    assert again.digest == engine.digest
    assert weaker.digest != engine.digest
    assert TranslateEngineOf(generator(width=16)).digest != engine.digest


def test_a_weaker_engine_is_a_weaker_request(folder, engine):
    """The option ``intensity`` scales what requests ask for."""
    weaker = make_engine("translate", {"generator": str(folder), "intensity": 0.5})
    (scaled,) = weaker.synthesise([request(1)])
    (asked,) = engine.synthesise([request(1, intensity=0.5)])
    assert np.array_equal(scaled.image, asked.image)


def test_variations_of_a_face_differ_in_strength(engine):
    """The first is as strong as asked for, others a little weaker, the same ones every time."""
    requests = [replace(request(1), variation=v) for v in range(4)]
    faces = [f.image.astype(int) for f in engine.synthesise(requests)]
    again = [f.image for f in engine.synthesise(requests)]
    assert all(np.array_equal(a, b) for a, b in zip(faces, again, strict=True))
    changes = [np.abs(face - picture(1)).mean() for face in faces]
    assert all(0.4 * changes[0] < change < changes[0] for change in changes[1:])
    assert len(set(changes)) == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": None}, "SOURCE_MISSING"),
        ({"expression": None, "affect": Affect(0.5, 0.5)}, "AFFECT_UNSUPPORTED"),
        ({"expression": Expression.SURPRISE}, "OTHER_LABEL_SPACE"),
        ({"intensity": 1.5}, "INTENSITY_OUT_OF_RANGE"),
        ({"intensity": float("nan")}, "INTENSITY_OUT_OF_RANGE"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(engine, change, reason):
    """Each with its reason, a hint, and the request's name where it is one request's fault."""
    with pytest.raises(Invalid) as caught:
        list(engine.synthesise([replace(request(1), **change)]))
    assert caught.value.reason == reason
    assert caught.value.hint


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((1, 8, 8), np.uint8), [0], "IMAGE_SIZE"),
        (np.zeros((1, 16, 16, 3), np.uint8), [0], "IMAGE_SIZE"),
        (np.zeros((1, 16, 16), np.float32), [0], "IMAGE_SIZE"),
        (np.zeros((1, 16, 16), np.uint8), [3], "LABEL_OUT_OF_RANGE"),
        (np.zeros((1, 16, 16), np.uint8), [-1], "LABEL_OUT_OF_RANGE"),
    ],
)
def test_wrong_arrays_are_refused(engine, images, labels, reason):
    """Faces of another size or kind, and labels that do not exist."""
    with pytest.raises(Invalid) as caught:
        engine.translate(images, np.array(labels), np.ones(1, np.float32))
    assert caught.value.reason == reason


def test_wrong_engine_parameters_are_all_named(folder):
    """Unknown and wrong keys together; a missing folder by name."""
    with pytest.raises(Invalid) as caught:
        make_engine("translate", {"intensity": 2, "folder": "x"})
    assert set(caught.value.violations) == {"generator", "intensity", "folder"}
    with pytest.raises(NotFound) as missing:
        make_engine("translate", {"generator": str(folder / "nowhere")})
    assert missing.value.reason == "GENERATOR_MISSING"


def test_folders_that_are_not_a_translators_are_refused(folder, tmp_path):
    """Another engine's, altered weights, another release's spec, weights of another network."""
    save_generator(tmp_path / "other", replace(generator(), engine="noise"))
    save_generator(tmp_path / "spec", replace(generator(), spec={"params": {"width": 8}}))
    save_generator(tmp_path / "net", replace(generator(), weights=generator(width=16).weights))
    shutil.copytree(folder, tmp_path / "cut")
    weights = tmp_path / "cut" / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    expected = {
        "other": (Invalid, "OTHER_ENGINE"),
        "spec": (Invalid, "GENERATOR_FORMAT"),
        "net": (Corrupt, "WEIGHTS"),
        "cut": (Corrupt, "GENERATOR_FILE"),
    }
    for name, (kind, reason) in expected.items():
        with pytest.raises(kind) as caught:
            make_engine("translate", {"generator": str(tmp_path / name)})
        assert caught.value.reason == reason


def test_a_folder_gives_back_what_was_saved(folder):
    """Classes, size and weights survive the disk."""
    loaded, made = load_generator(folder, "translate"), generator()
    assert loaded.classes == CLASSES
    assert (loaded.size_px, loaded.channels) == (16, "gray")
    assert all(torch.equal(loaded.weights[k], made.weights[k]) for k in made.weights)
