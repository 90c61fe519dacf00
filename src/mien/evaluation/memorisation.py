"""Has a generator learnt its training faces by heart? Copies in pixels, neighbours in features.

A copy is found whatever was done to it that leaves the face itself: nothing, mirrored, cropped,
recompressed, made lighter or darker, or several of these. ``benchmarks/memorisation.py`` measures
how many planted copies are found and how often other faces of the same renderer are taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mien.core.arrays import Float, UInt8
from mien.core.digest import digest_bytes
from mien.core.errors import Invalid
from mien.evaluation.copy_candidates import (
    VIEWS,
    Candidates,
    check_pictures,
    copy_candidates,
    gray,
)
from mien.evaluation.copy_check import copy_score
from mien.evaluation.feature_neighbours import nearest
from mien.evaluation.generator_distances import check_features

COPY_LEVEL = 0.905  # correlation after alignment from which a picture is a copy
_WORTH_CHECKING = 0.66  # coarse score; planted copies have 0.72 and more
_MARGIN = 0.15  # candidates that much worse than the best are not compared
_SURE = 0.985  # no other candidate is compared
LOW_QUANTILE = 0.001

CopyKind = Literal["exact", "mirrored", "near"]


@dataclass(frozen=True, slots=True)
class Copy:
    """A generated face that is a training face.

    Attributes:
        row: of the generated face.
        source: row of the training face.
        kind: ``exact`` (the same pixels), ``mirrored`` (the same pixels mirrored) or ``near``.
        score: correlation after alignment, in [-1, 1]; 1 for the same pixels.
    """

    row: int
    source: int
    kind: CopyKind
    score: float


@dataclass(frozen=True, slots=True)
class Memorised:
    """What was found among all generated faces.

    Attributes:
        copies: in the order of the generated faces.
        faces: generated faces looked at.
        training: training faces they were compared with.
        level: score from which a face counts as a copy.
        highest: the highest score of a face that is no copy: how near the rest comes; -1 where
            none was like enough to be compared in full.
    """

    copies: tuple[Copy, ...]
    faces: int
    training: int
    level: float
    highest: float

    @property
    def exact(self) -> int:
        """How many have the very pixels of a training face, mirrored or not."""
        return sum(c.kind != "near" for c in self.copies)

    @property
    def near(self) -> int:
        """How many are copies with other pixels."""
        return sum(c.kind == "near" for c in self.copies)

    @property
    def near_share(self) -> float:
        """Share of near copies among all faces."""
        return self.near / self.faces

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the first hundred copies."""
        return {
            "faces": self.faces,
            "training": self.training,
            "level": self.level,
            "exact": self.exact,
            "near": self.near,
            "highest": self.highest,
            "copies": [
                {"row": c.row, "source": c.source, "kind": c.kind, "score": c.score}
                for c in self.copies[:100]
            ],
        }


@dataclass(frozen=True, slots=True)
class TrainingNeighbours:
    """How near generated faces lie to training faces in a feature space.

    Attributes:
        space: name of the feature space.
        median: distance of generated faces to the nearest training face.
        held_out_median: the same of real faces of people who were not trained on.
        limit: the 0.1 % quantile of the real faces' distances.
        below: share of generated faces nearer than the limit; 0.1 % is what real faces have.
        n: generated faces.
        n_held_out: real faces.
    """

    space: str
    median: float
    held_out_median: float
    limit: float
    below: float
    n: int
    n_held_out: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "median": self.median,
            "held_out_median": self.held_out_median,
            "limit": self.limit,
            "below": self.below,
            "n": self.n,
            "n_held_out": self.n_held_out,
        }


def find_copies(synthetic: UInt8, training: UInt8, *, level: float = COPY_LEVEL) -> Memorised:
    """Find generated faces that are training faces, mirrored, cropped or recompressed or not.

    Args:
        synthetic: (M, H, W) or (M, H, W, 3) uint8, M ≥ 1.
        training: (N, H, W) or (N, H, W, 3) uint8, N ≥ 1, every face that the generator saw.
        level: score from which a face counts as a copy.

    Raises:
        Invalid: ``IMAGE_SHAPES``; ``EMPTY_BASE``; ``TOO_FEW_FACES`` without a generated face.
    """
    for images in (synthetic, training):
        check_pictures(images)
    if not len(synthetic):
        raise Invalid("TOO_FEW_FACES", "there is no generated face to look at")
    same = _same_pixels(synthetic, training)
    candidates = copy_candidates(synthetic, training)
    copies, highest = [], -1.0
    for row in range(len(synthetic)):
        if row in same:
            source, mirrored = same[row]
            copies.append(Copy(row, source, "mirrored" if mirrored else "exact", 1.0))
            continue
        source, score = _best(row, synthetic, training, candidates)
        if score >= level:
            copies.append(Copy(row, source, "near", score))
        else:
            highest = max(highest, score)
    return Memorised(tuple(copies), len(synthetic), len(training), level, highest)


def _same_pixels(synthetic: UInt8, training: UInt8) -> dict[int, tuple[int, bool]]:
    """Faces with the very pixels of a training face: row → (source, mirrored)."""
    if synthetic.shape[1:] != training.shape[1:]:
        return {}
    known: dict[str, tuple[int, bool]] = {}
    for source, image in enumerate(training):
        known.setdefault(_pixels(image[:, ::-1]), (source, True))
    for source in reversed(range(len(training))):  # unmirrored and first of equals wins
        known[_pixels(training[source])] = (source, False)
    found = ((row, known.get(_pixels(image))) for row, image in enumerate(synthetic))
    return {row: hit for row, hit in found if hit is not None}


def _pixels(image: UInt8) -> str:
    return digest_bytes(np.ascontiguousarray(image).tobytes())


def _best(row: int, synthetic: UInt8, training: UInt8, candidates: Candidates) -> tuple[int, float]:
    """Compare a face with its candidates in full; the best one and its score."""
    best, highest = -1, -1.0
    picture = gray(synthetic[row : row + 1])[0]
    least = max(_WORTH_CHECKING, float(candidates.scores[row, 0]) - _MARGIN)
    for source, view, coarse in zip(
        candidates.sources[row], candidates.views[row], candidates.scores[row], strict=True
    ):
        if source < 0 or coarse < least or highest >= _SURE:
            break
        score = copy_score(picture, gray(training[source : source + 1])[0], VIEWS[int(view)])
        if score > highest:
            best, highest = int(source), score
    return best, highest


def training_neighbours(
    synthetic: Float, training: Float, held_out: Float, *, space: str
) -> TrainingNeighbours:
    """Ask whether generated faces lie nearer to training faces than strangers' real faces do.

    Args:
        synthetic: (M, D) features of generated faces.
        training: (N, D) features of the training faces.
        held_out: (K, D) features of real faces of people that were not trained on.
        space: name of the feature space.

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``.

    Source: the data-copying test of Meehan et al. 2020, "A non-parametric test to detect
    data-copying in generative models", with its comparison reduced to one low quantile.
    """
    check_features(synthetic, training, held_out)
    _, mine = nearest(synthetic, training)
    _, strangers = nearest(held_out, training)
    limit = float(np.quantile(strangers, LOW_QUANTILE))
    return TrainingNeighbours(
        space=space,
        median=float(np.median(mine)),
        held_out_median=float(np.median(strangers)),
        limit=limit,
        below=float((mine < limit).mean()),
        n=len(mine),
        n_held_out=len(strangers),
    )
