"""YuNet through ``cv2.FaceDetectorYN``.

Source: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023); the weights are
those published with libfacedetection (MIT), told by their SHA-256.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import cv2
import numpy as np

from mien.core.arrays import UInt8
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, NotFound
from mien.core.face import Box, Face, Point
from mien.imaging.detect import best_first, enlarged, moved

FILE = Path("yunet") / "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
# The network sees faces of 10 to 300 px: photos are first looked at in this size, and only if
# nothing is found in twice this size.
_LOOK_PX = (640, 1280)
_LEAST_PX = 10  # on pictures narrower than a face it answers nonsense
_NMS = 0.3
_TOP_K = 5000


def load_yunet(min_score: float, assets: Path | None) -> YuNet:
    """Load the published weights.

    Raises:
        NotFound: ``ASSET_MISSING``. Corrupt: ``ASSET_DAMAGED``.
    """
    path = None if assets is None else assets / FILE
    if path is None or not path.is_file():
        raise NotFound(
            "ASSET_MISSING",
            f"the face detector yunet needs {path or FILE}, which is not there",
            hint="run `mien assets pull yunet`, or set MIEN_ASSETS to a folder that has it, "
            "or say preprocess.detector: haar",
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise Corrupt(
            "ASSET_DAMAGED",
            f"{path} is not the published file (sha256 {found[:16]}…)",
            hint="remove it and run `mien assets pull yunet`",
        )
    return YuNet(str(path), min_score)


class YuNet:
    """Finds faces with five landmarks: eyes, nose tip, mouth corners."""

    name = "yunet"

    def __init__(self, path: str, min_score: float) -> None:
        self.digest = digest_of(["yunet", SHA256, _LOOK_PX, _NMS, min_score])
        self._net = cv2.FaceDetectorYN.create(path, "", (320, 320), min_score, _NMS, _TOP_K)
        self._lock = threading.Lock()  # the network keeps the size it was told last

    def detect(self, image: UInt8) -> tuple[Face, ...]:
        """Find faces in (H, W) or (H, W, 3) uint8, best first.

        Eyes are ordered as the person's right first, which is image-left of an upright face.
        """
        large, factor, pad = enlarged(image)
        colours = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR if large.ndim == 2 else cv2.COLOR_RGB2BGR)
        faces: list[Face] = []
        longest = max(colours.shape[:2])
        for look_px in _LOOK_PX:
            faces = self._look(colours, min(1.0, look_px / longest))
            if faces or look_px >= longest:
                break
        return best_first([moved(f, factor, pad) for f in faces], *image.shape[:2])

    def _look(self, colours: UInt8, scale: float) -> list[Face]:
        height, width = (round(side * scale) for side in colours.shape[:2])
        if min(height, width) < _LEAST_PX:
            return []
        seen = (
            colours
            if scale == 1.0
            else cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
        )
        with self._lock:
            self._net.setInputSize((width, height))
            _, rows = self._net.detect(seen)
        if rows is None:
            return []
        back = np.array([colours.shape[1] / width, colours.shape[0] / height])
        return [
            _face(np.asarray(row, dtype=np.float64), back)
            for row in rows
            if np.isfinite(row).all() and min(row[2:4]) >= _LEAST_PX / 2
        ]


def _face(row: np.ndarray[tuple[int], np.dtype[np.float64]], back: object) -> Face:
    factors = np.asarray(back)
    left, top = row[0:2] * factors
    width, height = row[2:4] * factors
    points: list[Point] = [
        (float(x), float(y)) for x, y in (row[4:14].reshape(5, 2) + 0.5) * factors - 0.5
    ]
    score = min(1.0, max(0.0, float(row[14])))
    box = Box(float(left), float(top), float(width), float(height))
    return Face(box, score, (points[0], points[1]), tuple(points[2:]))
