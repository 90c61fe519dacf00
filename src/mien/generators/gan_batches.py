"""Bring real faces to the networks of a game: an endless order, mirrored at random, by step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mien.core.arrays import Int, UInt8
from mien.core.digest import seed_of
from mien.core.faces import FaceArrays
from mien.training.device import Placement
from mien.training.tensors import planes, to_network


@dataclass(slots=True)
class RealFaces:
    """Real faces, batch by batch; all randomness is drawn from the seed and the step.

    On the processor the images stay where they are, memory map or not; on a GPU all of them are
    uploaded once, as uint8.

    Attributes:
        faces: the set.
        placement: where the networks run.
        batch: faces a step.
        mirror: each face is mirrored half of the time.
        seed: of order and mirroring.
        resident: (N, C, S, S) uint8 on the GPU, or None.
    """

    faces: FaceArrays
    placement: Placement
    batch: int
    mirror: bool
    seed: int
    resident: Tensor | None = None
    _epoch: int = field(default=-1, init=False)
    _order: Int = field(default_factory=lambda: np.zeros(0, np.int64), init=False)

    def __post_init__(self) -> None:
        if self.placement.device.type == "cuda":
            images = torch.from_numpy(np.ascontiguousarray(self.faces.images))
            self.resident = planes(images.to(self.placement.device))

    def rows(self, step: int) -> Int:
        """Name the faces of a step: (batch,) indices; every face comes once an epoch."""
        positions = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, places = np.divmod(positions, len(self.faces))
        parts = [self._order_of(int(e))[places[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(parts)

    def at(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Fetch the faces of a step.

        Args:
            step: from 0.
            part: of the batch, for one of several processes.

        Returns:
            Faces (B, C, S, S) float32 in [-1, 1], channels last in memory; labels (B,) int64.
        """
        rows = self.rows(step)[part]
        device = self.placement.device
        if self.resident is not None:
            images = self.resident[torch.from_numpy(rows).to(device)]
        else:
            chosen: UInt8 = self.faces.images[rows]
            images = planes(torch.from_numpy(np.ascontiguousarray(chosen)))
        if self.mirror:
            rng = np.random.Generator(np.random.Philox(seed_of("mirror", self.seed, step)))
            turned = torch.from_numpy(rng.random(self.batch)[part] < 0.5).to(device)
            images = torch.where(turned[:, None, None, None], images.flip(3), images)
        faces = to_network(images).contiguous(memory_format=torch.channels_last)
        return faces, torch.from_numpy(self.faces.labels[rows]).to(device)

    def _order_of(self, epoch: int) -> Int:
        if epoch != self._epoch:
            rng = np.random.Generator(np.random.Philox(seed_of("order", self.seed, epoch)))
            self._epoch, self._order = epoch, rng.permutation(len(self.faces))
        return self._order
