"""One labelled face, and one with its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mien.core.expression import Expression
from mien.core.face import Point

Origin = Literal["real", "synthetic"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a manifest.

    Attributes:
        id: unique in its version, ``<source>/<anything>``; the sort key of the manifest.
        source: the database or generator it came from.
        origin: ``real`` or ``synthetic``.
        subject: qualified ``<source>:<who>``, or None where the database has no subjects.
            A face made from a person's photo keeps that person's subject.
        expression: the label, or None (unlabelled, or affect only).
        valence: in [-1, 1] or None.
        arousal: in [-1, 1] or None.
        intensity: of the expression in [0, 1], or None.
        file: name in the source, relative; for people.
        frame: frame number in its sequence, or None.
        sequence: sequence the frame belongs to, or "".
        usage: the database's own split (``train`` …), or "".
        identity: for synthetic faces: seed or source digest of the identity held constant.
        parents: digests of the images or artefacts it was made from.
        attributes: slices such as age, gender, glasses; plain strings.
        landmarks: points in pixels of this image, Multi-PIE 68 order where there are 68; or ().
        failure: why preprocessing could not use it (``no_face``), or "".
        digest: blake3 of the encoded image bytes; set when bytes are known.
        width: pixels, 0 when unknown.
        height: pixels, 0 when unknown.
    """

    id: str
    source: str
    origin: Origin = "real"
    subject: str | None = None
    expression: Expression | None = None
    valence: float | None = None
    arousal: float | None = None
    intensity: float | None = None
    file: str = ""
    frame: int | None = None
    sequence: str = ""
    usage: str = ""
    identity: str = ""
    parents: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    landmarks: tuple[Point, ...] = ()
    failure: str = ""
    digest: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A sample with its encoded image bytes (PNG, JPEG, WebP, TIFF or BMP)."""

    sample: Sample
    image: bytes
