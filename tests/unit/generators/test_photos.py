"""From an untrusted file to a face to start from."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, MienError
from mien.core.expression import Expression
from mien.core.generation import FacePlan, Photo
from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.generators.local import LocalGeneration
from mien.generators.photos import as_it_is, as_learned, find_landmarks, source_face
from mien.imaging.decode import STORED, decode
from mien.imaging.detect import WholePicture, make_detector
from mien.imaging.encode import encode_png
from mien.morphable.head import load_head
from mien.morphable.landmarks import inter_ocular, multi_pie_68

ASSETS = Path(os.environ["MIEN_ASSETS"]) if os.environ.get("MIEN_ASSETS") else None


@pytest.fixture(scope="module")
def face():
    """A picture of nobody, its points with it."""
    plan = FacePlan("affect", (Expression.NEUTRAL,), 1, {"size_px": 128}, seed=9)
    return next(LocalGeneration().stream_faces(plan)).item


def test_a_photo_without_a_name_is_called_by_its_bytes(face):
    """Two photos without ids are two identities."""
    source = source_face(Photo(face.image), as_it_is, landmarks=True)
    assert source.digest == digest_bytes(face.image)
    assert source.id == source.digest[:16]
    assert source.subject is None
    assert source.image.shape == (128, 128, 3)


def test_prepared_as_the_generator_learned(face):
    """Same size and colour as the faces it was trained on."""
    spec = {"detector": "none", "size_px": 24, "channels": "gray"}
    source = source_face(Photo(face.image), as_learned(spec, None), landmarks=False)
    assert source.image.shape == (24, 24)
    assert as_learned({}, None) is as_it_is


def bomb(side):
    """A small PNG that says it is large."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_a_photo_that_would_fill_the_memory_is_refused_unread():
    """Its header is enough."""
    with pytest.raises(Invalid, match="IMAGE_TOO_MANY_PIXELS"):
        source_face(Photo(bomb(8_000)), as_it_is, landmarks=False)


@pytest.mark.parametrize("point", [0, 40])
@pytest.mark.parametrize("far", [1e3, 1e12, 1e300, -1e300])
def test_points_far_from_the_photo_are_refused(face, point, far):
    """Also those of the jaw, which a crop may cut."""
    points = list(face.sample.landmarks)
    points[point] = (far, points[point][1])
    with pytest.raises(Invalid, match="LANDMARKS_OUTSIDE"):
        LocalGeneration().synthesize_affect(
            Photo(face.image, landmarks=tuple(points)), expression=Expression.FEAR
        )


def test_no_points_break_the_engine(face):
    """Whatever is drawn: a face, or one of our errors."""
    rng = np.random.default_rng(0)
    local = LocalGeneration()
    points = np.array(face.sample.landmarks)
    made = 0
    for spread in 10.0 ** rng.uniform(-1, 4, 12):
        drawn = points + rng.normal(0, spread, points.shape)
        photo = Photo(face.image, landmarks=tuple((float(x), float(y)) for x, y in drawn))
        try:
            local.synthesize_affect(photo, expression=Expression.FEAR)
            made += 1
        except MienError as error:
            assert error.reason in {"LANDMARKS_OUTSIDE", "LANDMARKS_SHAPE"}  # noqa: PT017
    assert 0 < made < 12


def test_landmarks_are_found_where_the_detector_sees_a_face(face):
    """With OpenCV's cascades, which see eyes only: within the face, the eyes right."""
    detector = make_detector(PreprocessSpec(detector="haar", min_score=0.0), None)
    found = find_landmarks(decode(face.image), "x", detector, load_head("builtin", None))
    truth = multi_pie_68(face.sample.landmarks)
    error = np.linalg.norm(np.array(found) - truth, axis=1) / inter_ocular(truth)
    assert error.mean() < 0.25


def test_no_face_is_said(face):
    """A detector that finds nothing is an error with what to do."""
    with pytest.raises(Invalid, match="NO_FACE") as error:
        find_landmarks(decode(face.image), "x", WholePicture(), load_head("builtin", None))
    assert "landmarks" in error.value.hint


@pytest.mark.skipif(
    ASSETS is None or not (ASSETS / "london").is_dir() or not (ASSETS / "yunet").is_dir(),
    reason="MIEN_ASSETS has no london or yunet",
)
def test_landmarks_found_in_photos_of_people():
    """About a tenth of the distance of the eyes from those placed by hand."""
    detector = make_detector(PreprocessSpec(detector="yunet"), ASSETS)
    head = load_head("builtin", None)
    errors = []
    for item in read("london", ASSETS / "london", {}).items:
        image = decode(item.image, name=item.sample.id, limits=STORED)
        truth = multi_pie_68(item.sample.landmarks)
        found = np.array(find_landmarks(image, item.sample.id, detector, head))
        errors.append(np.linalg.norm(found - truth, axis=1).mean() / inter_ocular(truth))
        if len(errors) == 6:
            break
    assert max(errors) < 0.18
    made = LocalGeneration(ASSETS).synthesize_affect(
        Photo(item.image, item.sample.id, item.sample.subject), expression=Expression.SURPRISE
    )
    assert made.item.sample.subject == item.sample.subject
    small = encode_png(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(Invalid, match="NO_FACE"):
        LocalGeneration(ASSETS).synthesize_affect(Photo(small), expression=Expression.FEAR)
