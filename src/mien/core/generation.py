"""What is asked of a generator, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mien.core.arrays import UInt8
from mien.core.expression import Affect, Expression
from mien.core.face import Point


@dataclass(frozen=True, slots=True)
class SourceFace:
    """A face to start from: a neutral photo with its landmarks.

    Attributes:
        id: sample id of the photo.
        digest: of its encoded bytes.
        subject: the person, kept by everything made from it.
        image: (H, W, 3) or (H, W) uint8.
        landmarks: points in pixels; Multi-PIE 68 order where there are 68.
    """

    id: str
    digest: str
    subject: str | None
    image: UInt8
    landmarks: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class FaceRequest:
    """One face to make.

    Attributes:
        id: of the sample to make.
        seed: of identity and variation together with the generator's digest; same seed and
            identity, same face, whatever the shard, order or process.
        identity: name of the identity held constant; faces of one identity share it.
        expression: wanted class, or None when ``affect`` is given.
        affect: wanted point of the affect plane, or None.
        intensity: in [0, 1].
        variation: index of the variation: same identity and expression, another picture.
        source: the photo to start from, or None to invent one.
    """

    id: str
    seed: int
    identity: str
    expression: Expression | None = None
    affect: Affect | None = None
    intensity: float = 1.0
    variation: int = 0
    source: SourceFace | None = None


@dataclass(frozen=True, slots=True)
class GeneratedFace:
    """One face made.

    Attributes:
        request: what was asked.
        image: (H, W, 3) or (H, W) uint8.
        landmarks: in pixels of ``image``, or ().
        scores: figures the engine knows about it, by name.
    """

    request: FaceRequest
    image: UInt8
    landmarks: tuple[Point, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
