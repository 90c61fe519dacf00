"""Engines and generators told without building them."""

import json
import subprocess
import sys

import pytest

from mien.core.errors import Invalid, NotFound
from mien.generators.described import (
    engine_infos,
    find_generators,
    named_generators,
    placed,
)
from mien.generators.engines import engine_type, make_engine
from mien.generators.trained import load_generator
from tests.contract.untrained import untrained


@pytest.mark.parametrize("info", engine_infos(), ids=lambda info: info.name)
def test_what_is_said_of_an_engine_is_so(info):
    """Held against its class: one that needs a generator cannot be built without."""
    assert engine_type(info.name) is not None
    if info.trained:
        with pytest.raises(Invalid, match="ENGINE_PARAMS"):
            make_engine(info.name, {})
    else:
        assert make_engine(info.name, {}).digest


def test_a_generator_is_told_as_it_is_loaded(tmp_path):
    """The digest that is listed is the one its faces bear."""
    folder = tmp_path / "mine" / "generator"
    folder.parent.mkdir()
    from pathlib import Path

    Path(untrained("noise")).rename(folder)
    ((name, found),) = find_generators([tmp_path]).items()
    loaded = load_generator(folder, "noise")
    assert name == found.info.name == "mine"
    assert found.info.digest == loaded.digest
    assert found.info.expressions == loaded.classes
    assert found.info.subjects_seen == len(loaded.closure.subjects)


def described(folder, **changes):
    """Write a generator's description and nothing else."""
    folder.mkdir(parents=True)
    plain = {
        "engine": "noise",
        "classes": ["anger", "fear"],
        "size_px": 8,
        "spec": {},
        "subjects": [],
        "preprocess": {},
        "figures": {"kimg": 3, "last": {"fd": 1.5, "note": "x"}, "good": True},
        "weights": {"blake3": "0" * 64},
    }
    (folder / "generator.json").write_text(json.dumps(plain | changes))
    return folder


def test_found_below_their_roots_and_nowhere_else(tmp_path):
    """Not through links, not too deep, not where names are odd; the first root goes first."""
    one, two = tmp_path / "one", tmp_path / "two"
    described(one / "a" / "generator")
    described(one / "data" / "train_generator" / "b" / "generator")
    described(two / "a", size_px=16)
    described(two / "x" / "x" / "x" / "x" / "deep")
    described(two / ".hidden" / "h")
    outside = described(tmp_path / "outside")
    (two / "linked").symlink_to(outside)
    (two / "file").mkdir()
    (two / "file" / "generator.json").symlink_to(outside / "generator.json")
    found = find_generators([one, two, tmp_path / "missing"])
    assert set(found) == {"a", "b"}
    assert found["a"].info.size_px == 8
    assert found["a"].info.figures == {"kimg": 3.0, "last.fd": 1.5}


@pytest.mark.parametrize(
    "changes", [{"classes": ["joy", "fear"]}, {"size_px": "x"}, {"weights": {}}, {"figures": 3}]
)
def test_damaged_descriptions_are_left_out(tmp_path, changes, caplog):
    """With a word in the log; the others are listed."""
    described(tmp_path / "bad", **changes)
    described(tmp_path / "good")
    assert list(find_generators([tmp_path])) == ["good"]
    assert "bad" in caplog.text


def test_names_become_folders_at_any_depth(tmp_path):
    """And nothing else is touched."""
    described(tmp_path / "a")
    described(tmp_path / "b")
    known = find_generators([tmp_path])
    params = {"identity": {"generator": "a", "psi": 0.5}, "expression": {"generator": "b"}}
    assert placed(params, known) == {
        "identity": {"generator": str(tmp_path / "a"), "psi": 0.5},
        "expression": {"generator": str(tmp_path / "b")},
    }
    assert named_generators(params) == ["a", "b"]
    for hidden in ({"x": [{"generator": "/etc"}]}, {"generator": {"generator": "a"}}):
        with pytest.raises(NotFound, match="UNKNOWN_GENERATOR"):
            placed(hidden, known)


def test_nothing_heavy_is_imported_to_list(tmp_path):
    """A service that idles has no torch, no OpenCV, no Parquet."""
    described(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from mien.generators.local import LocalGeneration;"
        f"g = LocalGeneration(roots=[Path({str(tmp_path)!r})]);"
        "assert [x.name for x in g.generators()] == ['a']; assert len(g.engines()) == 5;"
        "import services.generation.mount;"
        "heavy = {'torch', 'cv2', 'numba', 'scipy', 'pyarrow', 'pandas', 'mlflow', 'sklearn'};"
        "print(heavy & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="."
    )
    assert said.stdout.strip() == "set()", said.stderr
