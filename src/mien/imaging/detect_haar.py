"""OpenCV's boosted cascades for face and eyes, which its 4.x wheel ships.

Source: Viola and Jones, "Robust real-time face detection" (IJCV 2004); cascades by R. Lienhart
and Sh. Hameed. Frontal faces only. Contrast is left alone: the cascades normalise it themselves,
and after histogram equalisation they find no eye in an enlarged picture.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2

from mien.core.arrays import UInt8
from mien.core.digest import digest_file, digest_of
from mien.core.errors import NotFound
from mien.core.face import Box, Face, Point
from mien.imaging.detect import best_first, enlarged, moved

_FACE = "haarcascade_frontalface_alt2.xml"
_EYES = "haarcascade_eye.xml"
_LOOK_PX = 640
_STEP = 1.1
_HALF_SCORE = 3  # neighbours at which the score is 0.5
# Where the eyes are looked for, as fractions of the face's box: left, right, top, bottom.
_EYE_REGIONS = ((0.05, 0.50, 0.18, 0.58), (0.50, 0.95, 0.18, 0.58))


def load_haar(min_score: float) -> Haar:
    """Load the cascades of the installed OpenCV.

    Raises:
        NotFound: ``ASSET_MISSING`` where OpenCV ships none (5.0).
    """
    folder = Path(getattr(getattr(cv2, "data", None), "haarcascades", ""))
    face, eyes = folder / _FACE, folder / _EYES
    if not hasattr(cv2, "CascadeClassifier") or not (face.is_file() and eyes.is_file()):
        raise NotFound(
            "ASSET_MISSING",
            f"the installed OpenCV {cv2.__version__} ships no cascades",
            hint="install opencv-python-headless 4.x, or say preprocess.detector: yunet",
        )
    return Haar(face, eyes, min_score)


class Haar:
    """Finds frontal faces and their eyes.

    The score is n / (n + 3) for n overlapping detections: it orders faces and is 0.5 where the
    usual threshold lies, but it is no probability.
    """

    name = "haar"

    def __init__(self, face: Path, eyes: Path, min_score: float) -> None:
        self.digest = digest_of(["haar", digest_file(face), digest_file(eyes), min_score])
        self._face = cv2.CascadeClassifier(str(face))
        self._eyes = cv2.CascadeClassifier(str(eyes))
        self._min_score = min_score
        self._lock = threading.Lock()  # cascades keep buffers between calls

    def detect(self, image: UInt8) -> tuple[Face, ...]:
        """Find faces in (H, W) or (H, W, 3) uint8, best first; ``eyes`` is None if unseen."""
        large, factor, pad = enlarged(image)
        gray = large if large.ndim == 2 else cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _LOOK_PX / max(gray.shape))
        if scale < 1.0:
            height, width = (max(1, round(side * scale)) for side in gray.shape)
            gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
        with self._lock:
            faces = self._faces(gray)
        # Both steps enlarge about pixel corners; they compose to one factor and one shift.
        whole = [moved(moved(f, scale, 0.0), factor, pad) for f in faces]
        return best_first(whole, *image.shape[:2])

    def _faces(self, gray: UInt8) -> list[Face]:
        side = max(24, min(gray.shape) // 10)
        boxes, counts = self._face.detectMultiScale2(
            gray, scaleFactor=_STEP, minNeighbors=1, minSize=(side, side)
        )
        found = []
        for (left, top, width, height), count in zip(boxes, counts, strict=True):
            score = float(count) / (float(count) + _HALF_SCORE)
            if score >= self._min_score:
                box = Box(float(left), float(top), float(width), float(height))
                found.append(Face(box, score, self._both_eyes(gray, box)))
        return found

    def _both_eyes(self, gray: UInt8, box: Box) -> tuple[Point, Point] | None:
        left, right = (self._eye(gray, box, region) for region in _EYE_REGIONS)
        if left is None or right is None:
            return None
        apart, tilt = (abs(b - a) / box.width for a, b in zip(left, right, strict=True))
        # A brow or a nostril taken for an eye makes a pair that no frontal face has.
        return (left, right) if 0.25 < apart < 0.55 and tilt < 0.15 else None

    def _eye(self, gray: UInt8, box: Box, region: tuple[float, ...]) -> Point | None:
        x0, x1 = (int(box.left + f * box.width) for f in region[:2])
        y0, y1 = (int(box.top + f * box.height) for f in region[2:])
        small, large = int(0.12 * box.width), int(0.45 * box.width)
        boxes, counts = self._eyes.detectMultiScale2(
            gray[max(0, y0) : y1, max(0, x0) : x1],
            scaleFactor=1.05,
            minNeighbors=2,
            minSize=(small, small),
            maxSize=(large, large),
        )
        if len(boxes) == 0:
            return None
        x, y, width, height = boxes[max(range(len(boxes)), key=lambda i: int(counts[i]))]
        return max(0, x0) + float(x) + width / 2, max(0, y0) + float(y) + height / 2
