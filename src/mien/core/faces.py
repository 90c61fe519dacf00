"""Labelled faces as arrays: what every network is trained and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.core.arrays import Float, Int, UInt8
from mien.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class FaceArrays:
    """Faces with labels, row by row.

    Attributes:
        images: (N, H, W) or (N, H, W, 3) uint8; may be a memory map.
        labels: (N,) int64 class indices, -1 where unlabelled.
        affect: (N, 2) float32 valence, arousal in [-1, 1]; NaN where unknown.
        ids: sample ids, length N.
        subjects: subject of each sample, "" where there is none; length N.

    Raises:
        Invalid: ``UNEQUAL_LENGTHS``, ``IMAGE_TYPE``.
    """

    images: UInt8
    labels: Int
    affect: Float
    ids: Sequence[str]
    subjects: Sequence[str]

    def __post_init__(self) -> None:
        lengths = [len(v) for v in (self.images, self.labels, self.affect, self.ids, self.subjects)]
        if len(set(lengths)) != 1:
            raise Invalid(
                "UNEQUAL_LENGTHS",
                f"images, labels, affect, ids and subjects have lengths {lengths}",
                hint="give as many labels, affects, ids and subjects as images",
            )
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise Invalid(
                "IMAGE_TYPE",
                f"images are {self.images.dtype} {self.images.shape}, not uint8 (N, H, W[, 3])",
                hint="give pixels as they are at rest: uint8, gray or RGB",
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls,
        images: UInt8,
        labels: Sequence[int] | Int,
        *,
        affect: Float | None = None,
        ids: Sequence[str] | None = None,
        subjects: Sequence[str] | None = None,
    ) -> FaceArrays:
        """Build arrays, filling in what is not known: no affect, numbered ids, no subjects."""
        n = len(images)
        return cls(
            images=images,
            labels=np.asarray(labels, dtype=np.int64),
            affect=np.full((n, 2), np.nan, np.float32) if affect is None else affect,
            ids=[str(i) for i in range(n)] if ids is None else ids,
            subjects=[""] * n if subjects is None else subjects,
        )

    def take(self, rows: Int | NDArray[np.bool_] | Sequence[int]) -> FaceArrays:
        """Keep some rows, by index (repeats allowed) or by mask, in the order given."""
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64, copy=False)
        return FaceArrays(
            images=self.images[chosen],
            labels=self.labels[chosen],
            affect=self.affect[chosen],
            ids=[self.ids[i] for i in chosen],
            subjects=[self.subjects[i] for i in chosen],
        )


def concat(parts: Sequence[FaceArrays]) -> FaceArrays:
    """Join arrays of the same image shape.

    Raises:
        Invalid: ``EMPTY_SET`` for no parts; ``UNEQUAL_SIZES`` when image shapes differ.
    """
    if not parts:
        raise Invalid("EMPTY_SET", "there is nothing to join", hint="give one part or more")
    shapes = {p.images.shape[1:] for p in parts}
    if len(shapes) > 1:
        raise Invalid(
            "UNEQUAL_SIZES",
            f"cannot join images of the shapes {sorted(shapes)}",
            hint="preprocess all of them to one size and colour",
        )
    return FaceArrays(
        images=np.concatenate([p.images for p in parts]),
        labels=np.concatenate([p.labels for p in parts]),
        affect=np.concatenate([p.affect for p in parts]),
        ids=[i for p in parts for i in p.ids],
        subjects=[s for p in parts for s in p.subjects],
    )
