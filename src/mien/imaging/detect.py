"""Find faces: YuNet (asset), OpenCV's cascades (in its wheel), or none for cropped faces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2

from mien.core.arrays import UInt8
from mien.core.digest import digest_of
from mien.core.face import Box, Face, Point
from mien.core.preprocess import PreprocessSpec

SMALL_PX = 100  # detectors are trained on larger faces: smaller pictures are enlarged
_ENLARGE = 4
_PAD = 0.25


class Detector(Protocol):
    """Finds faces in one image."""

    @property
    def name(self) -> str:
        """Name in ``PreprocessSpec.detector``."""
        ...

    @property
    def digest(self) -> str:
        """Name of exactly this detector, its weights included."""
        ...

    def detect(self, image: UInt8) -> tuple[Face, ...]:
        """Find faces in (H, W) or (H, W, 3) uint8, best first; pixels of ``image``."""
        ...


def make_detector(spec: PreprocessSpec, assets: Path | None) -> Detector:
    """Make the detector that a spec names.

    Args:
        spec: its ``detector`` and ``min_score``.
        assets: folder of assets, needed by ``yunet``.

    Raises:
        NotFound: ``ASSET_MISSING`` with what to do.
        Corrupt: ``ASSET_DAMAGED`` when the weights are not the published ones.
    """
    if spec.detector == "yunet":
        from mien.imaging.detect_yunet import load_yunet

        return load_yunet(spec.min_score, assets)
    if spec.detector == "haar":
        from mien.imaging.detect_haar import load_haar

        return load_haar(spec.min_score)
    return WholePicture()


class WholePicture:
    """Finds no faces: for pictures that are faces already."""

    name = "none"
    digest = digest_of("none")

    def detect(self, image: UInt8) -> tuple[Face, ...]:  # noqa: ARG002 - the protocol's
        """Find nothing."""
        return ()


def enlarged(image: UInt8) -> tuple[UInt8, float, float]:
    """Enlarge a small picture four times and pad it by a quarter of replicated border.

    Returns:
        The picture to search, the factor it was enlarged by, and the pixels it was padded by.
    """
    height, width = image.shape[:2]
    # A long strip is not small: enlarged and padded on all sides it would be huge.
    if min(height, width) >= SMALL_PX or max(height, width) >= 4 * SMALL_PX:
        return image, 1.0, 0.0
    pad = round(_PAD * _ENLARGE * max(height, width))
    large = cv2.resize(image, None, fx=_ENLARGE, fy=_ENLARGE, interpolation=cv2.INTER_CUBIC)
    bordered: UInt8 = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    return bordered, float(_ENLARGE), float(pad)


def moved(face: Face, factor: float, pad: float) -> Face:
    """Bring a face from pixels of the enlarged picture back to those of the original."""

    def back(point: Point) -> Point:
        x, y = ((c - pad + 0.5) / factor - 0.5 for c in point)
        return x, y

    left, top = back((face.box.left, face.box.top))
    box = Box(left, top, face.box.width / factor, face.box.height / factor)
    eyes = None if face.eyes is None else (back(face.eyes[0]), back(face.eyes[1]))
    return replace(face, box=box, eyes=eyes, points=tuple(back(p) for p in face.points))


def best_first(faces: list[Face], height: int, width: int) -> tuple[Face, ...]:
    """Order faces by score × size × nearness to the picture's centre."""

    def rank(face: Face) -> float:
        box = face.box
        dx = (box.left + box.width / 2) / width - 0.5
        dy = (box.top + box.height / 2) / height - 0.5
        return face.score * math.sqrt(box.width * box.height) * (1 - math.hypot(dx, dy) / 2)

    return tuple(sorted(faces, key=rank, reverse=True))
