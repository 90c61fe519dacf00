"""Model folders and checkpoints: written whole, read verified, never a pickle."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.preprocess import PreprocessSpec
from mien.recognition.files import load_model, save_model
from mien.recognition.networks import build
from mien.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from mien.training.weights import description_file, weights_file

DESCRIPTION, WEIGHTS = description_file("model"), weights_file("model")


@pytest.fixture
def folder(tmp_path, small_spec):
    weights = build(small_spec).state_dict()
    save_model(
        tmp_path / "model",
        weights,
        small_spec,
        preprocess=PreprocessSpec(size_px=16),
        temperature=1.25,
        lineage={"train": "abc", "subjects": ["a:1"]},
    )
    return tmp_path / "model"


def test_a_model_is_read_back_as_written(folder, small_spec):
    """Weights, spec, preprocessing, temperature and lineage survive."""
    model = load_model(folder)
    assert model.spec == small_spec
    assert model.preprocess == PreprocessSpec(size_px=16)
    assert model.temperature == 1.25
    assert model.lineage == {"train": "abc", "subjects": ["a:1"]}
    again = folder.with_name("again")
    assert save_model(again, model.weights, small_spec) == model.digest
    assert load_model(again).preprocess is None


def test_saving_again_replaces_the_model(folder, small_spec):
    """A second save leaves one whole model and no temporary folders."""
    torch.manual_seed(1)
    digest = save_model(folder, build(small_spec).state_dict(), small_spec)
    assert load_model(folder).digest == digest
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path):
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


def emptied(path):
    path.write_bytes(b"")


def test_a_missing_model_is_not_found(tmp_path):
    """A path that does not exist is NotFound, with the path."""
    with pytest.raises(NotFound, match="nowhere") as error:
        load_model(tmp_path / "nowhere")
    assert error.value.reason == "MODEL_MISSING"


@pytest.mark.parametrize("harm", [flip_a_byte, cut, pickled, emptied])
def test_damaged_weights_are_corrupt(folder, harm):
    """An altered, truncated, pickled or empty weights file is Corrupt, naming the file."""
    harm(folder / WEIGHTS)
    with pytest.raises(Corrupt, match="safetensors") as error:
        load_model(folder)
    assert error.value.reason == "MODEL_FILE"


@pytest.mark.parametrize("harm", [cut, pickled, emptied])
def test_a_damaged_description_is_corrupt(folder, harm):
    """A description that is no JSON is Corrupt."""
    harm(folder / DESCRIPTION)
    with pytest.raises(Corrupt):
        load_model(folder)


def test_missing_weights_are_corrupt(folder):
    """A model folder without its weights is Corrupt."""
    (folder / WEIGHTS).unlink()
    with pytest.raises(Corrupt):
        load_model(folder)


def test_a_pickle_is_not_a_model(tmp_path):
    """A folder or file of pickled weights is refused with a hint."""
    (tmp_path / "old").mkdir()
    pickled(tmp_path / "old" / "model.pt")
    for path in (tmp_path / "old", tmp_path / "old" / "model.pt"):
        with pytest.raises(Invalid) as error:
            load_model(path)
        assert error.value.reason == "MODEL_FORMAT"
        assert "pickled" in error.value.hint


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("format", 99, Invalid),
        ("classifier", {"network": "small"}, Invalid),
        ("preprocess", {"colour": 1}, Corrupt),
        ("weights", {}, Corrupt),
        ("temperature", None, Corrupt),
    ],
)
def test_a_wrong_description_is_refused(folder, key, value, kind):
    """A description of another release, or with missing parts, is refused, never guessed at."""
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(kind):
        load_model(folder)


STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
    "optimiser": {"a/step": torch.tensor(7.0)},
    "best": {},
    "progress": {"run": "x", "step": 7, "loss": 0.1 + 0.2, "history": [{"ccc": None}]},
}


def test_a_checkpoint_is_read_back_as_written(tmp_path):
    """Tensors and numbers survive to the bit; the older state is replaced."""
    save_checkpoint(tmp_path / "c", {**STATE, "best": {"a": torch.ones(1)}})
    save_checkpoint(tmp_path / "c", STATE)
    found = load_checkpoint(tmp_path / "c")
    assert found is not None
    assert found["progress"] == STATE["progress"]
    assert found["best"] == {}
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert found["weights"]["b"].shape == ()
    assert [p.name for p in (tmp_path / "c").iterdir()] == [CHECKPOINT]


def test_no_checkpoint_is_none(tmp_path):
    """Where nothing was saved there is nothing to resume, which is no error."""
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("harm", [flip_a_byte, cut, pickled, emptied])
def test_a_damaged_checkpoint_is_corrupt(tmp_path, harm):
    """An altered, truncated, pickled or empty checkpoint is Corrupt and says what to do."""
    save_checkpoint(tmp_path, {**STATE, "weights": {"a": torch.arange(600.0)}})
    harm(tmp_path / CHECKPOINT)
    with pytest.raises(Corrupt) as error:
        load_checkpoint(tmp_path)
    assert "delete it" in error.value.hint


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    """A full disk while saving leaves the state before, whole, and no temporary file."""
    import mien.training.checkpoint as files

    save_checkpoint(tmp_path, STATE)

    def full(path, data):
        path.write_bytes(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, {**STATE, "weights": {"a": torch.zeros(9)}})
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert np.array_equal(found["weights"]["a"], STATE["weights"]["a"])
