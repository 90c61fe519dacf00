"""The readers ``fer2013``, ``ck48`` and ``london`` on trees in exactly their layouts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.datasets.labels import CK48_FOLDERS, FER2013_FOLDERS, FER2013_NUMBERS
from mien.datasets.table import READERS, read
from mien.imaging.decode import decode


def _image(path: Path, shade: int, size: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size, size), shade, np.uint8))


def _pixels(shade: int, count: int = 48 * 48) -> str:
    return " ".join(str((shade + k) % 256) for k in range(count))


def _csv(path: Path, rows: list[str]) -> Path:
    path.write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    return path


def _samples(name: str, root: Path):
    return [item.sample for item in read(name, root).items]


def _reason(name: str, root: Path) -> Invalid:
    with pytest.raises(Invalid) as caught:
        _samples(name, root)
    return caught.value


# --- FER2013 ------------------------------------------------------------------------------------


def test_fer2013_csv(tmp_path):
    """Rows become 48×48 PNGs with the table's labels and the file's own parts, no subjects."""
    usages = ["Training", "PublicTest", "PrivateTest"]
    rows = [f"{n},{_pixels(int(n))},{usages[int(n) % 3]}" for n in FER2013_NUMBERS]
    items = list(read("fer2013", _csv(tmp_path / "fer2013.csv", rows)).items)
    assert [i.sample.expression for i in items] == list(FER2013_NUMBERS.values())
    assert [i.sample.usage for i in items[:3]] == ["train", "validation", "test"]
    assert all(i.sample.subject is None for i in items)
    assert READERS["fer2013"].has_subjects is False
    for shade, item in enumerate(items):
        expected = (np.arange(48 * 48) + shade) % 256
        np.testing.assert_array_equal(decode(item.image).ravel(), expected)


def test_fer2013_folder_holding_the_csv(tmp_path):
    """The root may be the folder the archive unpacks to."""
    _csv(tmp_path / "fer2013.csv", [f"3,{_pixels(1)},Training"])
    assert _samples("fer2013", tmp_path)[0].expression is Expression.HAPPINESS


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"7,{_pixels(0)},Training", "UNKNOWN_LABEL"),
        (f"3,{_pixels(0)},Train", "UNKNOWN_USAGE"),
        (f"3,{_pixels(0, 2303)},Training", "BAD_ROW"),
        (f"3,{_pixels(0, 2303)} 256,Training", "BAD_ROW"),
        (f"3,{_pixels(0, 2303)} x,Training", "BAD_ROW"),
        ("3,1 2 3", "BAD_ROW"),
    ],
)
def test_fer2013_wrong_rows_name_the_row(tmp_path, row, reason):
    """The second data row is wrong, and it is row 1 that is named."""
    path = _csv(tmp_path / "fer2013.csv", [f"3,{_pixels(9)},Training", row])
    error = _reason("fer2013", path)
    assert error.reason == reason
    assert "fer2013.csv row 1" in error.message


def test_fer2013_other_headers_are_refused(tmp_path):
    """A file without the three columns is not taken for FER2013."""
    (tmp_path / "fer2013.csv").write_text("pixels,emotion,Usage\n")
    assert _reason("fer2013", tmp_path).reason == "BAD_HEADER"


def test_fer2013_folders_take_the_split_from_the_name(tmp_path):
    """In the folder variant the name's prefix is the split, whatever the folder is called."""
    for shade, (folder, expression) in enumerate(FER2013_FOLDERS.items()):
        _image(tmp_path / "train" / folder / f"Training_{shade}.jpg", shade)
        _image(tmp_path / "test" / folder / f"PrivateTest_{shade}.jpg", 20 + shade)
        _image(tmp_path / "test" / folder / f"PublicTest_{shade}.jpg", 40 + shade)
        found = {
            s.usage
            for s in _samples("fer2013", tmp_path)
            if s.file.split("/")[1] == folder and s.expression is expression
        }
        assert found == {"train", "validation", "test"}
    assert len(_samples("fer2013", tmp_path)) == 21


@pytest.mark.parametrize("name", ["Training_3_flip.jpg", "aug_Training_3.jpg", "im3.png", "3.jpg"])
def test_fer2013_augmented_copies_are_refused(tmp_path, name):
    """Copies under other names would leak from one split to another."""
    _image(tmp_path / "train" / "happy" / "Training_3.jpg", 1)
    _image(tmp_path / "train" / "happy" / name, 2)
    error = _reason("fer2013", tmp_path)
    assert error.reason == "MALFORMED_NAME"
    assert name in error.message


def test_fer2013_missing(tmp_path):
    """A folder with neither form says what is expected and where that is written."""
    with pytest.raises(NotFound) as caught:
        _samples("fer2013", tmp_path)
    assert "docs/datasets/fer2013.md" in caught.value.hint


# --- CK+48 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["", "CK+48"])
def test_ck48(tmp_path, inner):
    """Labels are folders; subject, sequence and frame come from the name."""
    for shade, folder in enumerate(CK48_FOLDERS):
        _image(tmp_path / inner / folder / f"S0{10 + shade}_004_00000017.png", shade)
    samples = _samples("ck48", tmp_path)
    assert [s.expression for s in samples] == list(CK48_FOLDERS.values())
    first = samples[0]
    assert (first.subject, first.sequence, first.frame) == ("ck_plus:S010", "S010_004", 17)
    assert first.file == "anger/S010_004_00000017.png"
    assert first.source == "ck48"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("happy/S10_004_00000017.png", "MALFORMED_NAME"),
        ("happy/S010_004_00000017 (2).png", "MALFORMED_NAME"),
        ("happiness/S010_004_00000017.png", "UNKNOWN_LABEL"),
        ("Happy/S010_004_00000017.png", "UNKNOWN_LABEL"),
        ("S010_004_00000017.png", "UNEXPECTED_FILE"),
    ],
)
def test_ck48_other_names_are_refused(tmp_path, name, reason):
    """The layout is exact: no near match."""
    _image(tmp_path / "anger" / "S010_004_00000017.png", 1)
    _image(tmp_path / name, 2)
    error = _reason("ck48", tmp_path)
    assert error.reason == reason
    assert name.split("/")[0] in error.message


# --- London -------------------------------------------------------------------------------------


def _london(root: Path, ids: tuple[str, ...] = ("001", "017")) -> Path:
    rng = np.random.default_rng(0)
    points = {}
    for shade, who in enumerate(ids):
        _image(root / "neutral" / f"{who}_03.jpg", shade, 67)
        _image(root / "smiling" / f"{who}_08.jpg", 50 + shade, 67)
        points[f"neutral/{who}_03.jpg"] = rng.uniform(0, 67, (189, 2)).round(1).tolist()
    (root / "landmarks.json").write_text(json.dumps(points))
    rows = [f"{who},{24 + 20 * k},female,white" for k, who in enumerate(ids)]
    (root / "info.csv").write_text("face_id,face_age,face_gender,face_eth\n" + "\n".join(rows))
    return root


def test_london(tmp_path):
    """Two pictures a person; 68 landmarks and attributes; licence and consent go along."""
    reading = read("london", _london(tmp_path))
    samples = [item.sample for item in reading.items]
    assert [(s.subject, s.expression) for s in samples] == [
        ("london:001", Expression.NEUTRAL),
        ("london:017", Expression.NEUTRAL),
        ("london:001", Expression.HAPPINESS),
        ("london:017", Expression.HAPPINESS),
    ]
    assert [len(s.landmarks) for s in samples] == [68, 68, 0, 0]
    assert samples[0].attributes == {
        "age": "24",
        "age_group": "18-24",
        "gender": "female",
        "ethnicity": "white",
    }
    assert (samples[0].width, samples[0].height) == (67, 67)
    licence = reading.licences["london"]
    assert licence.name == "CC-BY-4.0"
    assert "signed consent" in licence.consent
    assert "DeBruine" in licence.citation


def test_london_unknown_age_is_left_out(tmp_path):
    """NA in info.csv is no attribute."""
    _london(tmp_path, ("001",))
    (tmp_path / "info.csv").write_text("face_id,face_age,face_gender,face_eth\n001,NA,male,black\n")
    assert _samples("london", tmp_path)[0].attributes == {"gender": "male", "ethnicity": "black"}


@pytest.mark.parametrize("name", ["neutral", "smiling", "landmarks.json", "info.csv"])
def test_london_needs_every_part(tmp_path, name):
    """A missing part is named."""
    _london(tmp_path)
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(NotFound) as caught:
        _samples("london", tmp_path)
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: _image(root / "neutral" / "001_08.jpg", 1), "MALFORMED_NAME"),
        (lambda root: _image(root / "neutral" / "002_03.jpg", 1), "BAD_INFO"),
        (lambda root: (root / "landmarks.json").write_text("{}"), "BAD_LANDMARKS"),
        (lambda root: (root / "landmarks.json").write_text("[1"), "BAD_LANDMARKS"),
        (
            lambda root: (root / "landmarks.json").write_text('{"neutral/001_03.jpg": [[1, 2]]}'),
            "BAD_LANDMARKS",
        ),
        (lambda root: (root / "info.csv").write_text("id,age\n001,3\n"), "BAD_INFO"),
    ],
)
def test_london_faults_are_named(tmp_path, change, reason):
    """Names, landmarks and people must agree."""
    change(_london(tmp_path))
    assert _reason("london", tmp_path).reason == reason


# --- All ----------------------------------------------------------------------------------------


def test_every_reader_has_a_page():
    """Each row of the table has its page, which the hints point to, and states its rights."""
    pages = Path(__file__).parents[3] / "docs" / "datasets"
    for name, entry in READERS.items():
        assert entry.name == name
        assert (pages / f"{name}.md").is_file(), name
        assert entry.summary
        assert entry.licence.name


@pytest.mark.parametrize("name", ["fer2013", "ck48", "london"])
def test_readers_without_parameters_refuse_any(tmp_path, name):
    """A parameter that means nothing is an error."""
    with pytest.raises(Invalid) as caught:
        read(name, tmp_path, {"angle": 90})
    assert "angle" in caught.value.violations
