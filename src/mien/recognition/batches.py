"""Bring faces to the network: uint8 at rest, on the processor or resident on the GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.core.arrays import Int
from mien.core.faces import FaceArrays
from mien.recognition.augment import Geometry, draw_maps, warp, warp_on_device
from mien.training.device import Placement
from mien.training.tensors import planes, to_network


@dataclass(frozen=True, slots=True)
class Pool:
    """A set of faces near the network.

    On the processor the images stay where they are, memory map or not, and only the rows of a
    batch are copied; on a GPU all of them are uploaded once, as uint8.

    Attributes:
        faces: the set.
        placement: where the network runs.
        resident: (N, C, S, S) uint8 on the GPU, or None.
        labels: (N,) int64 there.
        affect: (N, 2) float32 there.
    """

    faces: FaceArrays
    placement: Placement
    resident: Tensor | None
    labels: Tensor
    affect: Tensor

    @classmethod
    def of(cls, faces: FaceArrays, placement: Placement) -> Pool:
        """Bring a set to the network's device."""
        device = placement.device
        resident = None
        if device.type == "cuda":
            resident = planes(torch.from_numpy(np.ascontiguousarray(faces.images)).to(device))
        return cls(
            faces,
            placement,
            resident,
            torch.from_numpy(faces.labels.copy()).to(device),
            torch.from_numpy(faces.affect.astype(np.float32)).to(device),
        )

    def batch(
        self, rows: Int, geometry: Geometry | None = None, seed: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fetch some rows as network input.

        Args:
            rows: (B,) indices.
            geometry: of the augmentation; None = none.
            seed: of the augmentation's draws.

        Returns:
            Faces (B, C, S, S) float32 in [-1, 1], channels last in memory; labels (B,);
            affect (B, 2).
        """
        device = self.placement.device
        maps = None
        if geometry is not None:
            maps = draw_maps(geometry, len(rows), self.faces.images.shape[1], seed)
        index = torch.from_numpy(rows).to(device)
        if self.resident is not None:
            faces = to_network(self.resident[index])
            faces = faces if maps is None else warp_on_device(faces, maps)
        else:
            images = self.faces.images[rows]
            images = images if maps is None else warp(images, maps)
            faces = to_network(planes(torch.from_numpy(images)).to(device))
        faces = faces.contiguous(memory_format=torch.channels_last)
        return faces, self.labels[index], self.affect[index]
