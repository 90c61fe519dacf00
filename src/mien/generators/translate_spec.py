"""Options of the engine ``translate``: orthogonal choices that the known recipes are points of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mien.core.errors import Invalid, faults_of, invalid_fields
from mien.core.preprocess import Channels
from mien.training.precision import Device, Precision

Recipe = Literal["published", "modern"]
Head = Literal["rgb", "mask", "warp_residual"]

# What a recipe means, where the parameters say nothing else.
RECIPES: dict[str, dict[str, Any]] = {
    "published": {
        "head": "rgb",
        "loss": "wgan_gp",
        "width": 64,
        "blocks": 6,
        "d_width": 64,
        "d_depth": 6,
        "critic_steps": 5,
        "batch": 16,
        "kimg": 3200.0,
        "lr": 1e-4,
        "lr_d": 1e-4,
        "betas": (0.5, 0.999),
        "decay_from": 0.5,
        "class_weight": 1.0,
        "cycle_weight": 10.0,
        "gp_weight": 10.0,
        "same_weight": 0.0,
        "change_weight": 0.0,
        "smooth_weight": 0.0,
        "teacher_weight": 0.0,
        "ema_kimg": 0.0,
        "augment": (),
        "precision": "fp32",
    },
    "modern": {},
}


class TranslateSpec(BaseModel):
    """Everything that decides a translator, besides the faces it is trained on and its teacher.

    Attributes:
        recipe: where the defaults of all others come from; ``published`` is StarGAN v1.
        head: what the generator gives: a picture (``rgb``, published only), a picture and an
            attention mask (``mask``), or a displacement and a residual (``warp_residual``).
        loss: of the game; ``wgan_gp`` goes with the published networks, ``hinge`` with the others.
        width: channels of the generator at full (published) or a quarter (modern) resolution.
        blocks: residual blocks of the generator.
        d_width: channels of the discriminator's first layer.
        d_depth: halvings of the discriminator.
        spectral: the modern discriminator's layers have slope 1 at most.
        critic_steps: discriminator steps to one of the generator.
        class_weight: of the discriminator's own class loss, in both networks, where there is no
            teacher: beside one it is not needed, and what pleases it is texture.
        teacher_weight: of the frozen teacher's class loss, where there is a teacher.
        cycle_weight: of the way there and back, mean absolute difference; the modern heads start
            from the source as it is and need none, which saves a third of a step. On CUDA the
            gradient of going back through a warp is summed in no fixed order.
        same_weight: of the change to faces that are asked to stay in their class.
        change_weight: of what is painted and its variation between neighbours: what keeps hair
            and background. So large, the face moves and is hardly painted; at a third of it, the
            game ends in smudges around eyes and mouth.
        smooth_weight: of the displacement and its variation between neighbours.
        gp_weight: of the gradient penalty; ``wgan_gp`` only.
        lr: learning rate of the generator.
        lr_d: of the discriminator.
        betas: of Adam.
        decay_from: share of the run after which the learning rates fall linearly to 0.
        batch: real faces a step.
        kimg: thousands of real faces seen in all.
        ema_kimg: half-life of the averaged generator in kimg; 0 keeps no average.
        flip: faces are mirrored half of the time.
        augment: names of differentiable augmentations of all that discriminator and teacher see.
        evaluations: reports (sheets, figures) over the run.
        patience: reports without a better figure before stopping; needs ``hooks.score``.
        seed: of initialisation, order, targets, augmentation.
        precision: ``auto`` uses bf16 where the processor multiplies in it.
        device: where it is trained.
        threads: of the processor; decides the last bits of the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe = "modern"
    head: Head = "warp_residual"
    loss: Literal["wgan_gp", "hinge"] = "hinge"
    width: int = Field(64, ge=4, le=512)
    blocks: int = Field(5, ge=1, le=16)
    d_width: int = Field(32, ge=4, le=512)
    d_depth: int = Field(4, ge=1, le=8)
    spectral: bool = False
    critic_steps: int = Field(1, ge=1, le=20)
    class_weight: float = Field(1.0, ge=0.0)
    teacher_weight: float = Field(1.5, ge=0.0)
    cycle_weight: float = Field(0.0, ge=0.0)
    same_weight: float = Field(10.0, ge=0.0)
    change_weight: float = Field(9.0, ge=0.0)
    smooth_weight: float = Field(15.0, ge=0.0)
    gp_weight: float = Field(0.0, ge=0.0)
    lr: float = Field(5e-4, gt=0.0)
    lr_d: float = Field(1e-3, gt=0.0)
    betas: tuple[float, float] = (0.5, 0.99)
    decay_from: float = Field(0.6, ge=0.0, le=1.0)
    batch: int = Field(32, ge=2, le=4096)
    kimg: float = Field(36.0, gt=0.0)
    ema_kimg: float = Field(2.0, ge=0.0)
    flip: bool = True
    augment: tuple[str, ...] = ()
    evaluations: int = Field(10, ge=1, le=1000)
    patience: int = Field(3, ge=1)
    seed: int = 0
    precision: Precision = "auto"
    device: Device = "auto"
    threads: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.head == "rgb") is not (self.recipe == "published"):
            raise ValueError("the head rgb is the published recipe's, and its only one")
        return self

    @property
    def steps(self) -> int:
        """Discriminator steps in all."""
        return max(1, round(self.kimg * 1000 / self.batch))

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates at a step (counted from 0)."""
        done = step / self.steps
        if done < self.decay_from or self.decay_from >= 1.0:
            return 1.0
        return (1.0 - done) / (1.0 - self.decay_from)


@dataclass(frozen=True, slots=True)
class Domains:
    """What kind of faces a translator is for.

    Attributes:
        size_px: side of the faces.
        channels: gray or rgb.
        classes: number K of labels, the union over the databases.
        known: database → indices of the labels that database has; () means all.
    """

    size_px: int
    channels: Channels
    classes: int
    known: tuple[tuple[int, ...], ...] = ((),)

    @property
    def planes(self) -> int:
        """Planes of a face inside networks."""
        return 1 if self.channels == "gray" else 3

    @property
    def mask_bits(self) -> int:
        """Entries of the mask vector: one a database, none where there is only one."""
        return len(self.known) if len(self.known) > 1 else 0

    @property
    def condition_size(self) -> int:
        """Length of the condition vector: labels, then mask bits."""
        return self.classes + self.mask_bits

    def labels_of(self, database: int) -> tuple[int, ...]:
        """List the labels a database has."""
        return self.known[database] or tuple(range(self.classes))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "known": [list(labels) for labels in self.known]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Domains:
        """Read what ``to_json`` gave."""
        known = tuple(tuple(labels) for labels in values["known"])
        return cls(values["size_px"], values["channels"], values["classes"], known)


def parse_translate_spec(params: Mapping[str, Any]) -> TranslateSpec:
    """Validate plain values over the defaults of their recipe.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault.
    """
    recipe = params.get("recipe", "modern")
    defaults = next((chosen for name, chosen in RECIPES.items() if name == recipe), {})
    try:
        return TranslateSpec.model_validate({**defaults, **params})
    except ValidationError as error:
        raise invalid_fields(
            "ENGINE_PARAMS", "the parameters of the engine translate are wrong", faults_of(error)
        ) from None


def require_size(domains: Domains, spec: TranslateSpec) -> None:
    """Refuse faces that the networks cannot take apart.

    Raises:
        Invalid: ``IMAGE_SIZE``.
    """
    least = 2**spec.d_depth
    if domains.size_px % 4 or domains.size_px < least:
        raise Invalid(
            "IMAGE_SIZE",
            f"faces of {domains.size_px} px do not suit d_depth {spec.d_depth}",
            hint=f"take faces of a multiple of 4 px, at least {least}, or a smaller d_depth",
        )
