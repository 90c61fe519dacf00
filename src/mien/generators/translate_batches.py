"""What a step of the translator's training sees: a function of seed and step alone."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mien.core.arrays import Double, Int
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.generators.gan_batches import RealFaces
from mien.generators.trained import TrainingSet
from mien.generators.translate_spec import Domains, TranslateSpec
from mien.training.device import Placement


@dataclass(frozen=True, slots=True)
class Batch:
    """Faces with their own and their wanted classes.

    Attributes:
        faces: (N, C, S, S) float32 in [-1, 1].
        labels: (N,) int64, what they show.
        target: (N,) int64, what they shall show; among the labels of their database.
        there: (N, D) condition of ``target``.
        back: (N, D) condition of ``labels``.
        known: (N, K) bool, the labels that the face's database has.
        mix: (N,) in [0, 1], where on the line to a generated face the critic's slope is taken.
        seed: of the augmentation.
    """

    faces: Tensor
    labels: Tensor
    target: Tensor
    there: Tensor
    back: Tensor
    known: Tensor
    mix: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, part: slice) -> Batch:
        """Cut out some of the faces; each part draws its own augmentation."""
        cut = {f.name: getattr(self, f.name)[part] for f in fields(self) if f.name != "seed"}
        return Batch(**cut, seed=seed_of(self.seed, part.start))


class Batches:
    """Draws the batches of a run.

    Args:
        data: labelled faces only.
        domains: what they are.
        spec: batch size, flips, seed.
        placement: where batches go.
    """

    def __init__(
        self, data: TrainingSet, domains: Domains, spec: TranslateSpec, placement: Placement
    ) -> None:
        self.real = RealFaces(data.faces, placement, spec.batch, spec.flip, spec.seed)
        self.database, self.domains, self.spec = data.database, domains, spec
        self.allowed = np.zeros((len(domains.known), domains.classes), np.bool_)
        for database in range(len(domains.known)):
            self.allowed[database, list(domains.labels_of(database))] = True

    def at(self, step: int, part: slice = slice(None)) -> Batch:
        """Draw the batch of a step, or one process's part of it."""
        rows = self.real.rows(step)
        faces, labels = self.real.at(step, part)
        device, database = faces.device, self.database[rows]
        own = self.real.faces.labels[rows]
        rng = np.random.Generator(np.random.Philox(seed_of("targets", self.spec.seed, step)))
        mix = rng.random(len(rows), dtype=np.float32)
        if self.spec.recipe == "published":
            wanted = exchanged(own, database, rng)
        else:
            wanted = self._drawn(database, rng.random(len(rows)))
        there = conditions(wanted[part], database[part], self.domains)
        back = conditions(own[part], database[part], self.domains)
        return Batch(
            faces=faces,
            labels=labels,
            target=torch.from_numpy(wanted[part]).to(device),
            there=there.to(device),
            back=back.to(device),
            known=torch.from_numpy(self.allowed[database[part]]).to(device),
            mix=torch.from_numpy(mix[part]).to(device),
            seed=seed_of("augment", self.spec.seed, step, part.start),
        )

    def _drawn(self, database: Int, uniform: Double) -> Int:
        """Draw a label for every face, uniformly over those of its database."""
        known = [np.asarray(self.domains.labels_of(d)) for d in range(len(self.domains.known))]
        chosen = [known[d][int(u * len(known[d]))] for d, u in zip(database, uniform, strict=True)]
        return np.asarray(chosen, np.int64)


def conditions(labels: Int, database: Int, domains: Domains) -> Tensor:
    """Write labels as condition vectors (N, D) float32: one-hot label, then mask bits.

    Source: Choi et al. 2018, eq. 7, over one union of labels instead of a vector a database.
    """
    written = np.zeros((len(labels), domains.condition_size), np.float32)
    rows = np.arange(len(labels))
    written[rows, labels] = 1.0
    if domains.mask_bits:
        written[rows, domains.classes + database] = 1.0
    return torch.from_numpy(written)


def labelled(data: TrainingSet) -> TrainingSet:
    """Leave out the faces without a label.

    Raises:
        Invalid: ``LABEL_OUT_OF_RANGE`` when a face shows what its database does not label.
    """
    kept = data.faces.labels >= 0
    for database, known in enumerate(data.known):
        shown = set(data.faces.labels[kept & (data.database == database)].tolist())
        if known and shown - set(known):
            names = ", ".join(data.classes[k] for k in sorted(shown - set(known)))
            raise Invalid(
                "LABEL_OUT_OF_RANGE",
                f"database {database} is said not to label {names}, but its faces show it",
                hint="correct the labels that the database is said to have",
            )
    if kept.all():
        return data
    return TrainingSet(data.faces.take(kept), data.classes, data.database[kept], data.known)


def exchanged(labels: Int, database: Int, rng: np.random.Generator) -> Int:
    """Deal the labels of a batch out anew among the faces of each database, as published."""
    dealt = labels.copy()
    for one in np.unique(database):
        (places,) = np.nonzero(database == one)
        dealt[places] = labels[rng.permutation(places)]
    return dealt
