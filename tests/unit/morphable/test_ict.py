"""The ICT-FaceKit head: reading, checking, linearity, colours."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import EKMAN_SIX, EXPRESSIONS, Expression
from mien.morphable import ict
from mien.morphable.ict import ASSET, DRAWN_END, IctHead
from mien.morphable.tissue import Tissue, tissues

ASSETS = Path(os.environ.get("MIEN_ASSETS", ""))
real = pytest.mark.skipif(
    not os.environ.get("MIEN_ASSETS") or not (ASSETS / ASSET).is_file(),
    reason="MIEN_ASSETS has no ict_facekit",
)
VERTICES = DRAWN_END + 100


def arrays() -> dict[str, Any]:
    """A small stand-in with the file's layout: few modes, the mesh's vertex ranges."""
    rng = np.random.default_rng(0)
    names = np.array(["jawOpen", "mouthSmile_L", "mouthSmile_R"])
    return {
        "neutral": rng.normal(0, 5, (VERTICES, 3)).astype(np.float32),
        "identity": rng.integers(-50, 50, (2, VERTICES, 3)).astype(np.int16),
        "identity_scale": np.full((2, 1, 1), 0.01, np.float32),
        "expression": rng.integers(-50, 50, (3, VERTICES, 3)).astype(np.int16),
        "expression_scale": np.full((3, 1, 1), 0.02, np.float32),
        "expression_names": names,
        "quads": rng.integers(0, VERTICES, (40, 4)).astype(np.int32),
        "tris": rng.integers(0, VERTICES, (5, 3)).astype(np.int32),
        "landmarks68": np.arange(68, dtype=np.int32),
    }


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / ASSET
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, **values)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("assets"), arrays())


def test_shapes_are_linear_in_identity_and_units(small):
    """Vertices = neutral + Σ identity · scale; offsets likewise."""
    head, raw = IctHead.load(small), arrays()
    identity = np.array([1.5, -0.5], np.float32)
    expected = raw["neutral"] + 0.01 * (1.5 * raw["identity"][0] - 0.5 * raw["identity"][1])
    assert np.allclose(head.shape(identity), expected[:DRAWN_END], atol=1e-4)
    offsets = head.offsets({"jawOpen": 0.5, "mouthSmile_L": 0.0})
    assert np.allclose(offsets, 0.02 * 0.5 * raw["expression"][0][:DRAWN_END], atol=1e-4)
    assert np.allclose(head.shape(np.zeros(2, np.float32)), raw["neutral"][:DRAWN_END])
    assert not head.offsets({}).any()


def test_transparent_parts_are_left_out(small):
    """No triangle touches lashes or the transparent parts of the eyes; quads become two."""
    head = IctHead.load(small)
    assert len(head.mean) == DRAWN_END
    assert head.triangles.max() < DRAWN_END
    kept = [q for q in arrays()["quads"] if (q < DRAWN_END).all()]
    assert {tuple(q[[0, 1, 2]]) for q in kept} <= {tuple(t) for t in head.triangles}
    assert {tuple(q[[0, 2, 3]]) for q in kept} <= {tuple(t) for t in head.triangles}


def test_a_head_is_loaded_once(small):
    """Two loads of the same file share the arrays, which cannot be written."""
    assert IctHead.load(small) is IctHead.load(small)
    with pytest.raises(ValueError, match="read-only"):
        IctHead.load(small).identity_basis()[0, 0, 0] = 1.0


def test_digest_names_the_content_not_the_file(small, tmp_path):
    """The same arrays packed otherwise have the same digest; others do not."""
    copy = arrays()
    (tmp_path / "a" / ASSET).parent.mkdir(parents=True)
    np.savez(tmp_path / "a" / ASSET, **copy)
    copy["neutral"] = copy["neutral"] + 1e-3
    other = write(tmp_path / "b", copy)
    digest = IctHead.load(small).digest
    assert IctHead.load(tmp_path / "a").digest == digest
    assert IctHead.load(other).digest != digest


@pytest.mark.parametrize("folder", [None, Path("nowhere")])
def test_a_missing_asset_says_how_to_get_it(folder):
    """The error names the variable and the command."""
    with pytest.raises(NotFound) as error:
        IctHead.load(folder)
    assert error.value.reason == "ASSET_MISSING"
    assert "MIEN_ASSETS" in error.value.hint
    assert "mien assets pull ict" in error.value.hint


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "text"])
def test_tampered_bytes_are_refused(how, small, tmp_path):
    """A flipped byte, a cut, an empty and another file: corrupt, with the file's name."""
    path = tmp_path / ASSET
    path.parent.mkdir()
    shutil.copy(small / ASSET, path)
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"hello"}.get(how, data))
    with pytest.raises(Corrupt) as error:
        IctHead.load(tmp_path)
    assert error.value.reason == "ASSET_CORRUPT"
    assert str(path) in error.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"neutral": np.zeros((10, 3), np.float32)},
        {"quads": np.full((2, 4), VERTICES, np.int32)},
        {"tris": np.full((2, 3), -1, np.int32)},
        {"landmarks68": np.zeros(67, np.int32)},
        {"expression_names": np.array(["jawOpen"])},
        {"identity": np.zeros((2, 30, 3), np.int16)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_arrays_that_do_not_fit_together_are_refused(change, tmp_path):
    """Shapes and indices are checked before anything is drawn."""
    with pytest.raises(Corrupt, match="ASSET_CORRUPT"):
        IctHead.load(write(tmp_path, arrays() | change))


def test_a_pickled_array_is_never_loaded(tmp_path):
    """An object array would run code when loaded: refused."""
    hidden = np.array([{"a": 1}], dtype=object)
    with pytest.raises(Corrupt):
        IctHead.load(write(tmp_path, arrays() | {"expression_names": hidden}))


def test_a_missing_array_is_refused(tmp_path):
    """Every array is needed."""
    values = arrays()
    del values["landmarks68"]
    with pytest.raises(Corrupt):
        IctHead.load(write(tmp_path, values))


def test_unknown_and_exaggerated_units_are_refused(small):
    """Names and ranges are checked."""
    head = IctHead.load(small)
    with pytest.raises(Invalid, match="UNKNOWN_UNIT"):
        head.offsets({"smirk": 0.5})
    with pytest.raises(Invalid, match="UNIT_OUT_OF_RANGE"):
        head.offsets({"jawOpen": 1.5})


@real
def test_every_prototype_names_existing_units():
    """All eight expressions; neutral has none, the others move the face."""
    head = IctHead.load(ASSETS)
    for expression in EXPRESSIONS:
        prototype = head.prototype(expression)
        moved = np.abs(head.offsets(prototype)).max()
        assert (moved == 0) == (expression is Expression.NEUTRAL)
    assert head.identity_size == 100
    assert len(head.units) == 57


@real
def test_expressions_move_what_they_should():
    """Smiles raise the corners, surprise drops the chin, anger lowers the brows."""
    head = IctHead.load(ASSETS)
    marks = {e: head.offsets(head.prototype(e))[head.landmarks68] for e in EKMAN_SIX}
    assert marks[Expression.HAPPINESS][[48, 54], 1].min() > 0.5
    assert marks[Expression.SADNESS][[48, 54], 1].max() < -0.1
    assert marks[Expression.SURPRISE][8, 1] < -1.0
    assert marks[Expression.ANGER][[21, 22], 1].max() < -0.2
    assert marks[Expression.SURPRISE][[19, 24], 1].min() > 0.5


@real
def test_colours_follow_the_appearance():
    """Albedo lies in [0, 1]; darker skin is darker; teeth are lighter than the throat."""
    head = IctHead.load(ASSETS)
    light = head.colours({"skin": 0.0}, np.random.default_rng(0))
    dark = head.colours({"skin": 1.0}, np.random.default_rng(0))
    assert light.shape == (len(head.mean), 3)
    assert 0.0 <= light.min() <= light.max() <= 1.0
    kind = tissues(head.parts, len(head.mean))
    skin = kind == Tissue.SKIN
    assert dark[skin].mean() < 0.6 * light[skin].mean()
    assert light[kind == Tissue.TEETH].mean() > 2 * light[ict.HEAD_END : ict.SOCKET_END].mean()
    with pytest.raises(Invalid, match="UNKNOWN_APPEARANCE"):
        head.colours({"hat": 1.0}, np.random.default_rng(0))


def test_unknown_parts_are_refused():
    """A part whose tissue nobody stated is an error, not skin by accident."""
    with pytest.raises(Invalid, match="UNKNOWN_PART"):
        tissues({"hat": slice(0, 3)}, 5)
