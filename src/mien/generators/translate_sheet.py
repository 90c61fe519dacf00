"""What a translator makes of fixed faces while it is trained: sheets, and faces to judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mien.core.arrays import Int, UInt8
from mien.generators.gan_course import Course
from mien.generators.trained import TrainHooks, TrainingSet
from mien.generators.translate_batches import conditions
from mien.generators.translate_spec import Domains
from mien.training.device import Placement
from mien.training.tensors import planes, to_images, to_network

SHEET_ROWS = 8
SCORED = 420
_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the averaged generator makes of fixed faces of the training set.

    Attributes:
        network: the generator.
        best: as it was when it was judged best.
        data: where the faces come from.
        domains: what they are.
        placement: where the network is.
    """

    network: nn.Module
    best: nn.Module
    data: TrainingSet
    domains: Domains
    placement: Placement

    def sheet(self) -> UInt8:
        """Translate a few faces into every class: (R, K, S, S[, 3])."""
        rows, classes = self._rows(SHEET_ROWS), self.domains.classes
        wanted = np.tile(np.arange(classes, dtype=np.int64), len(rows))
        made = self._translated(np.repeat(rows, classes), wanted)
        return made.reshape(len(rows), classes, *made.shape[1:])

    def shown_and_judged(
        self, hooks: TrainHooks, course: Course, kimg: float, *, speaks: bool
    ) -> dict[str, float]:
        """Draw the sheet, have faces of all classes judged, and return the figures, if any.

        Weights that are the best so far are copied to ``best``.
        """
        if speaks:
            hooks.sheet(kimg, self.sheet())
        if hooks.score is None:
            return {}
        rows = self._rows(SCORED)
        wanted = np.arange(len(rows), dtype=np.int64) % self.domains.classes
        figures = dict(hooks.score(self._translated(rows, wanted), wanted))
        if course.judge(figures):
            self.best.load_state_dict(self.network.state_dict())
        return figures

    def _rows(self, most: int) -> Int:
        """Choose rows evenly over the set, the same in every report."""
        count = min(most, len(self.data.faces))
        return np.linspace(0, len(self.data.faces) - 1, count).round().astype(np.int64)

    def _translated(self, rows: Int, wanted: Int) -> UInt8:
        """Translate rows, as faces of the database that they come from."""
        made = []
        device = self.placement.device
        for start in range(0, len(rows), _AT_A_TIME):
            part, labels = rows[start:][:_AT_A_TIME], wanted[start:][:_AT_A_TIME]
            images = torch.from_numpy(self.data.faces.images[part])
            faces = to_network(planes(images).to(device))
            condition = conditions(labels, self.data.database[part], self.domains).to(device)
            with torch.inference_mode(), self.placement.autocast():
                said = self.network(faces, condition, faces.new_ones(len(part)))
            made.append(to_images(said.faces).cpu().numpy())
        return np.concatenate(made)
