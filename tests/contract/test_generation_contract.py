"""What generation promises, in this process and behind a service."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import Affect, Expression
from mien.core.generation import FacePlan, FaceRequest, Photo, WantedFace
from mien.core.ports import Generation
from mien.generators.engines import engine_names
from mien.generators.local import LocalGeneration
from mien.imaging.decode import decode
from mien.imaging.encode import encode_png
from mien.settings import load_settings
from tests.contract.untrained import untrained

SIX = tuple(e for e in Expression if e not in (Expression.CONTEMPT, Expression.NEUTRAL))
SMALL = {"size_px": 32}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of generators as training leaves them, and a damaged one."""
    root = tmp_path_factory.mktemp("generators")
    for engine in ("noise", "translate"):
        Path(untrained(engine)).rename(root / engine)
    (root / "broken").mkdir()
    (root / "broken" / "generator.json").write_text("{")
    return root


def local(trained: Path) -> Iterator[Generation]:
    yield LocalGeneration(roots=[trained])


def wire(trained: Path) -> Iterator[Generation]:
    from mien.wire.channel import open_channel
    from mien.wire.generation_client import GenerationClient
    from services.chassis.testing import running
    from services.generation.mount import mount

    with (
        pytest.MonkeyPatch.context() as patch,
        no_assets(patch, trained),
        running("generation", mount, work_roots=(trained,)) as target,
        open_channel(target, load_settings(trained)) as channel,
    ):
        yield GenerationClient(channel)


def no_assets(patch: pytest.MonkeyPatch, folder: Path) -> AbstractContextManager[None]:
    """Have the service find no assets, whatever lies on this machine."""
    patch.delenv("MIEN_ASSETS", raising=False)
    patch.setenv("MIEN_CACHE", str(folder / "cache"))
    return nullcontext()


# Another implementation adds its line here.
MAKERS = {"local": local, "wire": wire}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def generation(request, trained) -> Iterator[Generation]:
    yield from MAKERS[request.param](trained)


@pytest.fixture(scope="module")
def photo() -> Photo:
    """A picture of nobody with a face in it, and where that is."""
    plan = FacePlan("affect", (Expression.NEUTRAL,), 1, {"size_px": 96}, seed=9)
    item = next(LocalGeneration().stream_faces(plan)).item
    return Photo(item.image, "photos/one", "photos:one", item.sample.landmarks)


def test_says_what_can_be_asked_for(generation):
    """Every engine of the installation with a word about it; generators with what they know."""
    engines = {e.name: e for e in generation.engines()}
    assert tuple(engines) == engine_names()
    assert all(e.summary.endswith(".") for e in engines.values())
    assert not engines["affect"].trained
    assert engines["translate"].trained
    assert engines["translate"].photos
    found = {g.name: g for g in generation.generators()}
    assert set(found) == {"noise", "translate"}  # the damaged one is left out
    assert found["noise"].engine == "noise"
    assert found["noise"].size_px == 16
    assert found["noise"].expressions == tuple(Expression)
    assert len(found["noise"].digest) == 64


def test_a_plan_is_balanced(generation):
    """Every identity shows every expression equally often; rows say what the faces are."""
    plan = FacePlan("affect", SIX[:2], 3, SMALL, images_per_cell=2, seed=3, pool="p")
    faces = list(generation.stream_faces(plan))
    rows = [face.item.sample for face in faces]
    cells = Counter((s.identity, s.expression) for s in rows)
    assert len(cells) == 6
    assert set(cells.values()) == {2}
    assert [s.id for s in rows][:3] == [
        "p/000000/anger-0",
        "p/000000/anger-1",
        "p/000000/disgust-0",
    ]
    for face, row in zip(faces, rows, strict=True):
        assert row.origin == "synthetic"
        assert row.source == "affect-3"
        assert row.subject == f"affect-3:{row.identity}"
        assert row.intensity == 1.0
        assert row.parents == (face.engine_digest,)
        assert row.digest == digest_bytes(face.item.image)
        assert decode(face.item.image).shape == (row.height, row.width, 3) == (32, 32, 3)


def test_the_same_plan_is_the_same_faces(generation, trained):
    """Wherever it is asked, in whatever company, and a longer plan begins with a shorter one."""
    plan = FacePlan("affect", SIX[:2], 2, SMALL, seed=4, intensity=(0.5, 0.9))
    here = list(LocalGeneration(roots=[trained]).stream_faces(plan))
    longer = FacePlan("affect", SIX[:2], 3, SMALL, seed=4, intensity=(0.5, 0.9))
    there = list(generation.stream_faces(longer))
    assert there[: len(here)] == here
    assert len(there) == 6
    assert all(0.5 <= face.item.sample.intensity <= 0.9 for face in there)


@pytest.mark.parametrize(
    ("engine", "params"),
    [
        ("noise", {"generator": "noise"}),
        ("stack", {"identity": {"generator": "noise"}, "expression": {"generator": "translate"}}),
    ],
)
def test_generators_are_asked_for_by_name(generation, engine, params):
    """A name of the list, at any depth of the parameters."""
    plan = FacePlan(engine, SIX, 2, params)
    faces = list(generation.stream_faces(plan))
    assert len(faces) == 12
    assert faces[0].item.sample.source == f"{engine}-0"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc",
        "../noise",
        "noise/",
        "./noise",
        "noise/../noise",
        "{root}/noise",
        "file://{root}/noise",
        "no\x00ise",
        7,
        None,
        ["noise"],
        {"a": 1},
    ],
)
def test_a_generator_is_a_name_and_never_a_path(generation, trained, name):
    """Whatever leads somewhere else is unknown, at any depth, and nothing is opened."""
    bad = name.format(root=trained) if isinstance(name, str) else name
    for engine, params in (
        ("noise", {"generator": bad}),
        ("compose", {"identity": {"generator": bad}, "expression": {"generator": "translate"}}),
    ):
        with pytest.raises(NotFound) as error:
            generation.stream_faces(FacePlan(engine, SIX, 1, params))
        assert error.value.reason == "UNKNOWN_GENERATOR"


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (("nothing", SIX, 1, {}), "UNKNOWN_ENGINE"),
        (("affect", SIX, 1, {"size_px": 1}), "ENGINE_PARAMS"),
        (("affect", SIX, 1, {"colour": "red"}), "ENGINE_PARAMS"),
        (("affect", SIX, 1, {"backend": "ict"}), "ASSET_MISSING"),
        (("noise", SIX, 1, {}), "ENGINE_PARAMS"),
        (("noise", SIX, 1, {"generator": "translate"}), "OTHER_ENGINE"),
    ],
)
def test_a_wrong_plan_is_refused_before_the_first_face(generation, monkeypatch, plan, reason):
    """As an error of the call."""
    with pytest.raises((Invalid, NotFound)) as error:
        generation.stream_faces(FacePlan(*plan))
    assert error.value.reason == reason


@pytest.mark.parametrize("depth", [20, 900])
def test_parameters_nested_without_end_are_refused(generation, depth):
    """A caller cannot make anything recurse."""
    mappings, lists = {}, []
    for _ in range(depth):
        mappings, lists = {"identity": mappings}, [lists]
    for params in (mappings, {"identity": lists}):
        with pytest.raises(Invalid, match="ENGINE_PARAMS"):
            generation.stream_faces(FacePlan("compose", SIX, 1, params))


def test_intensities_are_refused_where_none_can_be_given(generation):
    """A GAN on noise shows expressions as strong as those it learned from."""
    plan = FacePlan("noise", SIX, 1, {"generator": "noise"}, intensity=(0.5, 1.0))
    with pytest.raises(Invalid, match="INTENSITY_UNSUPPORTED"):
        generation.stream_faces(plan)
    plain = FacePlan("noise", SIX, 1, {"generator": "noise"})
    assert {f.item.sample.intensity for f in generation.stream_faces(plain)} == {None}


def test_makes_exactly_what_is_asked_in_order(generation):
    """Repeats, mixed identities, other seeds: one face a request."""
    asked = [
        FaceRequest(f"q/{i}", i % 2, f"who-{i % 3}", SIX[i % 6], intensity=0.5) for i in range(7)
    ]
    faces = list(generation.make_faces("affect", SMALL, map(WantedFace, [*asked, asked[0]])))
    assert [f.item.sample.id for f in faces] == [r.id for r in [*asked, asked[0]]]
    assert faces[0] == faces[-1]
    assert {f.item.sample.source for f in faces} == {"affect-0", "affect-1"}


def test_photos_keep_their_person(generation, photo, trained):
    """Who is in the photo is who is in the face; the photo is among its parents."""
    wanted = [
        WantedFace(FaceRequest(f"q/{e}", 0, "photos/one@0", e), photo)
        for e in (Expression.ANGER, Expression.HAPPINESS)
    ]
    for engine, params in (("affect", {}), ("translate", {"generator": "translate"})):
        faces = list(generation.make_faces(engine, params, wanted))
        for face in faces:
            assert face.item.sample.subject == "photos:one"
            assert face.item.sample.parents == (face.engine_digest, digest_bytes(photo.image))
        assert faces[0].item.image != faces[1].item.image


def test_a_stream_of_nothing_ends(generation):
    """Nobody asked for is nobody made."""
    assert list(generation.make_faces("affect", SMALL, [])) == []


def test_one_bad_photo_ends_a_stream_with_its_reason(generation, photo):
    """What was made before is kept."""
    asked = [FaceRequest(f"q/{i}", 0, "a", Expression.FEAR) for i in range(9)]
    wanted = [*map(WantedFace, asked[:8]), WantedFace(asked[8], Photo(b"GIF89a no"))]
    faces = generation.make_faces("affect", SMALL, wanted)
    made = list(islice(faces, 8))
    with pytest.raises(Invalid, match="UNSUPPORTED_FORMAT"):
        next(faces)
    assert len(made) == 8


def test_a_photo_is_deformed(generation, photo):
    """The same photo, another expression, stronger where more is asked for."""
    mild, full = (
        generation.synthesize_affect(photo, expression=Expression.SURPRISE, intensity=i)
        for i in (0.1, 1.0)
    )
    assert full.item.sample.intensity == 1.0
    assert full.item.sample.expression == Expression.SURPRISE
    before = decode(photo.image).astype(float)
    change = [np.abs(decode(f.item.image).astype(float) - before).mean() for f in (mild, full)]
    assert change[0] < change[1]


def test_a_photo_is_translated(generation, photo):
    """At the generator's size, whatever the photo's."""
    face = generation.translate_expression(
        photo, expression=Expression.ANGER, generator="translate", intensity=0.5
    )
    assert decode(face.item.image).shape == (16, 16, 3)
    assert face.item.sample.intensity == 0.5
    assert face.item.sample.subject == "photos:one"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "EMPTY_IMAGE"),
        (b"\x89PNG\r\n\x1a\n", "TRUNCATED_IMAGE"),
        (b"<svg/>", "UNSUPPORTED_FORMAT"),
    ],
)
def test_images_are_not_trusted(generation, image, reason):
    """Both calls on photos say what is wrong with one."""
    bad = Photo(image, "x")
    for call in (
        lambda: generation.synthesize_affect(bad, expression=Expression.FEAR),
        lambda: generation.translate_expression(
            bad, expression=Expression.FEAR, generator="translate"
        ),
    ):
        with pytest.raises(Invalid) as error:
            call()
        assert error.value.reason == reason


def test_landmarks_must_be_of_the_photo(generation, photo):
    """Points outside the picture, or too few, are refused."""
    outside = tuple((x + 500, y) for x, y in photo.landmarks)
    for points, reason in ((outside, "LANDMARKS_OUTSIDE"), (outside[:5], "LANDMARKS_SHAPE")):
        with pytest.raises(Invalid) as error:
            generation.synthesize_affect(
                Photo(photo.image, landmarks=points), expression=Expression.FEAR
            )
        assert error.value.reason == reason


def test_points_of_the_affect_plane_are_refused_until_an_engine_makes_them(generation, photo):
    """It says so, instead of guessing an expression."""
    with pytest.raises(Invalid, match="AFFECT_UNSUPPORTED"):
        generation.synthesize_affect(photo, affect=Affect(0.5, 0.5))


def test_photos_without_landmarks_need_the_detector(generation, photo):
    """Its weights are an asset: the error says how to get them, or how to do without."""
    with pytest.raises(NotFound) as error:
        generation.synthesize_affect(Photo(photo.image), expression=Expression.FEAR)
    assert error.value.reason == "ASSET_MISSING"
    assert "landmarks" in error.value.hint


def test_a_generator_altered_on_disk_is_refused(generation, trained):
    """Its weights are held against their digest whenever it is built."""
    folder = trained / "altered"
    folder.mkdir()
    for file in (trained / "translate").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    try:
        with pytest.raises(Corrupt, match="GENERATOR_FILE"):
            generation.translate_expression(
                Photo(encode_png(np.zeros((16, 16, 3), np.uint8))),
                expression=Expression.FEAR,
                generator="altered",
            )
    finally:
        weights.unlink()
        (folder / "generator.json").unlink()
        folder.rmdir()
