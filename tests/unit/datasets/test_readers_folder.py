"""The reader ``folder`` on small trees in its documented layout."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Corrupt, Forbidden, Invalid, NotFound
from mien.core.expression import EXPRESSIONS, Expression
from mien.datasets.labels import ALIASES
from mien.datasets.table import READERS, read


def _image(path: Path, shade: int, size: tuple[int, int] = (6, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(size, shade, np.uint8))
    return path


def _manifest(root: Path, rows: list[dict[str, str]]) -> None:
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _samples(root: Path, **params):
    reading = read("folder", root, params)
    return [item.sample for item in reading.items], reading


def _refused(root: Path, **params) -> Invalid:
    with pytest.raises(Invalid) as caught:
        _samples(root, **params)
    return caught.value


def test_class_folders_give_labels_by_the_alias_table(tmp_path):
    """Every alias, in any case, is read as its expression; sizes come from the headers."""
    for shade, name in enumerate(ALIASES):
        _image(tmp_path / name.upper() / "a.png", shade)
    samples, reading = _samples(tmp_path)
    assert {s.file.split("/")[0]: s.expression for s in samples} == {
        name.upper(): expression for name, expression in ALIASES.items()
    }
    assert {s.expression for s in samples} == set(EXPRESSIONS)
    assert all((s.width, s.height) == (5, 6) for s in samples)
    assert all(s.subject is None and s.source == "folder" and not s.usage for s in samples)
    assert reading.warnings == []


def test_bytes_are_kept_and_named_by_digest(tmp_path):
    """An item holds the file's bytes as they are, and the sample their digest."""
    path = _image(tmp_path / "happy" / "a.jpg", 7)
    (item,) = read("folder", tmp_path).items
    assert item.image == path.read_bytes()
    assert item.sample.digest == digest_bytes(item.image)
    assert item.sample.id == "folder/happy/a.jpg"


def test_split_folders_become_usage(tmp_path):
    """Folders called train, val, test above the classes give the usage."""
    for shade, split in enumerate(("Train", "val", "testing")):
        _image(tmp_path / split / "sad" / "a.png", shade)
    samples, _ = _samples(tmp_path)
    assert [s.usage for s in samples] == ["train", "test", "validation"]


def test_subjects_come_from_the_regular_expression(tmp_path):
    """The group of the whole-name pattern is the subject, qualified by the source."""
    _image(tmp_path / "fear" / "p07_1.png", 1)
    samples, _ = _samples(tmp_path, subject=r"(p\d+)_\d+\.png", source="mine")
    assert samples[0].subject == "mine:p07"
    assert samples[0].id == "mine/fear/p07_1.png"


def test_a_name_the_pattern_does_not_match_is_refused(tmp_path):
    """A subject is never guessed: the file is named."""
    _image(tmp_path / "fear" / "xp07_1.png", 1)
    error = _refused(tmp_path, subject=r"(p\d+)_\d+\.png")
    assert error.reason == "MALFORMED_NAME"
    assert "fear/xp07_1.png" in error.message


@pytest.mark.parametrize("name", ["Angery", "very happy", "happy2", "sad-faces"])
def test_an_unknown_label_names_folder_and_known_labels(tmp_path, name):
    """No label is matched by a part of it."""
    _image(tmp_path / name / "a.png", 1)
    error = _refused(tmp_path)
    assert error.reason == "UNKNOWN_LABEL"
    assert name in error.message.lower() or name.lower() in error.message
    assert "happiness" in error.hint


def test_ignored_files_are_counted(tmp_path):
    """What systems leave behind is passed over, and said."""
    _image(tmp_path / "happy" / "a.png", 1)
    for name in ("happy/Thumbs.db", ".DS_Store", "happy/._a.png", "README.md"):
        (tmp_path / name).write_bytes(b"x")
    samples, reading = _samples(tmp_path)
    assert len(samples) == 1
    assert len(reading.warnings) == 1
    assert ": 4 (first:" in reading.warnings[0]


def test_own_ignore_patterns(tmp_path):
    """The parameter ignore passes over more, counted too."""
    _image(tmp_path / "happy" / "a.png", 1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "happy" / "list.txt").write_text("x")
    samples, reading = _samples(tmp_path, ignore=["notes", "*.txt"])
    assert len(samples) == 1
    assert ": 2 (first:" in reading.warnings[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("happy/list.txt", "UNEXPECTED_FILE"),
        ("loose.png", "UNEXPECTED_FILE"),
        ("happy/more/a.png", "NESTED_FOLDER"),
        ("sad/.gitkeep", "CLASS_WITHOUT_SAMPLES"),
        ("train/happy/a.png", "MIXED_LAYOUT"),
    ],
)
def test_files_out_of_place_are_refused(tmp_path, name, reason):
    """Nothing is skipped silently: the file or folder is named."""
    _image(tmp_path / "happy" / "a.png", 1)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    error = _refused(tmp_path)
    assert error.reason == reason
    assert name.split("/")[-1] in error.message or name.split("/")[0] in error.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EMPTY_IMAGE"),
        (b"no image at all", "UNSUPPORTED_FORMAT"),
        (b"GIF89a" + bytes(20), "UNSUPPORTED_FORMAT"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "WRONG_EXTENSION"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "TRUNCATED_IMAGE"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30) + b"IEND", "BROKEN_IMAGE"),
    ],
)
def test_bad_images_are_named(tmp_path, data, reason):
    """A file that is no image stops the reading with its name."""
    _image(tmp_path / "happy" / "a.png", 1)
    (tmp_path / "happy" / "bad.png").write_bytes(data)
    error = _refused(tmp_path)
    assert error.reason == reason
    assert "happy/bad.png" in error.message


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """An image that claims too many pixels is refused before it is decoded."""
    path = _image(tmp_path / "happy" / "a.png", 1)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    assert _refused(tmp_path).reason == "IMAGE_TOO_MANY_PIXELS"


def test_links_that_lead_out_are_refused(tmp_path):
    """A link may point inside the root, not outside."""
    root = tmp_path / "root"
    inner = _image(root / "happy" / "a.png", 1)
    (root / "happy" / "b.png").symlink_to(inner)
    assert len(_samples(root)[0]) == 2
    secret = _image(tmp_path / "secret.png", 9)
    (root / "happy" / "c.png").symlink_to(secret)
    assert _refused(root).reason == "PATH_ESCAPES"


def test_empty_and_missing_roots(tmp_path):
    """An empty folder is an error, a missing one another, both with a hint."""
    error = _refused(tmp_path)
    assert error.reason == "EMPTY_DATABASE"
    assert error.hint
    with pytest.raises(NotFound) as caught:
        read("folder", tmp_path / "no")
    assert caught.value.reason == "DATABASE_MISSING"
    (tmp_path / "file").write_text("x")
    assert _refused(tmp_path / "file").reason == "NOT_A_FOLDER"
    with pytest.raises(Invalid) as needed:
        read("folder", None)
    assert needed.value.reason == "ROOT_NEEDED"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_forbidden(tmp_path):
    """A file without read permission is named."""
    _image(tmp_path / "happy" / "a.png", 1).chmod(0)
    with pytest.raises(Forbidden):
        _samples(tmp_path)


def test_copies_are_reported(tmp_path):
    """The same bytes under two labels, and twice under one, are counted apart."""
    _image(tmp_path / "happy" / "a.png", 1)
    _image(tmp_path / "happy" / "b.png", 1)
    _image(tmp_path / "sad" / "c.png", 1)
    _, reading = _samples(tmp_path)
    assert len(reading.warnings) == 2
    assert any("two labels" in w and "sad/c.png" in w for w in reading.warnings)
    assert any("twice" in w and "happy/b.png" in w for w in reading.warnings)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"subjects": 3}, "subjects"),
        ({"subject": "(["}, "subject"),
        ({"subject": "abc"}, "subject"),
        ({"source": "Not A Name"}, "source"),
    ],
)
def test_wrong_parameters_are_named(tmp_path, params, key):
    """Unknown keys and impossible values are errors that name the key."""
    with pytest.raises(Invalid) as caught:
        read("folder", tmp_path, params)
    assert caught.value.reason == "READER_PARAMS"
    assert key in caught.value.violations
    assert "ignore" in caught.value.hint


def test_unknown_readers_are_named():
    """The error lists the readers there are."""
    with pytest.raises(NotFound) as caught:
        read("rafd2", Path())
    assert caught.value.reason == "UNKNOWN_READER"
    assert all(name in caught.value.hint for name in READERS)


def test_a_manifest_fills_in_what_folders_cannot_say(tmp_path):
    """Rows give subjects and attributes; the label still comes from the folder."""
    _image(tmp_path / "anger" / "a.png", 1)
    _manifest(tmp_path, [{"path": "anger/a.png", "subject": "s1", "attributes.age": "30"}])
    samples, _ = _samples(tmp_path)
    assert samples[0].expression is Expression.ANGER
    assert samples[0].subject == "folder:s1"
    assert samples[0].attributes == {"age": "30"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"path": "../secret.png"}, "PATH_ESCAPES"),
        ({"path": "/etc/passwd"}, "PATH_ESCAPES"),
        ({"path": "anger/../../secret.png"}, "PATH_ESCAPES"),
        ({"path": "anger/a.png", "expresion": "anger"}, "UNKNOWN_COLUMN"),
        ({"path": "anger/a.png", "expression": "grim"}, "UNKNOWN_LABEL"),
        ({"path": "anger/a.png", "expression": "joy"}, "LABEL_CONFLICT"),
        ({"path": "anger/a.png", "valence": "1.5"}, "BAD_ROW"),
        ({"path": "anger/a.png", "landmarks": "[[1, 2], [3"}, "BAD_ROW"),
        ({"path": "anger/a.png", "frame": "-1"}, "BAD_ROW"),
        ({"subject": "s1"}, "MISSING_COLUMN"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, row, reason):
    """Hostile paths, typing errors and values out of range name file and row."""
    _image(tmp_path / "secret.png", 3)
    root = tmp_path / "root"
    _image(root / "anger" / "a.png", 1)
    _manifest(root, [row])
    error = _refused(root)
    assert error.reason == reason
    assert "manifest.csv" in error.message


def test_a_manifest_lists_everything(tmp_path):
    """Images not listed, listed twice or missing are errors."""
    _image(tmp_path / "anger" / "a.png", 1)
    _image(tmp_path / "anger" / "b.png", 2)
    _manifest(tmp_path, [{"path": "anger/a.png"}])
    assert _refused(tmp_path).reason == "UNLISTED_IMAGE"
    _manifest(tmp_path, [{"path": "anger/a.png"}, {"path": "anger/a.png"}])
    assert _refused(tmp_path).reason == "LISTED_TWICE"
    _manifest(tmp_path, [{"path": "anger/a.png"}, {"path": "anger/c.png"}])
    with pytest.raises(NotFound) as caught:
        _samples(tmp_path)
    assert caught.value.reason == "FILE_MISSING"


def test_a_changed_image_is_corrupt(tmp_path):
    """Bytes that are not those of the row's digest are an error that names the file."""
    _image(tmp_path / "anger" / "a.png", 1)
    _manifest(tmp_path, [{"path": "anger/a.png", "digest": "0" * 64}])
    with pytest.raises(Corrupt) as caught:
        _samples(tmp_path)
    assert caught.value.reason == "IMAGE_CHANGED"
    assert "anger/a.png" in caught.value.message


def test_a_manifest_that_is_no_csv(tmp_path):
    """Bytes that are not UTF-8 are said to be so."""
    _image(tmp_path / "anger" / "a.png", 1)
    (tmp_path / "manifest.csv").write_bytes(b"path\n\xff\xfe\n")
    assert _refused(tmp_path).reason == "BAD_MANIFEST"
    (tmp_path / "manifest.csv").write_text("path,subject\nanger/a.png\n")
    assert _refused(tmp_path).reason == "BAD_ROW"
