"""Options of the engine ``noise``: orthogonal choices that the known recipes are points of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mien.core.errors import Invalid, faults_of, invalid_fields
from mien.generators.gan_losses import GanLoss, Regulariser
from mien.training.precision import Device, Precision

Backbone = Literal["published_cgan", "published_acgan", "dc", "res", "style"]
GeneratorCondition = Literal["concat", "film"]
DiscriminatorCondition = Literal["none", "concat", "aux", "projection", "aux+projection"]


class NoiseSpec(BaseModel):
    """Everything that decides a generator of the family, besides the faces it is trained on.

    Attributes:
        backbone: pair of networks; the published ones fix width and conditions themselves.
        size_px: side of the faces: of the training set.
        channels: 1 gray, 3 RGB: of the training set.
        classes: size of the label space; 0 = unconditional, labels are not used.
        z_dim: length of the noise vector.
        width: channels of the finest layers; coarser ones have more.
        fine: how ``dc`` and ``res`` draw what is finer than two pixels: as their last layer says
            (``free``), or only where it changes (``edges``), so that no even place gets a pattern.
        g_condition: how the label enters the generator.
        d_condition: how it enters the discriminator: class logits (``aux``), an inner product
            with the features (``projection``), both, or as an image plane (``concat``).
        loss: of the game.
        regulariser: gradient penalty of the discriminator: on real faces, or also on generated.
        gamma: its weight, for the whole sum over a face's pixels; with ``wgan_gp``, λ.
        reg_every: steps between two penalties (lazy regularisation; ``wgan_gp``: every step).
        path_length_weight: of the generator's path-length penalty; 0 = none; style only.
        path_length_every: steps between two of them.
        aux_weight: of the class loss in both networks.
        aux_on_fakes: the discriminator learns classes from generated faces too, as published;
            the modern recipe does not, for that is one way to collapse.
        augment: names of differentiable augmentations of all the discriminator sees.
        mirror: real faces are mirrored at random.
        mixing: probability of style mixing in a face; style only.
        ema_kimg: half-life of the averaged generator; 0 = no average.
        n_critic: discriminator steps a generator step.
        batch: faces a step.
        ghost: faces over which batch statistics are taken, where a network has any; also the
            least part a batch is split into when memory runs out.
        lr_g: learning rate of the generator.
        lr_d: of the discriminator.
        betas: of Adam.
        kimg: thousands of real faces to see.
        lr_decay: share of the run, at its end, over which the learning rates fall to a tenth.
        transition_start_kimg: labels have no weight before.
        transition_kimg: and full weight so much later (0 = from the start).
        evaluations: sheets and scores over the run.
        patience: evaluations without a better figure before stopping; 0 = never.
        precision: ``auto`` uses bf16 where the processor multiplies in it.
        device: ``auto`` uses CUDA where there is a device.
        threads: of the processor; part of what decides the last bits.
        seed: of initialisation, order, noise, augmentation, dropout.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: Backbone = "res"
    size_px: int = Field(48, ge=8, le=1024)
    channels: Literal[1, 3] = 1
    classes: int = Field(7, ge=0, le=1000)
    z_dim: int = Field(64, ge=1, le=2048)
    width: int = Field(32, ge=2, le=1024)
    fine: Literal["free", "edges"] = "free"
    g_condition: GeneratorCondition = "film"
    d_condition: DiscriminatorCondition = "aux+projection"
    loss: GanLoss = "rpgan"
    regulariser: Regulariser = "r1r2"
    gamma: float = Field(1.0, ge=0.0)
    reg_every: int = Field(8, ge=1)
    path_length_weight: float = Field(0.0, ge=0.0)
    path_length_every: int = Field(4, ge=1)
    aux_weight: float = Field(0.2, ge=0.0)
    aux_on_fakes: bool = False
    augment: tuple[str, ...] = ()
    mirror: bool = True
    mixing: float = Field(0.0, ge=0.0, le=1.0)
    ema_kimg: float = Field(5.0, ge=0.0)
    n_critic: int = Field(1, ge=1, le=20)
    batch: int = Field(32, ge=2)
    ghost: int = Field(32, ge=1)
    lr_g: float = Field(1e-3, gt=0.0)
    lr_d: float = Field(1e-3, gt=0.0)
    betas: tuple[float, float] = (0.0, 0.99)
    kimg: float = Field(200.0, gt=0.0)
    lr_decay: float = Field(0.5, ge=0.0, le=1.0)
    transition_start_kimg: float = Field(0.0, ge=0.0)
    transition_kimg: float = Field(0.0, ge=0.0)
    evaluations: int = Field(10, ge=1)
    patience: int = Field(0, ge=0)
    precision: Precision = "auto"
    device: Device = "auto"
    threads: int = Field(1, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch % self.ghost:
            raise ValueError(f"batch {self.batch} is no multiple of ghost {self.ghost}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas {self.betas} are outside [0, 1)")
        if self.loss == "wgan_gp" and self.regulariser != "none":
            raise ValueError("wgan_gp brings its own penalty; set regulariser to none")
        fixed = {"published_cgan": "concat", "published_acgan": "aux"}.get(self.backbone)
        if fixed is not None and self.unconditional:
            raise ValueError(f"{self.backbone} needs labels; classes is 0")
        if fixed is not None and (self.g_condition, self.d_condition) != ("concat", fixed):
            raise ValueError(
                f"{self.backbone} has the g_condition concat and the d_condition {fixed}"
            )
        if self.size_px % 4:
            raise ValueError(f"size_px {self.size_px} is no multiple of 4")
        return self

    @property
    def unconditional(self) -> bool:
        """Whether labels are not used."""
        return self.classes == 0

    @property
    def has_aux(self) -> bool:
        """Whether the discriminator has class logits."""
        return not self.unconditional and self.d_condition in ("aux", "aux+projection")


def parse_noise_spec(params: Mapping[str, Any]) -> NoiseSpec:
    """Validate plain values.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault.
    """
    try:
        return NoiseSpec.model_validate(dict(params))
    except ValidationError as error:
        raise invalid_fields(
            "ENGINE_PARAMS", "the parameters of the engine noise are wrong", faults_of(error)
        ) from None


def spec_for(params: Mapping[str, Any], size_px: int, channels: int, classes: int) -> NoiseSpec:
    """Complete parameters with what the training set says.

    Args:
        params: of ``NoiseSpec``; size, channels and classes are the set's and need not be there,
            but for ``classes: 0``, which makes an unconditional generator.
        size_px: of the faces.
        channels: 1 or 3.
        classes: of the label space.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault, also those that contradict the set.
    """
    found = {"size_px": size_px, "channels": channels, "classes": classes}
    given = dict(params)
    if given.get("classes") == 0:
        found["classes"] = 0
    wrong = {
        key: f"{given[key]} was asked for, but the training set's is {value}"
        for key, value in found.items()
        if key in given and given[key] != value
    }
    if wrong:
        raise invalid_fields("ENGINE_PARAMS", "the training set is another one", wrong)
    return parse_noise_spec({**given, **found})


def spec_from_json(values: Mapping[str, Any]) -> NoiseSpec:
    """Read a spec as a generator folder holds it.

    Raises:
        Invalid: ``GENERATOR_FORMAT`` when it is none of this engine's.
    """
    try:
        return parse_noise_spec(values)
    except Invalid as error:
        raise Invalid(
            "GENERATOR_FORMAT",
            f"the generator was written by another release: {error.message}",
            hint="train it again",
        ) from None
