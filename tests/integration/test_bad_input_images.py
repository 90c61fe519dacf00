"""Bad images and folders: refused at the door by name, and nothing is left half-written."""

from __future__ import annotations

import json
import shutil
import struct
import zlib

import pytest

from mien.imaging.encode import encode_png

from .conftest import picture, write_faces


def test_an_empty_folder(project):
    """Nothing in it: the folder is named."""
    shutil.rmtree(project.root / "faces")
    (project.root / "faces").mkdir()
    project.refused("ingest", "faces", says=["EMPTY_DATABASE", "faces"])


def test_a_missing_folder(project):
    """Not there: the folder is named."""
    shutil.rmtree(project.root / "faces")
    project.refused("ingest", "faces", says=["DATABASE_MISSING", str(project.root / "faces")])


def test_a_class_folder_without_images(project):
    """A class without samples in the database is named."""
    for file in (project.root / "faces/anger").iterdir():
        file.unlink()
    project.refused("ingest", "faces", says=["CLASS_WITHOUT_SAMPLES", "anger"])


def test_an_unknown_label(project):
    """`angriest` is no label: never a substring match, never skipped; the known ones are listed."""
    (project.root / "faces/anger").rename(project.root / "faces/angriest")
    said = project.refused("ingest", "faces", says=["UNKNOWN_LABEL", "angriest"])
    assert "happiness" in said.err


def _bomb():
    """A PNG of a hundred bytes whose header promises 60,000 × 60,000 pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("s001_0.png", encode_png(picture("x"))[:-40], "TRUNCATED_IMAGE"),
        ("s001_0.png", b"", "EMPTY_IMAGE"),
        ("s001_0.png", _bomb(), "IMAGE_TOO_MANY_PIXELS"),
        ("s001_0.png", b"GIF89a" + bytes(100), "UNSUPPORTED_FORMAT"),
        ("s001_0.jpg", encode_png(picture("x")), "WRONG_EXTENSION"),
        ("s001_0.gif", encode_png(picture("x")), "UNEXPECTED_FILE"),
    ],
    ids=["truncated", "zero-byte", "bomb", "other format", "wrong extension", "unknown extension"],
)
def test_a_bad_image(project, file, data, reason):
    """Each fault of a file is found at the door, and the file is named."""
    (project.root / "faces/anger/s001_0.png").unlink()
    (project.root / "faces/anger" / file).write_bytes(data)
    project.refused("ingest", "faces", says=[reason, f"anger/{file}"])


def test_an_image_damaged_inside(project):
    """Damage that only shows when the file is decoded is named by the stage that decodes it."""
    path = project.root / "faces/anger/s001_0.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    project.until("ingest")
    project.refused("preprocess", "faces", says=["BROKEN_IMAGE", "anger/s001_0.png"])


def test_no_face_in_a_whole_set(project):
    """A detector that finds nobody on noise: the set is refused, not written."""
    project.params(preprocess={"detector": "haar"})
    project.until("ingest")
    project.refused("preprocess", "faces", says=["NO_FACES", "faces", "haar", "14"])


def test_no_face_on_a_photo_to_recognise(project):
    """`mien train` needs faces too, and says which folder gave none."""
    argv = ["train", "--train", "faces", "--validation", "pool", "--detector", "haar"]
    project.refused(*argv, says=["NO_FACES", "faces"])


def test_the_same_image_under_two_subjects(project):
    """One picture that two people claim: told at the door, refused where it would be judged on."""
    original = project.root / "faces/anger/s000_0.png"
    for subject in range(1, 7):  # whoever is dealt where, some part trains on it and some judges
        shutil.copy(original, project.root / f"faces/anger/s{subject:03d}_0.png")
    said = project.done("ingest", "faces")
    assert "same image under two subjects" in said.err
    assert "s000_0.png" in said.err
    project.until("ingest pool", "split", "preprocess")
    project.refused("sweep", says=["IMAGE_IN_TWO_SETS", "mine/anger/s00"])


def test_the_same_image_under_two_labels(project):
    """One picture with two labels is told at the door with both names."""
    faces = project.root / "faces"
    shutil.copy(faces / "anger/s003_0.png", faces / "happiness/s003_0.png")
    said = project.done("ingest", "faces")
    assert "same image under two labels" in said.err
    assert "mine/happiness/s003_0.png = mine/anger/s003_0.png" in said.err
    assert said.err.count("s003_0.png = ") == said.err.count("warning") == 1, "told once"


def test_copies_in_a_database_split_by_image(project):
    """Exact copies are dealt as one image and counted in the split's record: the sweep runs."""
    faces = project.root / "faces/anger"
    for subject in range(1, 4):
        shutil.copy(faces / "s000_0.png", faces / f"s{subject:03d}_0.png")
    counts = {"train": 6, "validation": 3, "test": 2}  # of 14 images, 11 of them different
    project.params(split={"database": "faces", "by": "sample", "counts": counts})
    project.until("ingest", "split", "preprocess", "sweep")
    record = json.loads((project.root / "data/split/split.json").read_text())
    assert record["copies"] == 3
    assert sum(map(len, record["splits"][0]["parts"].values())) == 14


def test_a_copy_in_train_and_test_of_own_folders(project):
    """`mien train` refuses a training image that is tested on, by name."""
    write_faces(project.root / "val", 3, first=20)
    write_faces(project.root / "test", 3, first=30)
    shutil.copy(project.root / "faces/anger/s000_0.png", project.root / "test/anger/stolen.png")
    argv = ["train", "--train", "faces", "--validation", "val", "--test", "test"]
    project.refused(*argv, says=["IMAGE_IN_TWO_SETS", "train", "test"])


def test_photos_that_cannot_be_recognised(project):
    """A folder that is no model, or not there, is named."""
    photo = "faces/anger/s000_0.png"
    project.refused("recognise", "faces", photo, says=["MODEL_FORMAT", "faces"])
    project.refused("recognise", "nowhere", photo, says=["MODEL_MISSING", "nowhere"])
