"""Where a face is in an image."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels: left, top, width, height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face, in pixels of the image it was found in.

    Attributes:
        box: the face's box.
        score: detector confidence in [0, 1].
        eyes: pupil centres, image-left first; None where the detector gives none.
        points: further landmarks (YuNet: nose tip, mouth corners), possibly empty.
    """

    box: Box
    score: float
    eyes: tuple[Point, Point] | None = None
    points: tuple[Point, ...] = ()
