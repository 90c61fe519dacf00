"""What is trained and how, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mien.core.errors import Invalid, invalid_fields
from mien.core.expression import Expression
from mien.core.preprocess import Channels
from mien.core.split import Base, Protocol
from mien.training.precision import Device, Precision

Head = Literal["expression", "affect"]
Padding = Literal["same", "valid"]


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """A recogniser's architecture and label space.

    Attributes:
        network: ``small``, ``seed``, ``vgg16``, or an entry point of group ``mien.classifiers``.
        classes: the label space, in order; at least two.
        size_px: side of the square input.
        channels: ``gray`` (1) or ``rgb`` (3).
        heads: ``expression`` (one logit a class), ``affect`` (valence and arousal), or both.
        padding: of the seed network's convolutions.
        width: factor on channels and dense units, in (0, 8].
    """

    network: str
    classes: tuple[Expression, ...]
    size_px: int = 64
    channels: Channels = "gray"
    heads: tuple[Head, ...] = ("expression",)
    padding: Padding = "same"
    width: float = 1.0

    def __post_init__(self) -> None:
        wrong: dict[str, str] = {}
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            wrong["classes"] = f"{[str(c) for c in self.classes]} are not two or more, distinct"
        if not 8 <= self.size_px <= 1024:
            wrong["size_px"] = f"{self.size_px} is outside 8..1024"
        if self.channels not in ("gray", "rgb"):
            wrong["channels"] = f"{self.channels!r} is not one of gray, rgb"
        if not self.heads or set(self.heads) - {"expression", "affect"}:
            wrong["heads"] = f"{self.heads!r} are not some of expression, affect"
        if self.padding not in ("same", "valid"):
            wrong["padding"] = f"{self.padding!r} is not one of same, valid"
        if not 0.0 < self.width <= 8.0:
            wrong["width"] = f"{self.width} is outside (0, 8]"
        if wrong:
            raise invalid_fields("CLASSIFIER_SPEC", "the classifier spec is wrong", wrong)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one input image at rest: (S, S) or (S, S, 3)."""
        side = (self.size_px, self.size_px)
        return side if self.channels == "gray" else (*side, 3)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, read back by ``from_json``."""
        return {**asdict(self), "classes": [str(c) for c in self.classes]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClassifierSpec:
        """Build a spec from plain values.

        Raises:
            Invalid: ``CLASSIFIER_SPEC`` when a field is missing, unknown or wrong.
        """
        try:
            known = dict(values)
            known["classes"] = tuple(Expression(c) for c in known["classes"])
            known["heads"] = tuple(known.get("heads", ("expression",)))
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(
                "CLASSIFIER_SPEC",
                f"the classifier spec cannot be read: {error}",
                hint="restore the model's folder from a good copy, or train it again",
            ) from None


@dataclass(frozen=True, slots=True)
class FitSpec:
    """How a recogniser is trained; together with spec and data it decides the weights.

    Attributes:
        protocol: ``steps``: a fixed number of images on a fixed schedule, whatever the size of the
            training set; ``paper``: epochs with early stopping, Adam, as published.
        kimg: thousands of images seen in all (``steps``).
        epochs: at most so many (``paper``).
        patience: epochs without a better validation loss before stopping (``paper``).
        batch: images a step.
        lr: peak learning rate; None = the protocol's and network's own.
        evaluations: validations over the run (``steps``; ``paper`` validates every epoch).
        base: augmentation of every batch: ``plain`` none, ``geometric`` reflection, translation,
            rotation, scale, crop.
        seed: of initialisation, batch order, augmentation and dropout.
        precision: ``auto`` uses bf16 where the processor multiplies in it.
        device: ``auto`` uses CUDA where there is a device.
        threads: of the processor; part of what decides the last bits of the result.
        label_smoothing: in [0, 1); None = 0.1 for ``steps``, 0 for ``paper``.
        affect_weight: weight of 1 − CCC against the cross-entropy.
    """

    protocol: Protocol = "steps"
    kimg: float = 12.0
    epochs: int = 50
    patience: int = 5
    batch: int = 16
    lr: float | None = None
    evaluations: int = 10
    base: Base = "geometric"
    seed: int = 0
    precision: Precision = "auto"
    device: Device = "auto"
    threads: int = 1
    label_smoothing: float | None = None
    affect_weight: float = 1.0

    def __post_init__(self) -> None:
        wrong: dict[str, str] = {}
        for name in ("kimg", "epochs", "patience", "batch", "evaluations", "threads"):
            if not getattr(self, name) > 0:
                wrong[name] = f"{getattr(self, name)} is not positive"
        if self.lr is not None and not self.lr > 0:
            wrong["lr"] = f"{self.lr} is not positive"
        if self.label_smoothing is not None and not 0.0 <= self.label_smoothing < 1.0:
            wrong["label_smoothing"] = f"{self.label_smoothing} is outside [0, 1)"
        if not self.affect_weight >= 0:
            wrong["affect_weight"] = f"{self.affect_weight} is negative"
        choices = {
            "protocol": ("steps", "paper"),
            "base": ("plain", "geometric"),
            "precision": ("auto", "fp32", "bf16"),
            "device": ("auto", "cpu", "cuda"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                wrong[name] = f"{getattr(self, name)!r} is not one of {', '.join(allowed)}"
        if wrong:
            raise invalid_fields("FIT_SPEC", "the training configuration is wrong", wrong)

    @property
    def smoothing(self) -> float:
        """Label smoothing in effect."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return 0.1 if self.protocol == "steps" else 0.0
