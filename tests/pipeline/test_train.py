"""One model on one's own folders, and its use."""

from __future__ import annotations

import json
import shutil

import pytest

from mien.core.errors import Invalid, NotFound
from mien.recognition.spec import FitSpec
from mien.stages import recognise, train


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A tree as a user has it: split / class / file, nothing else."""
    from mien.datasets.table import read

    root = tmp_path_factory.mktemp("own")
    names = {"anger": "angry", "happiness": "Happy", "surprise": "surprised"}
    parts = {"train": (0, 8), "val": (8, 4), "test": (12, 4)}
    for part, (first, count) in parts.items():
        reading = read(
            "demo_lab",
            None,
            {"subjects": count, "first_subject": first, "expressions": list(names)},
        )
        for item in reading.items:
            folder = root / part / names[str(item.sample.expression)]
            folder.mkdir(parents=True, exist_ok=True)
            name = item.sample.id.replace("/", "_")
            (folder / f"{name}.png").write_bytes(item.image)
    return root


def request(own, out, **changes):
    given = {
        "train": own / "train",
        "validation": own / "val",
        "test": own / "test",
        "out": out,
        "width": 0.5,
        "fit": FitSpec(kimg=0.4, batch=16, evaluations=2),
    }
    return train.Request(**(given | changes))


@pytest.fixture(scope="module")
def trained(own, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, train.run(request(own, out))


def test_a_run_is_a_folder(trained):
    """Configuration, history, figures, pictures, reports and the model are all there."""
    out, figures = trained
    assert {p.name for p in out.iterdir()} >= {
        "run.json",
        "metrics.json",
        "history.json",
        "curves.png",
        "confusion_test.png",
        "report_test.md",
        "model",
    }
    assert 0 <= figures["test/accuracy"] <= 1
    run = json.loads((out / "run.json").read_text())
    assert run["images"] == {"train": 24, "validation": 12, "test": 12}
    assert run["per_class"]["train"] == {"anger": 8, "happiness": 8, "surprise": 8}


def test_the_model_recognises_photos_it_never_saw(trained, own):
    """Every photo of a folder gets probabilities that sum to one, with the training's own spec."""
    found = list(recognise.run(trained[0] / "model", [own / "test" / "Happy"]))
    assert len(found) == 4
    for each in found:
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert each["expression"] in ("anger", "happiness", "surprise")


def test_one_bad_photo_does_not_stop_the_others(trained, own, tmp_path):
    """A truncated file is told with its name; the next photo is recognised."""
    good = next((own / "test" / "Happy").iterdir())
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:200])
    first, second = recognise.run(trained[0] / "model", [bad, good])
    assert "bad.png" in first["failure"]
    assert "failure" not in second


def test_a_missing_photo_or_model_says_so(trained, tmp_path):
    """No such file, no such model."""
    with pytest.raises(NotFound, match=r"nothing\.jpg"):
        list(recognise.run(trained[0] / "model", [tmp_path / "nothing.jpg"]))
    with pytest.raises(NotFound, match="MODEL_MISSING"):
        list(recognise.run(tmp_path / "model", [tmp_path]))


def test_the_same_image_in_train_and_test_is_refused(own, tmp_path):
    """A copy of a training image in the test folder would test memory."""
    shutil.copytree(own, tmp_path / "own")
    stolen = next((tmp_path / "own/train/angry").iterdir())
    shutil.copy(stolen, tmp_path / "own/test/angry/other_name.png")
    with pytest.raises(Invalid) as caught:
        train.run(request(tmp_path / "own", tmp_path / "out"))
    assert caught.value.reason == "IMAGE_IN_TWO_SETS"


def test_a_class_only_the_test_has_is_refused(own, tmp_path):
    """Nobody can be tested on what was never trained."""
    shutil.copytree(own, tmp_path / "own")
    shutil.move(tmp_path / "own/train/angry", tmp_path / "angry")
    with pytest.raises(Invalid) as caught:
        train.run(request(tmp_path / "own", tmp_path / "out"))
    assert caught.value.reason == "CLASS_WITHOUT_SAMPLES"
    assert "anger" in str(caught.value)


def test_an_unknown_class_folder_is_refused_by_name(own, tmp_path):
    """`angriest` is not `angry`: no substring match, no silent skip."""
    shutil.copytree(own, tmp_path / "own")
    (tmp_path / "own/train/angry").rename(tmp_path / "own/train/angriest")
    with pytest.raises(Invalid, match="angriest"):
        train.run(request(tmp_path / "own", tmp_path / "out"))


def test_an_empty_folder_is_refused(own, tmp_path):
    """Nothing to train on is an error that names the folder."""
    (tmp_path / "empty").mkdir()
    with pytest.raises((Invalid, NotFound), match="empty"):
        train.run(request(own, tmp_path / "out", train=tmp_path / "empty"))
