"""What the two networks of the engine ``noise`` are told in one step: the losses of a turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mien.core.digest import seed_of
from mien.generators.gan_losses import (
    class_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    squared_gradient,
)
from mien.generators.noise_spec import NoiseSpec
from mien.training.device import Placement

# Of a report, as means over its steps; the last counts them.
SUMS = ("d_loss", "d_class_loss", "g_loss", "g_class_loss", "logit_real", "logit_fake", "steps")


@dataclass(frozen=True, slots=True)
class Turn:
    """One batch of the game, this process's part.

    Attributes:
        name: of its randomness: step and turn.
        first: place of its first face in the whole batch.
        real: (N, C, S, S) real faces.
        labels: (N,) int64 of the real faces, and what the generated ones shall show; or None.
        z: (N, Z) noise.
        mixed: (N, Z) noise to mix in, or None.
        weight: how much labels count, in [0, 1].
    """

    name: tuple[object, ...]
    first: int
    real: Tensor
    labels: Tensor | None
    z: Tensor
    mixed: Tensor | None
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """The two networks and what has been said about them since the last report.

    Attributes:
        spec: options.
        placement: where they run.
        generator: makes faces.
        discriminator: judges them.
        sums: (len(SUMS),) float64 there.
    """

    spec: NoiseSpec
    placement: Placement
    generator: nn.Module
    discriminator: nn.Module
    sums: Tensor

    def d_loss(self, turn: Turn, part: slice) -> Tensor:
        """Score how the discriminator tells real from generated and names classes; a scalar."""
        spec, y = self.spec, self._begin(turn, part, "loss")
        with torch.no_grad():
            fake = self._fake(turn, part)
        real = self._seen(turn.real[part], turn, "real", part)
        fake = self._seen(fake, turn, "fake", part)
        said_real, classes_real = self._judged(real, y)
        said_fake, classes_fake = self._judged(fake, y)
        loss = discriminator_loss(spec.loss, said_real, said_fake)
        named = loss.new_zeros(())
        if classes_real is not None and y is not None:
            named = class_loss(classes_real, y)
            if spec.aux_on_fakes and classes_fake is not None:
                named = named + class_loss(classes_fake, y)
        if spec.loss == "wgan_gp":
            mix = torch.rand(len(real), device=real.device)
            loss = loss + spec.gamma * gradient_penalty(
                lambda x: cast("Tensor", self.discriminator(x, y)[0]), real, fake, mix
            )
        self._note(turn, part, d_loss=loss, d_class_loss=named)
        self._note(turn, part, logit_real=said_real, logit_fake=said_fake)
        return loss + spec.aux_weight * named

    def penalty(self, turn: Turn, part: slice) -> Tensor:
        """Score how steep the discriminator is, for all the steps until the next time; a scalar.

        In fp32, for it is a gradient of a gradient.
        """
        y = self._begin(turn, part, "penalty")
        faces = [turn.real[part]]
        if self.spec.regulariser == "r1r2":
            with torch.no_grad():
                faces.append(self._fake(turn, part))
        steepness = []
        for kind, face in zip(("real", "fake"), faces, strict=False):
            x = face.detach().requires_grad_()
            said, _ = self.discriminator(self._seen(x, turn, kind, part), y)
            steepness.append(squared_gradient(said, x))
        return torch.stack(steepness).sum() * (0.5 * self.spec.gamma * self.spec.reg_every)

    def g_loss(self, turn: Turn, part: slice) -> Tensor:
        """Score how badly the generated faces pass as real and as their class; a scalar."""
        spec, y = self.spec, self._begin(turn, part, "loss")
        fake = self._seen(self._fake(turn, part), turn, "fake", part)
        said, classes = self._judged(fake, y)
        said_real = None
        if spec.loss == "rpgan":
            with torch.no_grad():
                real = self._seen(turn.real[part], turn, "real", part)
                said_real, _ = self._judged(real, y)
        loss = generator_loss(spec.loss, said, said_real)
        named = loss.new_zeros(())
        if classes is not None and y is not None:
            named = class_loss(classes, y)
        self._note(turn, part, g_loss=loss, g_class_loss=named)
        return loss + spec.aux_weight * turn.weight * named

    def path_loss(self, turn: Turn, part: slice, mean: Tensor, moved: list[Tensor]) -> Tensor:
        """Score how unevenly styles move the face, on half of the part; a scalar.

        Args:
            turn: to draw for.
            part: of it.
            mean: length of the path so far, a scalar.
            moved: gets the new one.
        """
        from mien.generators.noise_style import path_length

        half = slice(part.start, part.start + max(1, (part.stop - part.start) // 2))
        generator = cast("Any", self.generator)
        styles = generator.styles(turn.z[half], self._begin(turn, half, "path"))
        found, new = path_length(generator.draw(styles), styles, mean)
        moved.append(new.detach())
        return found * (self.spec.path_length_weight * self.spec.path_length_every)

    def _begin(self, turn: Turn, part: slice, what: str) -> Tensor | None:
        """Start the random draws of a part, the same however often it is asked; its labels."""
        self.placement.seed(self._seed(turn, part, what))
        return _of(turn.labels, part)

    def _seed(self, turn: Turn, part: slice, what: str) -> int:
        return seed_of(what, self.spec.seed, *turn.name, turn.first + part.start)

    def _fake(self, turn: Turn, part: slice) -> Tensor:
        with self.placement.autocast():
            made = self.generator(turn.z[part], _of(turn.labels, part), _of(turn.mixed, part))
        return cast("Tensor", made.float())

    def _judged(self, faces: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with self.placement.autocast():
            said, classes = self.discriminator(faces, labels)
        return said.float(), None if classes is None else classes.float()

    def _seen(self, faces: Tensor, turn: Turn, kind: str, part: slice) -> Tensor:
        """Augment what the discriminator sees, real or generated, differently each time."""
        if not self.spec.augment:
            return faces
        return _augment()(faces, self.spec.augment, self._seed(turn, part, f"augment {kind}"))

    def _note(self, turn: Turn, part: slice, **values: Tensor) -> None:
        """Add a part's means to the report."""
        share = (part.stop - part.start) / len(turn.real)
        for name, value in values.items():
            self.sums[SUMS.index(name)] += value.detach().double().mean() * share


def draw_noise(
    spec: NoiseSpec, name: tuple[object, ...], mine: slice, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Draw a turn's noise for the whole batch and take this process's part.

    Returns:
        Noise (N, Z), and a second one to mix in, which equals the first where nothing is mixed;
        None when styles are never mixed.
    """
    source = torch.Generator().manual_seed(seed_of("noise", spec.seed, *name))
    drawn = torch.randn(spec.batch, 2 * spec.z_dim, generator=source)
    z, other = drawn[mine].to(device).chunk(2, 1)
    if spec.mixing <= 0:
        return z, None
    chosen = torch.rand(spec.batch, generator=source)[mine].to(device) < spec.mixing
    return z, torch.where(chosen[:, None], other, z)


def condition_weight(spec: NoiseSpec, kimg: float) -> float:
    """Say how much labels count: 0 at first, rising to 1 over the transition.

    Source: Shahbazi et al. 2022, "Collapse by conditioning", §4.
    """
    since = kimg - spec.transition_start_kimg
    if spec.transition_kimg <= 0:
        return float(since >= 0)
    return min(1.0, max(0.0, since / spec.transition_kimg))


def _of(values: Tensor | None, part: slice) -> Tensor | None:
    return None if values is None else values[part]


def _augment() -> Callable[[Tensor, tuple[str, ...], int], Tensor]:
    from mien.generators.gan_augment import augment

    return augment
