"""The one description of how a picture becomes a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core.digest import digest_of
from mien.core.errors import invalid_fields

DetectorName = Literal["yunet", "haar", "none"]
Channels = Literal["gray", "rgb"]


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """How faces are found, aligned, cropped and resized; shared by training and serving.

    Attributes:
        version: raised whenever the same spec would give other bytes.
        detector: ``yunet`` (asset), ``haar`` (in the OpenCV wheel), ``none`` (already cropped).
        size_px: side S of the square output.
        channels: ``gray`` → (S, S) uint8; ``rgb`` → (S, S, 3) uint8.
        eye_line: height of the eyes as a fraction of S, in (0, 1).
        eye_distance: distance of the eyes as a fraction of S, in (0, 1).
        min_score: detections below are no faces, in [0, 1].
    """

    version: int = 1
    detector: DetectorName = "none"
    size_px: int = 64
    channels: Channels = "gray"
    eye_line: float = 0.36
    eye_distance: float = 0.40
    min_score: float = 0.5

    def __post_init__(self) -> None:
        wrong: dict[str, str] = {}
        if not 8 <= self.size_px <= 1024:
            wrong["size_px"] = f"{self.size_px} is outside 8..1024"
        if self.detector not in ("yunet", "haar", "none"):
            wrong["detector"] = f"{self.detector!r} is not one of yunet, haar, none"
        if self.channels not in ("gray", "rgb"):
            wrong["channels"] = f"{self.channels!r} is not one of gray, rgb"
        for name in ("eye_line", "eye_distance"):
            if not 0.0 < getattr(self, name) < 1.0:
                wrong[name] = f"{getattr(self, name)} is outside (0, 1)"
        if not 0.0 <= self.min_score <= 1.0:
            wrong["min_score"] = f"{self.min_score} is outside [0, 1]"
        if self.version != 1:
            wrong["version"] = f"{self.version} is not supported by this release (1)"
        if wrong:
            raise invalid_fields("PREPROCESS_SPEC", "the preprocessing spec is wrong", wrong)

    @property
    def digest(self) -> str:
        """Name of this spec."""
        return digest_of(self)
