"""From a picture to a network's input."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.arrays import Double, UInt8
from mien.core.errors import Invalid
from mien.core.face import Box, Face
from mien.core.preprocess import PreprocessSpec
from mien.imaging.align import align, eye_points
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess

WHOLE = PreprocessSpec(size_px=32)
HAAR = PreprocessSpec(detector="haar")


class Fixed:
    """A detector that has been told."""

    name = "fixed"
    digest = "fixed"

    def __init__(self, *faces: Face) -> None:
        self.faces = faces

    def detect(self, image: UInt8) -> tuple[Face, ...]:
        return self.faces


def dots(size: int, eyes: Double, radius: float) -> UInt8:
    """A dark picture with a bright disc at each eye, drawn smooth."""
    y, x = np.mgrid[0:size, 0:size]
    bright = np.zeros((size, size))
    for eye_x, eye_y in eyes:
        bright += np.clip(radius + 0.5 - np.hypot(x - eye_x, y - eye_y), 0, 1)
    return (255 * np.clip(bright, 0, 1)).astype(np.uint8)


def centre(image: UInt8, columns: slice) -> tuple[float, float]:
    """Centre of brightness of some columns."""
    part = image[:, columns].astype(float)
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    weight = part / part.sum()
    return float((x * weight).sum()) + columns.start, float((y * weight).sum())


@settings(max_examples=40)
@given(
    angle=st.floats(-180, 180),
    apart=st.floats(14, 250),
    at=st.tuples(st.floats(260, 340), st.floats(260, 340)),
    side=st.sampled_from([48, 64, 100]),
)
def test_the_eyes_come_to_their_places(angle, apart, at, side):
    """At any angle and scale, enlarged or shrunk thirtyfold: to a tenth of a pixel."""
    spec = PreprocessSpec(detector="yunet", size_px=side)
    along = apart / 2 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    eyes = np.array([np.array(at) - along, np.array(at) + along])
    image = dots(600, eyes, apart / 6)
    made = align(image, ((eyes[0, 0], eyes[0, 1]), (eyes[1, 0], eyes[1, 1])), spec)
    assert made.shape == (side, side)
    half = side // 2
    for columns, sign in ((slice(0, half), -1), (slice(half, side), 1)):
        x, y = centre(made, columns)
        assert abs(x + 0.5 - side * (0.5 + sign * 0.2)) < 0.12
        assert abs(y + 0.5 - side * 0.36) < 0.12


@pytest.mark.parametrize("shrink", [1.3, 2, 3.7, 8, 40])
def test_shrinking_does_not_alias(shrink):
    """Fine stripes become an even grey, whatever the factor and angle."""
    spec = PreprocessSpec(detector="yunet", size_px=32)
    apart = 12.8 * shrink
    size = int(40 * shrink) + 60
    stripes = np.where(np.arange(size) % 2, 255, 0).astype(np.uint8)[None].repeat(size, 0)
    middle = size / 2
    for angle in (0, 30):
        dx, dy = apart / 2 * np.cos(np.deg2rad(angle)), apart / 2 * np.sin(np.deg2rad(angle))
        made = align(stripes, ((middle - dx, middle - dy), (middle + dx, middle + dy)), spec)
        inner = made[4:-4, 4:-4].astype(float)
        assert abs(inner.mean() - 127.5) < 4
        assert inner.std() < (45 if shrink < 2 else 12)


def test_brightness_is_kept():
    """A flat picture stays exactly flat, also beyond its border."""
    flat = np.full((500, 400, 3), (10, 120, 250), np.uint8)
    for eyes in (((150.0, 200.0), (250.0, 220.0)), ((5.0, 5.0), (395.0, 5.0))):
        made = align(flat, eyes, PreprocessSpec(detector="yunet", channels="rgb"))
        assert (made == (10, 120, 250)).all()


def test_the_border_is_replicated():
    """A face at the picture's edge is continued, not cut to black."""
    image = np.full((100, 100), 200, np.uint8)
    image[:, :10] = 50
    made = align(image, ((2.0, 50.0), (12.0, 50.0)), PreprocessSpec(detector="yunet"))
    assert (made[:, :10] == 50).all()
    assert made.min() >= 50


@pytest.mark.parametrize("eyes", [((50.0, 50.0), (50.0, 50.0)), ((1e6, 1e6), (1e6 + 9, 1e6))])
def test_eyes_that_cannot_be_do_not_hang(eyes):
    """One point, or far outside: some picture of the right size."""
    made = align(np.full((100, 100), 7, np.uint8), eyes, PreprocessSpec(detector="yunet"))
    assert made.shape == (64, 64)


def test_without_eyes_the_box_says_where_they_are():
    """As far apart and high as in a cascade's boxes."""
    left, right = eye_points(Face(Box(100, 50, 80, 80), 0.9))
    assert 120 < left[0] < 130
    assert 150 < right[0] < 160
    assert 75 < left[1] == right[1] < 90


@pytest.mark.parametrize("channels", ["gray", "rgb"])
@pytest.mark.parametrize(
    "shape", [(48, 48), (48, 48, 3), (30, 70), (700, 500, 3), (1, 1), (1, 900)]
)
@pytest.mark.parametrize("detector", ["none", "haar"])
def test_the_output_is_what_the_spec_says(channels, shape, detector):
    """Any picture, gray or colour, of any size: (S, S) or (S, S, 3) uint8."""
    spec = replace(WHOLE, channels=channels, detector=detector)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    height, width = shape[:2]
    eyes = ((0.3 * width, 0.4 * height), (0.7 * width, 0.4 * height))
    done = preprocess(image, spec, Fixed(Face(Box(0, 0, width, height), 1.0, eyes)))
    assert done.failure == ""
    assert done.image is not None
    assert done.image.shape == ((32, 32) if channels == "gray" else (32, 32, 3))
    assert done.image.dtype == np.uint8
    assert done.image.flags.c_contiguous
    assert (done.face is None) == (detector == "none")


def test_no_face_is_a_recorded_failure():
    """Not an exception."""
    done = preprocess(np.zeros((200, 200), np.uint8), HAAR, make_detector(HAAR, None))
    assert (done.image, done.failure, done.face) == (None, "no_face", None)


def test_the_first_face_is_taken():
    """Detectors put the best first."""
    image = np.zeros((100, 100), np.uint8)
    one = Face(Box(0, 0, 50, 50), 0.9, ((10, 20), (30, 20)))
    two = Face(Box(50, 0, 50, 50), 0.9, ((60, 20), (80, 20)))
    assert preprocess(image, HAAR, Fixed(two, one)).face == two


def test_a_rendered_face_is_aligned(face):
    """Found, and its eye centres brought to their places, within 1.5 of 64 pixels."""
    detector = make_detector(HAAR, None)
    for seed in range(3):
        drawn = face(seed, 300, roll_deg=8.0)
        done = preprocess(drawn.image, HAAR, detector)
        assert done.image is not None
        assert done.face is not None
        assert done.face.eyes is not None
        gray = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2GRAY)
        points = np.array(drawn.landmarks)
        truth = [tuple(points[i : i + 6].mean(axis=0)) for i in (36, 42)]
        exact = align(gray, (truth[0], truth[1]), HAAR)
        moved, _ = cv2.phaseCorrelate(exact.astype(np.float64), done.image.astype(np.float64))
        assert np.hypot(*moved) < 1.5


def test_the_whole_picture_keeps_its_aspect():
    """Padded by its border to a square, in the middle."""
    wide = np.full((20, 40), 100, np.uint8)
    wide[0], wide[-1] = 10, 250
    done = preprocess(wide, WHOLE, make_detector(WHOLE, None)).image
    assert done is not None
    assert done[:8].max() < 60
    assert done[24:].min() > 200
    assert np.abs(done[12:20].astype(int) - 100).max() <= 1


def test_the_whole_picture_is_averaged_or_interpolated():
    """Shrinking by an even factor is the mean of blocks; a picture of the size is left alone."""
    image = np.random.default_rng(1).integers(0, 256, (128, 128), dtype=np.uint8)
    done = preprocess(image, WHOLE, make_detector(WHOLE, None)).image
    blocks = image.reshape(32, 4, 32, 4).mean(axis=(1, 3))
    assert done is not None
    assert np.abs(done - blocks).max() <= 1
    same = preprocess(image[:32, :32], WHOLE, make_detector(WHOLE, None)).image
    assert np.array_equal(same, image[:32, :32])


def test_training_and_serving_get_the_same_bytes(face):
    """The same picture, spec and detector: bit for bit, again and by another detector object."""
    image = face(1, 300).image
    one, two = (preprocess(image, HAAR, make_detector(HAAR, None)).image for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.tobytes() == two.tobytes()


def test_specs_out_of_range_never_reach_us():
    """The spec checks itself."""
    with pytest.raises(Invalid):
        PreprocessSpec(size_px=4)
