"""When what happens in a run: batches, learning rate, validations. Functions of the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mien.core.arrays import Int
from mien.core.digest import seed_of
from mien.recognition.spec import FitSpec

# Peak learning rates for ``steps``: the networks without normalisation bear less.
STEPS_LR = {"small": 3e-3, "seed": 5e-4, "vgg16": 2e-4}
PAPER_LR = 1e-4
PAPER_DECAY = 1e-6
WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of one run over N training faces.

    Attributes:
        spec: training configuration.
        faces: N.
        peak_lr: highest learning rate.
    """

    spec: FitSpec
    faces: int
    peak_lr: float

    @property
    def steps_per_epoch(self) -> int:
        """Steps an epoch; ``paper`` ends each with a smaller batch, as Keras does."""
        return math.ceil(self.faces / self.spec.batch)

    @property
    def steps(self) -> int:
        """Steps in all, before any early stop."""
        if self.spec.protocol == "paper":
            return self.spec.epochs * self.steps_per_epoch
        return max(1, math.ceil(self.spec.kimg * 1000 / self.spec.batch))

    def validates_after(self, step: int) -> bool:
        """Tell whether to validate once ``step`` steps are done."""
        if self.spec.protocol == "paper":
            return step % self.steps_per_epoch == 0
        parts = min(self.spec.evaluations, self.steps)
        return step * parts // self.steps > (step - 1) * parts // self.steps

    def rows(self, step: int) -> Int:
        """Return the training rows of a step (counted from 0).

        Every epoch is a fresh shuffle of all rows. Under ``steps`` batches run on over the end of
        an epoch, so that all have the same size.
        """
        batch = self.spec.batch
        if self.spec.protocol == "paper":
            epoch, within = divmod(step, self.steps_per_epoch)
            return _shuffled(self.spec.seed, epoch, self.faces)[within * batch :][:batch]
        epoch, start = divmod(step * batch, self.faces)
        parts: list[Int] = []
        missing = batch
        while missing:
            parts.append(_shuffled(self.spec.seed, epoch, self.faces)[start:][:missing])
            missing -= len(parts[-1])
            epoch, start = epoch + 1, 0
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def images_seen(self, step: int) -> int:
        """Return the number of images seen once ``step`` steps are done."""
        if self.spec.protocol == "paper":
            epochs, within = divmod(step, self.steps_per_epoch)
            return epochs * self.faces + within * self.spec.batch
        return step * self.spec.batch

    def lr(self, step: int) -> float:
        """Return the learning rate of a step (counted from 0).

        ``steps``: linear warm-up over a tenth, then a half cosine to 0. ``paper``: Keras's inverse
        time decay, lr / (1 + 1e-6 · step).
        """
        if self.spec.protocol == "paper":
            return self.peak_lr / (1.0 + PAPER_DECAY * step)
        warm_up = max(1, round(WARM_UP * self.steps))
        if step < warm_up:
            return self.peak_lr * (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.steps - warm_up)
        return self.peak_lr * 0.5 * (1.0 + math.cos(math.pi * done))


def schedule_of(spec: FitSpec, network: str, faces: int) -> Schedule:
    """Plan a run of a network over a number of training faces."""
    own = PAPER_LR if spec.protocol == "paper" else STEPS_LR.get(network, 1e-3)
    return Schedule(spec, faces, own if spec.lr is None else spec.lr)


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, faces: int) -> Int:
    order: Int = np.random.default_rng(seed_of("order", seed, epoch)).permutation(faces)
    return order
