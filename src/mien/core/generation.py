"""What is asked of a generator, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mien.core.arrays import UInt8
from mien.core.errors import invalid_fields
from mien.core.expression import Affect, Expression
from mien.core.face import Point
from mien.core.sample import Item

MAX_IDENTITIES = 1_000_000
MAX_IMAGES_PER_CELL = 1000


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


@dataclass(frozen=True, slots=True)
class MadeFace:
    """One face made, as it is kept: the row it has in a version, and its PNG.

    Attributes:
        item: sample, its digest included, and bytes.
        engine_digest: name of the exact engine that made it.
        scores: figures the engine knows about it, by name.
    """

    item: Item
    engine_digest: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as a file, with what is known about it.

    Attributes:
        image: the file's bytes; not decoded yet, so nothing about them is trusted.
        id: sample id, or "".
        subject: the person, or None.
        landmarks: points in pixels, Multi-PIE 68 order; () = find them where they are needed.
    """

    image: bytes = field(repr=False)
    id: str = ""
    subject: str | None = None
    landmarks: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedFace:
    """A face to make, and the file of the photo to start from.

    Attributes:
        request: what to make; its ``source`` is not set: it comes from ``photo``.
        photo: to start from, or None to invent a face.
    """

    request: FaceRequest
    photo: Photo | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An algorithm that can be asked for.

    Attributes:
        name: as it is asked for.
        summary: one line.
        trained: it needs a trained generator.
        photos: it can start from a photo.
    """

    name: str
    summary: str
    trained: bool
    photos: bool


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """A trained instance of an engine.

    Attributes:
        name: the value of ``generator`` in engine parameters.
        engine: its algorithm.
        digest: of its weights and settings.
        expressions: labels it can show; () = it was not told any.
        size_px: side of its pictures.
        figures: measured when it was trained.
        subjects_seen: how many people it saw.
    """

    name: str
    engine: str
    digest: str
    expressions: tuple[Expression, ...]
    size_px: int
    figures: Mapping[str, float] = field(default_factory=dict)
    subjects_seen: int = 0


@dataclass(frozen=True, slots=True)
class FacePlan:
    """A balanced set of invented faces: every identity in every expression, equally often.

    Attributes:
        engine: name in the engine table.
        expressions: labels, in the order in which an identity shows them.
        identities: number of invented people, 1 to 1,000,000.
        params: the engine's own; generators by name.
        images_per_cell: images of an identity in an expression, 1 to 1000.
        seed: same seed, same people, same pictures; below 2⁶³.
        intensity: range in [0, 1] that intensities are drawn from; None = full, and the only
            choice with engines that cannot grade an expression.
        pool: prefix of sample ids; "" = the engine's name.

    Raises:
        Invalid: ``FACE_PLAN`` naming each field at fault.
    """

    engine: str
    expressions: tuple[Expression, ...]
    identities: int
    params: Mapping[str, Any] = field(default_factory=dict)
    images_per_cell: int = 1
    seed: int = 0
    intensity: tuple[float, float] | None = None
    pool: str = ""

    def __post_init__(self) -> None:
        wrong: dict[str, str] = {}
        if not self.expressions or len(set(self.expressions)) != len(self.expressions):
            wrong["expressions"] = "is empty or names one twice"
        if not 1 <= self.identities <= MAX_IDENTITIES:
            wrong["identities"] = f"{self.identities} is outside 1..{MAX_IDENTITIES}"
        if not 1 <= self.images_per_cell <= MAX_IMAGES_PER_CELL:
            wrong["images_per_cell"] = f"{self.images_per_cell} is outside 1..{MAX_IMAGES_PER_CELL}"
        if not 0 <= self.seed < 1 << 63:
            wrong["seed"] = f"{self.seed} is outside 0..2^63-1"
        if self.intensity and not 0.0 <= self.intensity[0] <= self.intensity[1] <= 1.0:
            wrong["intensity"] = f"{self.intensity} is no range within [0, 1]"
        if not set(self.pool) <= _IN_NAMES or len(self.pool) > 100:
            wrong["pool"] = "is not up to 100 letters, digits, dots, dashes and underscores"
        if wrong:
            raise invalid_fields("FACE_PLAN", "the faces cannot be planned", wrong)

    @property
    def prefix(self) -> str:
        """What sample ids begin with."""
        return self.pool or self.engine

    @property
    def source(self) -> str:
        """Name of the source that samples and subjects bear."""
        return f"{self.engine}-{self.seed}"

    @property
    def faces_per_identity(self) -> int:
        """Images of each identity."""
        return len(self.expressions) * self.images_per_cell

    @property
    def faces(self) -> int:
        """Images in all."""
        return self.identities * self.faces_per_identity

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = asdict(self)
        plain["expressions"] = [str(e) for e in self.expressions]
        plain["intensity"] = None if self.intensity is None else list(self.intensity)
        return plain

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FacePlan:
        """Read what ``to_json`` gave.

        Raises:
            Invalid: ``FACE_PLAN``. KeyError, TypeError, ValueError: when it is something else.
        """
        given = dict(value)
        given["expressions"] = tuple(Expression(e) for e in given["expressions"])
        if given["intensity"] is not None:
            low, high = given["intensity"]
            given["intensity"] = (float(low), float(high))
        return cls(**given)


_IN_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
