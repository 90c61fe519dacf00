"""A stretch of time as blocks of faces: few enough to keep, large enough to show nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.errors import Corrupt
from mien.evaluation.drift_sketch import Sketch

BLOCK_FACES = 32  # nothing smaller is ever kept
MOST_BLOCKS = 64
MOST_FOUND = 5  # faces on a picture, counted one by one up to here


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen from a moment on.

    Attributes:
        start: seconds since 1970, a multiple of ``seconds``.
        seconds: its length.
        found: (6,) pictures on which 0, 1, 2, 3, 4, 5 or more faces were found.
        blocks: in the order of time, of 32 faces or more each, at most 64.
    """

    start: int
    seconds: int
    found: Int
    blocks: tuple[Sketch, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, read back by ``from_json``."""
        return {
            "start": self.start,
            "seconds": self.seconds,
            "found": self.found.tolist(),
            "blocks": [block.to_json() for block in self.blocks],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Window:
        """Build it from plain values.

        Raises:
            Corrupt: ``DRIFT_SKETCH``.
        """
        try:
            found = np.array(values["found"], np.int64)
            if found.shape != (MOST_FOUND + 1,):
                raise ValueError("counts of other pictures")
            blocks = tuple(Sketch.from_json(each) for each in values["blocks"])
            return cls(int(values["start"]), int(values["seconds"]), found, blocks)
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(
                "DRIFT_SKETCH", f"a window is damaged: {error}", hint="remove its file"
            ) from None


class Crowd:
    """Gathers faces into blocks. Not for several threads at once.

    A block is closed when it is large enough; when there are too many, neighbours are merged and
    later blocks are as large as those, so that all of them weigh the same.
    """

    def __init__(self, classes: int, directions: int) -> None:
        self._empty = Sketch.empty(classes, directions)
        self._open = self._empty
        self._least = BLOCK_FACES
        self._found = np.zeros(MOST_FOUND + 1, np.int64)
        self._blocks: list[Sketch] = []

    def see(self, probabilities: Float, projected: Double) -> None:
        """Add the faces of one picture, probabilities (N, K), projections (N, E); N may be 0."""
        self._found[min(len(projected), MOST_FOUND)] += 1
        if not len(projected):
            return
        self._open = self._open + Sketch.of(probabilities, projected)
        if self._open.faces >= self._least:
            self._blocks.append(self._open)
            self._open = self._empty
            self._thin()

    def resume(self, window: Window) -> None:
        """Go on with a window that an earlier process began."""
        self._found = self._found + window.found
        self._blocks = [*window.blocks, *self._blocks]
        self._least = max([self._least, *(b.faces for b in self._blocks[:1])])

    def window(self, start: int, seconds: int) -> Window:
        """Return what may be kept; faces that fill no block yet are not in it."""
        return Window(start, seconds, self._found.copy(), tuple(self._blocks))

    def turn(self) -> None:
        """Begin the next window; faces that fill no block yet go into it."""
        self._found = np.zeros(MOST_FOUND + 1, np.int64)
        self._blocks = []
        self._least = BLOCK_FACES

    def _thin(self) -> None:
        if len(self._blocks) >= MOST_BLOCKS:
            even = self._blocks[: len(self._blocks) // 2 * 2]
            pairs = [a + b for a, b in zip(even[::2], even[1::2], strict=True)]
            self._blocks = pairs + self._blocks[len(even) :]
            self._least *= 2


def together(windows: Sequence[Window]) -> tuple[list[Sketch], Int]:
    """Join windows, in the order of time: their blocks, and their pictures by faces found."""
    ordered = sorted(windows, key=lambda w: w.start)
    found = sum((w.found for w in ordered), np.zeros(MOST_FOUND + 1, np.int64))
    return [block for w in ordered for block in w.blocks], found
