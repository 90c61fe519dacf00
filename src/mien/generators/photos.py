"""From the file of a photo to a face an engine can start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.arrays import Double, UInt8
from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound
from mien.core.face import Face, Point
from mien.core.generation import Photo, SourceFace
from mien.core.preprocess import DetectorName, PreprocessSpec
from mien.imaging.align import eye_points
from mien.imaging.decode import Limits, decode
from mien.imaging.detect import Detector, make_detector
from mien.imaging.preprocess import preprocess
from mien.morphable.fitting import camera
from mien.morphable.head import Backend, HeadModel, load_head
from mien.morphable.landmarks import LEFT_EYE, RIGHT_EYE

# Photos of one person: generous for a camera, too small to fill a machine's memory.
PHOTO = Limits(max_bytes=32 << 20, max_pixels=32_000_000, max_side_px=12_000, extension="ignore")
_NOSE_TIP, _MOUTH_CORNERS = 30, (48, 54)
Prepare = Callable[[UInt8, str], UInt8]


@dataclass(frozen=True, slots=True)
class Darkroom:
    """Makes faces to start from out of photos.

    Attributes:
        assets: folder of open assets, or None.
        detector: finds the landmarks of photos that come without.
        backend: head model whose mean face is laid on what it finds.
    """

    assets: Path | None
    detector: DetectorName
    backend: Backend

    def development(
        self, learned: Mapping[str, Any] | None, *, find: bool
    ) -> Callable[[Photo], SourceFace]:
        """Return how one photo after the other is prepared.

        Args:
            learned: how the faces were prepared that the engine's generator learned from; None
                without a generator: the photo stays as it is, and keeps its landmarks.
            find: find landmarks that are not given.

        Raises:
            NotFound: ``ASSET_MISSING``.
        """
        prepare = as_it_is if learned is None else as_learned(learned, self.assets)

        def developed(photo: Photo) -> SourceFace:
            source = source_face(photo, prepare, landmarks=learned is None)
            if find and not source.landmarks:
                return replace(source, landmarks=self._landmarks(source))
            return source

        return developed

    def _landmarks(self, source: SourceFace) -> tuple[Point, ...]:
        try:
            detector = make_detector(PreprocessSpec(detector=self.detector), self.assets)
        except NotFound as error:
            hint = f"{error.hint}; or send the photo's landmarks"
            raise NotFound(error.reason, error.message, hint=hint) from None
        head = load_head(self.backend, self.assets)
        return find_landmarks(source.image, source.id, detector, head)


def source_face(photo: Photo, prepare: Prepare, *, landmarks: bool) -> SourceFace:
    """Decode a photo and prepare it.

    Args:
        photo: untrusted.
        prepare: given the picture and its name.
        landmarks: keep the photo's points.

    Raises:
        Invalid: as ``imaging.decode``, and as ``prepare``.
    """
    digest = digest_bytes(photo.image)
    name = photo.id or f"photo {digest[:16]}"
    image = prepare(decode(photo.image, name=name, limits=PHOTO), name)
    return SourceFace(
        id=photo.id or digest[:16],
        digest=digest,
        subject=photo.subject,
        image=image,
        landmarks=photo.landmarks if landmarks else (),
    )


def as_it_is(image: UInt8, name: str) -> UInt8:  # noqa: ARG001
    """Leave a photo as it is."""
    return image


def as_learned(described: Mapping[str, Any], assets: Path | None) -> Prepare:
    """Return how a photo is prepared as the faces were that a generator learned from.

    Args:
        described: the generator's ``preprocess``, plain values; empty = nothing is known.
        assets: folder of open assets, or None.

    Raises:
        NotFound: ``ASSET_MISSING`` when its detector's weights are not there.
    """
    if not described:
        return as_it_is
    spec = PreprocessSpec(**described)
    detector = make_detector(spec, assets)

    def prepared(image: UInt8, name: str) -> UInt8:
        made = preprocess(image, spec, detector)
        if made.image is None:
            raise _no_face(name, detector.name)
        return made.image

    return prepared


def find_landmarks(
    image: UInt8, name: str, detector: Detector, head: HeadModel
) -> tuple[Point, ...]:
    """Estimate the 68 points of the best face in a photo.

    The mean head is placed on the points a detector gives (eyes, nose tip, mouth corners; or eyes
    alone, for a face seen from the front), and its landmarks are read off. They fit an unknown
    person to about a tenth of the distance of the eyes: measured landmarks are better.

    Raises:
        Invalid: ``NO_FACE``.
    """
    faces = detector.detect(image)
    if not faces:
        raise _no_face(name, detector.name)
    mean = head.shape(np.zeros(head.identity_size, np.float32))[head.landmarks68]
    placed = _placed(mean.astype(np.float64), faces[0])
    return tuple((float(x), float(y)) for x, y in placed)


def _placed(mean: Double, face: Face) -> Double:
    """Place the mean head's landmarks (68, 3) on a face: (68, 2) pixels."""
    flip = np.array([1.0, -1.0])  # images run down, heads run up
    eyes = np.asarray(eye_points(face), np.float64)
    own_eyes = [mean[LEFT_EYE].mean(axis=0), mean[RIGHT_EYE].mean(axis=0)]
    if len(face.points) >= 3:
        own = np.stack([*own_eyes, mean[_NOSE_TIP], *mean[list(_MOUTH_CORNERS)]])
        target = np.concatenate([eyes, np.asarray(face.points[:3], np.float64)])
        scale, rotation, shift = camera(own, target * flip)
        found: Double = ((scale * mean @ rotation.T)[:, :2] + shift) * flip
        return found
    # Two points fix size, turn in the picture and place.
    axis = (eyes[1] - eyes[0]) * flip
    own_axis = (own_eyes[1] - own_eyes[0])[:2]
    turn = complex(*axis) / complex(*own_axis)
    flat = (mean[:, :2] - np.mean(own_eyes, axis=0)[:2]) @ np.array(
        [[turn.real, turn.imag], [-turn.imag, turn.real]]
    )
    return np.asarray(flat * flip + eyes.mean(axis=0), np.float64)


def _no_face(name: str, detector: str) -> Invalid:
    return Invalid(
        "NO_FACE",
        f"{name}: the detector {detector!r} finds no face to start from",
        hint="give a photo with one face in it, or its landmarks; or choose another "
        "preprocess.detector",
    )
