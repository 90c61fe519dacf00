"""What all trained engines share: what they are trained on, what training gives, and its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mien.core.arrays import Int, UInt8
from mien.core.closure import Closure
from mien.core.digest import digest_of
from mien.core.errors import Invalid, MienError
from mien.core.expression import Expression, parse_expressions
from mien.core.faces import FaceArrays, concat
from mien.core.hooks import Cancelled, OnProgress, Save, never_cancelled, no_progress, no_save
from mien.core.preprocess import Channels
from mien.training.weights import damaged, load_weights, save_weights

# A network (N, C, S, S) float in [-1, 1] → logits (N, K): differentiable, unlike a ``Scorer``.
Teacher = Callable[[Tensor], Tensor]
# Figures of a batch of generated faces and their intended class indices: label fidelity, distance.
Score = Callable[[UInt8, Int], Mapping[str, float]]
# Given kimg and a sheet's faces (R, C, S, S[, 3]) uint8, rows = identities, columns = classes.
OnSheet = Callable[[float, UInt8], None]
_SEEN = "closure.digests"  # the name of the tensor that holds them


def no_sheet(kimg: float, faces: UInt8) -> None:
    """Keep no sheet."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Faces a generator is trained on.

    Attributes:
        faces: square, all of one size; ``labels`` index ``classes``.
        classes: the label space, in canonical order.
        database: (N,) int64 index of the database each face came from, for training on several
            with partly known labels; all 0 where there is one.
        known: database → indices of the classes that database labels; () means all of them.
    """

    faces: FaceArrays
    classes: tuple[Expression, ...]
    database: Int
    known: tuple[tuple[int, ...], ...] = ((),)

    @property
    def size_px(self) -> int:
        """Side of the faces."""
        return int(self.faces.images.shape[1])

    @property
    def channels(self) -> Channels:
        """Kind of the faces."""
        return "gray" if self.faces.images.ndim == 3 else "rgb"


def training_set(
    faces: FaceArrays, classes: Sequence[Expression], *, conditional: bool = True
) -> TrainingSet:
    """Check one database's faces.

    Args:
        faces: to train on.
        classes: the label space.
        conditional: the generator learns labels; one that only invents identities needs none.

    Raises:
        Invalid: ``EMPTY_SET``; ``IMAGE_SIZE`` when not square; ``UNLABELLED`` when no face has a
            label; ``ONE_CLASS``; ``ONE_SUBJECT`` when all faces are one person's.
    """
    size = faces.images.shape[1:3]
    if not len(faces):
        raise Invalid("EMPTY_SET", "there is no face to train a generator on")
    if size[0] != size[1]:
        raise Invalid(
            "IMAGE_SIZE",
            f"the faces are {size[1]}×{size[0]}; a generator needs square ones",
            hint="preprocess them first",
        )
    labelled = faces.labels >= 0
    if conditional and not labelled.any():
        raise Invalid(
            "UNLABELLED",
            "no face has a label of the label space",
            hint="train on a labelled version, or correct `expressions`",
        )
    found = np.unique(faces.labels[labelled])
    if conditional and len(found) < 2:
        raise Invalid(
            "ONE_CLASS",
            f"all labelled faces show {classes[int(found[0])]}; two classes are the least",
            hint="train on a version with several expressions",
        )
    people = {s for s in faces.subjects if s}
    if len(people) == 1:
        raise Invalid(
            "ONE_SUBJECT",
            f"all faces are of {next(iter(people))}; a generator would copy that person",
            hint="train on a version with many people",
        )
    return TrainingSet(faces, tuple(classes), np.zeros(len(faces), np.int64))


def two_databases(first: TrainingSet, second: TrainingSet) -> TrainingSet:
    """Join two databases of one label space, each of which may lack some of its labels.

    Raises:
        Invalid: ``UNEQUAL_SIZES`` when their faces differ in size or colour.
    """
    if first.faces.images.shape[1:] != second.faces.images.shape[1:]:
        raise Invalid(
            "UNEQUAL_SIZES",
            f"the databases hold faces of {first.faces.images.shape[1:]} and "
            f"{second.faces.images.shape[1:]}",
            hint="prepare both alike",
        )
    parts = (first, second)
    return TrainingSet(
        faces=concat([part.faces for part in parts]),
        classes=first.classes,
        database=np.repeat(np.arange(2), [len(part.faces) for part in parts]),
        known=tuple(
            tuple(int(i) for i in np.unique(part.faces.labels[part.faces.labels >= 0]))
            for part in parts
        ),
    )


@dataclass(frozen=True, slots=True)
class TrainHooks:
    """How a training loop speaks to the stage that runs it.

    Attributes:
        progress: told about a hundred times, in kimg, with the current losses.
        cancelled: asked before every step.
        save: given a state to go on from, at most once in ``save_every_s``, and on cancelling.
        sheet: given the fixed sheet of faces now and then.
        score: figures of generated faces for the early stop, or None: no early stop.
        teacher: a frozen classifier for the loss, or None. Never the judge.
        resume: a state that ``save`` was given, or None.
        save_every_s: least time between two saves; affects no result.
    """

    progress: OnProgress = no_progress
    cancelled: Cancelled = never_cancelled
    save: Save = no_save
    sheet: OnSheet = no_sheet
    score: Score | None = None
    teacher: Teacher | None = None
    resume: Mapping[str, Any] | None = None
    save_every_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        weights: of the sampling network (the average, where there is one), fp32, on the processor;
            of the best evaluation where training stopped early, of the end otherwise.
        spec: the network's architecture and options, plain values: all that is needed to build it.
        history: every report: ``kimg`` and losses and figures by name.
        kimg: thousands of real faces seen.
        wall_s: seconds over all resumptions.
        device: kind of device.
    """

    weights: Mapping[str, Tensor]
    spec: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    kimg: float
    wall_s: float
    device: str


class Train(Protocol):
    """How every trainable engine is trained; its module names one of these ``train``."""

    def __call__(self, data: TrainingSet, params: Mapping[str, Any], hooks: TrainHooks) -> Trained:
        """Train; wrong parameters are ``Invalid`` ``ENGINE_PARAMS`` naming every key."""
        ...


@dataclass(frozen=True, slots=True)
class Generator:
    """A trained engine as read from its folder.

    Attributes:
        engine: name in the engine table.
        preset: the name it was trained under.
        classes: the label space it was trained with.
        size_px: side of its faces.
        channels: gray or rgb.
        spec: of its network.
        weights: of its network.
        closure: what it saw.
        preprocess: how the faces it was trained on were prepared, plain values; a photo that it
            is given must be prepared likewise.
        figures: what is known about it: recipe, kimg, seconds, losses.
        digest: of engine, spec and weights: its name in every provenance.
    """

    engine: str
    preset: str
    classes: tuple[Expression, ...]
    size_px: int
    channels: Channels
    spec: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    closure: Closure
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


def save_generator(folder: Path, generator: Generator) -> str:
    """Write a generator folder, whole or not at all; returns the generator's digest."""
    described = {
        "engine": generator.engine,
        "preset": generator.preset,
        "classes": [str(c) for c in generator.classes],
        "size_px": generator.size_px,
        "channels": generator.channels,
        "spec": dict(generator.spec),
        "subjects": sorted(generator.closure.subjects),
        "preprocess": dict(generator.preprocess),
        "figures": dict(generator.figures),
    }
    tensors = {**generator.weights, _SEEN: _packed(generator.closure.digests)}
    weights = save_weights(folder, "generator", tensors, described)
    return _digest(generator.engine, described["spec"], weights)


def load_generator(folder: Path, engine: str) -> Generator:
    """Read a generator folder of an engine, verified.

    Raises:
        NotFound: ``GENERATOR_MISSING``.
        Invalid: ``GENERATOR_FORMAT``; ``OTHER_ENGINE`` when another engine's is there.
        Corrupt: ``GENERATOR_FILE``.
    """
    described, weights, digest = load_weights(folder, "generator")
    try:
        if described["engine"] != engine:
            raise Invalid(
                "OTHER_ENGINE",
                f"{folder} was trained by the engine {described['engine']!r}, not {engine!r}",
                hint=f"name a folder that the engine {engine} left",
            )
        return Generator(
            engine=engine,
            preset=described["preset"],
            classes=parse_expressions(described["classes"]),
            size_px=int(described["size_px"]),
            channels=described["channels"],
            spec=described["spec"],
            weights={name: w for name, w in weights.items() if name != _SEEN},
            closure=Closure(frozenset(described["subjects"]), _unpacked(weights[_SEEN])),
            preprocess=described["preprocess"],
            figures=described["figures"],
            digest=_digest(engine, described["spec"], digest),
        )
    except MienError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise damaged("generator", folder, str(error)) from None


def read_closure(folder: Path) -> Closure:
    """Read what a generator of any engine saw.

    Raises:
        NotFound: ``GENERATOR_MISSING``. Invalid: ``GENERATOR_FORMAT``. Corrupt: ``GENERATOR_FILE``.
    """
    described, weights, _ = load_weights(folder, "generator")
    try:
        return Closure(frozenset(described["subjects"]), _unpacked(weights[_SEEN]))
    except (KeyError, TypeError) as error:
        raise damaged("generator", folder, str(error)) from None


def require_classes(generator: Generator, wanted: Sequence[Expression]) -> None:
    """Refuse a request for expressions that a generator was not trained with.

    Raises:
        Invalid: ``OTHER_LABEL_SPACE`` naming them.
    """
    missing = [str(e) for e in wanted if e not in generator.classes]
    if missing:
        raise Invalid(
            "OTHER_LABEL_SPACE",
            f"the generator {generator.preset!r} was not trained with {', '.join(missing)}",
            hint=f"it knows: {', '.join(generator.classes)}",
        )


def _packed(digests: Iterable[str]) -> Tensor:
    """Pack digests (64 hex digits) as bytes (N, 32): thousands of them as text are megabytes."""
    data = b"".join(bytes.fromhex(d) for d in sorted(digests))
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(-1, 32).copy())


def _unpacked(packed: Tensor) -> frozenset[str]:
    return frozenset(bytes(row).hex() for row in packed.numpy())


def _digest(engine: str, spec: Any, weights: str) -> str:
    return digest_of({"engine": engine, "spec": spec, "weights": weights})
