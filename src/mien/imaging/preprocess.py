"""The one way from a decoded picture to a network's input, for training and serving alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.core.arrays import UInt8
from mien.core.face import Face
from mien.core.preprocess import PreprocessSpec
from mien.imaging.align import align, eye_points
from mien.imaging.detect import Detector

NO_FACE = "no_face"


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """What became of a picture.

    Attributes:
        image: (S, S) or (S, S, 3) uint8; None when it failed.
        failure: ``no_face``, or "".
        face: the face taken, in pixels of the picture; None with detector ``none``.
    """

    image: UInt8 | None
    failure: str
    face: Face | None


def preprocess(image: UInt8, spec: PreprocessSpec, detector: Detector) -> Preprocessed:
    """Find the best face, align it, crop it, resize it, as the spec says.

    With ``detector: none`` the whole picture is taken: resized, and padded to a square by
    replicated border. Where a picture has several faces, the best by score, size and centrality is
    taken. No face is a recorded failure, not an error.

    Args:
        image: (H, W) or (H, W, 3) uint8, upright.
        spec: what to make.
        detector: made for the same spec.
    """
    if spec.detector == "none":
        return Preprocessed(_whole(_channels(image, spec), spec), "", None)
    faces = detector.detect(image)
    if not faces:
        return Preprocessed(None, NO_FACE, None)
    return _aligned(_channels(image, spec), faces[0], spec)


def preprocess_faces(
    image: UInt8, spec: PreprocessSpec, detector: Detector, *, most: int = 0
) -> tuple[Preprocessed, ...]:
    """Find all faces, largest first, each prepared as ``preprocess`` prepares the best.

    Args:
        image: (H, W) or (H, W, 3) uint8, upright.
        spec: what to make.
        detector: made for the same spec.
        most: at most so many; 0 = all.
    """
    if spec.detector == "none":
        return (preprocess(image, spec, detector),)
    faces = sorted(detector.detect(image), key=lambda f: -f.box.width * f.box.height)
    channels = _channels(image, spec)
    return tuple(_aligned(channels, face, spec) for face in (faces[:most] if most else faces))


def _aligned(channels: UInt8, face: Face, spec: PreprocessSpec) -> Preprocessed:
    return Preprocessed(align(channels, eye_points(face), spec), "", face)


def _channels(image: UInt8, spec: PreprocessSpec) -> UInt8:
    if spec.channels == "gray" and image.ndim == 3:
        gray: UInt8 = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return gray
    if spec.channels == "rgb" and image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return image


def _whole(image: UInt8, spec: PreprocessSpec) -> UInt8:
    side = spec.size_px
    longest = max(image.shape[:2])
    height, width = (max(1, round(n * side / longest)) for n in image.shape[:2])
    flag = cv2.INTER_AREA if longest > side else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=flag)
    top, left = (side - height) // 2, (side - width) // 2
    padded: UInt8 = cv2.copyMakeBorder(
        resized, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
    )
    return padded
