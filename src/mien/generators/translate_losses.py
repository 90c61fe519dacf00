"""What discriminator and generator of a translator are scored by: sums of named terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.generators.gan_augment import augment
from mien.generators.gan_losses import (
    class_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from mien.generators.trained import Teacher
from mien.generators.translate_batches import Batch
from mien.generators.translate_published import Translated
from mien.generators.translate_spec import TranslateSpec

# The order in which figures lie in the running sums.
FIGURES = ("d", "d_class", "slope", "g", "g_class", "teacher", "cycle", "same", "change", "smooth")


@dataclass(frozen=True, slots=True)
class Players:
    """The networks of a run.

    Attributes:
        spec: weights of the terms.
        generator: faces, condition, intensity → ``Translated``.
        discriminator: faces, labels → patch scores (N, H, W), class logits (N, K).
        teacher: frozen classifier, or None.
    """

    spec: TranslateSpec
    generator: nn.Module
    discriminator: nn.Module
    teacher: Teacher | None

    @property
    def taught(self) -> bool:
        """Whether the teacher's class loss takes the place of the discriminator's own."""
        return self.teacher is not None and self.spec.teacher_weight > 0

    @property
    def class_weight(self) -> float:
        """Weight of the discriminator's own class loss."""
        return 0.0 if self.taught else self.spec.class_weight


def discriminator_terms(players: Players, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Score the discriminator on a batch: the loss, and its terms by name."""
    spec, critic = players.spec, players.discriminator
    with torch.no_grad():
        fake = _full(players.generator, batch.faces, batch.there).faces
    real = augment(batch.faces, spec.augment, batch.seed)
    fake = augment(fake, spec.augment, batch.seed + 1)
    real_scores, real_logits = critic(real, batch.labels)
    fake_scores, _ = critic(fake, batch.target)
    game = discriminator_loss(spec.loss, _flat(real_scores), _flat(fake_scores))
    classes = class_loss(_within(real_logits, batch.known), batch.labels)
    terms = {"d": game, "d_class": classes}
    loss = game + players.class_weight * classes
    if spec.gp_weight:
        slope = gradient_penalty(
            lambda faces: critic(faces, batch.target)[0], real, fake, batch.mix
        )
        terms["slope"] = slope
        loss = loss + spec.gp_weight * slope
    return loss, terms


def generator_terms(players: Players, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Score the generator on a batch: the loss, and its terms by name."""
    spec = players.spec
    made = _full(players.generator, batch.faces, batch.there)
    seen = augment(made.faces, spec.augment, batch.seed)
    scores, logits = players.discriminator(seen, batch.target)
    terms = {
        "g": generator_loss(spec.loss, _flat(scores)),
        "g_class": class_loss(_within(logits, batch.known), batch.target),
    }
    weights = {"g": 1.0, "g_class": players.class_weight}
    if players.teacher is not None and players.taught:
        said = players.teacher(seen)
        terms["teacher"] = class_loss(_within(said, batch.known), batch.target)
        weights["teacher"] = spec.teacher_weight
    if spec.cycle_weight:
        back = _full(players.generator, made.faces, batch.back).faces
        terms["cycle"] = (back - batch.faces).abs().mean()
        weights["cycle"] = spec.cycle_weight
    if spec.same_weight:
        stays = (batch.target == batch.labels).float().view(-1, 1, 1, 1)
        terms["same"] = (stays * (made.faces - batch.faces)).abs().mean()
        weights["same"] = spec.same_weight
    if made.change is not None and spec.change_weight:
        terms["change"] = _variation(made.change)
        weights["change"] = spec.change_weight
    if made.flow is not None and spec.smooth_weight:
        terms["smooth"] = _variation(made.flow)
        weights["smooth"] = spec.smooth_weight
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return loss, terms


def _full(generator: nn.Module, faces: Tensor, condition: Tensor) -> Translated:
    made: Translated = generator(faces, condition, faces.new_ones(len(faces)))
    return made


def _flat(scores: Tensor) -> Tensor:
    """Take every patch as a face of its own: the losses are means."""
    return scores.float().flatten()


def _within(logits: Tensor, known: Tensor) -> Tensor:
    """Leave only the labels that the face's database has.

    Source: Choi et al. 2018, §3.3: the loss of a database is minimised over its labels alone.
    """
    return logits.float().masked_fill(~known, -1e4)


def _variation(planes: Tensor) -> Tensor:
    """Mean absolute value plus mean absolute difference of neighbours: sparse, and no scribbles."""
    across = (planes[..., 1:] - planes[..., :-1]).abs().mean()
    down = (planes[..., 1:, :] - planes[..., :-1, :]).abs().mean()
    return planes.abs().mean() + across + down
