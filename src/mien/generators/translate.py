"""The engine ``translate``: give a face another expression, and leave the rest of it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from mien.core.arrays import Float, Int, UInt8
from mien.core.digest import digest_of, seed_of
from mien.core.errors import Corrupt, Invalid, faults_of, invalid_fields
from mien.core.generation import FaceRequest, GeneratedFace
from mien.core.preprocess import Channels, PreprocessSpec
from mien.generators.trained import (
    Generator,
    Trained,
    TrainHooks,
    TrainingSet,
    load_generator,
    require_classes,
)
from mien.generators.translate_batches import conditions
from mien.generators.translate_fit import fit_translator
from mien.generators.translate_networks import build_generator
from mien.generators.translate_spec import Domains, TranslateSpec, parse_translate_spec
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess
from mien.training.device import place, reproducible
from mien.training.tensors import planes, to_images, to_network

_VERSION = 1  # raised whenever the same requests would give other pictures: part of the digest
# Faces translated at a time, always padded to as many: convolutions of another batch size may
# round differently, and the same request must give the same bytes.
MICRO_BATCH = 32


class SamplingParams(BaseModel):
    """How a trained translator is used.

    Attributes:
        generator: its folder.
        intensity: factor on the intensity of every request.
        spread: second and further variations of a face are weaker by up to this share.
        device: where; another kind of device gives other last bits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: Path
    intensity: float = Field(1.0, ge=0.0, le=1.0)
    spread: float = Field(0.4, ge=0.0, le=1.0)
    device: Literal["cpu", "cuda"] = "cpu"


def train(data: TrainingSet, params: Mapping[str, Any], hooks: TrainHooks) -> Trained:
    """Train a translator.

    Args:
        data: labelled faces; unlabelled ones are left out.
        params: of ``TranslateSpec``.
        hooks: as of every trainable engine.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault; as ``fit_translator`` otherwise.
    """
    return fit_translator(parse_translate_spec(params), data, hooks)


class Translator:
    """A trained network as a plain function of arrays.

    Args:
        generator: as read from its folder.
        device: where to compute.

    Raises:
        Invalid: ``GENERATOR_FORMAT`` when its spec is another release's.
        Corrupt: ``WEIGHTS`` when its weights are not of its network.
    """

    def __init__(self, generator: Generator, device: Literal["cpu", "cuda"] = "cpu") -> None:
        spec, self.domains = _described(generator)
        self._placement = place(device, "fp32")
        with torch.random.fork_rng(devices=[]):
            network = build_generator(self.domains, spec)
        try:
            network.load_state_dict(dict(generator.weights))
        except RuntimeError as error:
            raise Corrupt(
                "WEIGHTS",
                f"the weights of {generator.preset!r} are not of its network: {error}",
                hint="train the generator again",
            ) from None
        ready: nn.Module = network.eval().requires_grad_(False)
        self._network = ready.to(  # type: ignore[call-overload]
            self._placement.device, memory_format=torch.channels_last
        )

    def translate(self, images: UInt8, labels: Int, intensities: Float) -> UInt8:
        """Give every face an expression.

        A face's result depends on nothing but the face, its label and its intensity.

        Args:
            images: (N, S, S) or (N, S, S, 3) uint8, of the generator's size and channels.
            labels: (N,) int64 indices of the generator's classes.
            intensities: (N,) float32 in [0, 1]; 0 leaves the face as it is.

        Returns:
            (N, S, S[, 3]) uint8.

        Raises:
            Invalid: ``IMAGE_SIZE``, ``LABEL_OUT_OF_RANGE``, ``INTENSITY_OUT_OF_RANGE``.
        """
        self._check(images, labels, intensities)
        made = np.empty_like(images)
        with reproducible(self._placement, 1), torch.inference_mode():
            for start in range(0, len(images), MICRO_BATCH):
                part = slice(start, start + MICRO_BATCH)
                made[part] = self._batch(images[part], labels[part], intensities[part])
        return made

    def _batch(self, images: UInt8, labels: Int, intensities: Float) -> UInt8:
        device, count = self._placement.device, len(images)
        rows = np.arange(MICRO_BATCH) % count  # padded with repeats
        faces = to_network(planes(torch.from_numpy(images[rows])).to(device))
        faces = faces.contiguous(memory_format=torch.channels_last)
        condition = conditions(labels[rows], self._databases(labels[rows]), self.domains)
        strength = torch.from_numpy(intensities[rows].astype(np.float32)).to(device)
        made = to_images(self._network(faces, condition.to(device), strength).faces)
        translated: UInt8 = made.cpu().numpy()[:count]
        return translated

    def _databases(self, labels: Int) -> Int:
        """Name for every label the first database that has it."""
        domains = self.domains
        first = [
            next((d for d in range(len(domains.known)) if k in domains.labels_of(d)), 0)
            for k in range(domains.classes)
        ]
        return np.asarray(first, np.int64)[labels]

    def _check(self, images: UInt8, labels: Int, intensities: Float) -> None:
        side = (self.domains.size_px, self.domains.size_px)
        wanted = side if self.domains.channels == "gray" else (*side, 3)
        if images.shape[1:] != wanted or images.dtype != np.uint8:
            raise Invalid(
                "IMAGE_SIZE",
                f"the faces are {images.dtype} {images.shape[1:]}, the generator's uint8 {wanted}",
                hint="bring them to the generator's size and channels first",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.domains.classes:
            raise Invalid(
                "LABEL_OUT_OF_RANGE",
                f"a label is outside 0..{self.domains.classes - 1}",
                hint="labels are indices of the generator's classes",
            )
        if not bool(((intensities >= 0.0) & (intensities <= 1.0)).all()):
            raise Invalid(
                "INTENSITY_OUT_OF_RANGE",
                "an intensity is outside [0, 1]",
                hint="0 leaves a face as it is, 1 is the full expression",
            )


class TranslateEngine:
    """Expressions on given faces, invented or photographed, by a trained translator.

    Source: Choi et al. 2018, "StarGAN"; the networks say where they differ.
    """

    train = staticmethod(train)

    def __init__(self, generator: Generator, params: SamplingParams) -> None:
        self._generator, self._params = generator, params
        self._translator = Translator(generator, params.device)
        self._digest = digest_of(
            {
                "engine": "translate",
                "version": _VERSION,
                "generator": generator.digest,
                "intensity": params.intensity,
                "spread": params.spread,
                "device": params.device,
                "micro_batch": MICRO_BATCH,
            }
        )

    @classmethod
    def from_params(cls, params: Mapping[str, Any], assets: Path | None) -> TranslateEngine:
        """Build the engine from a generator folder.

        Raises:
            Invalid: ``ENGINE_PARAMS`` naming every key at fault; ``OTHER_ENGINE``,
                ``GENERATOR_FORMAT``.
            NotFound: ``GENERATOR_MISSING``.
            Corrupt: ``GENERATOR_FILE``, ``WEIGHTS``.
        """
        del assets
        try:
            checked = SamplingParams.model_validate(dict(params))
        except ValidationError as error:
            raise invalid_fields(
                "ENGINE_PARAMS",
                "the parameters of the engine translate are wrong",
                faults_of(error),
                hint="a trained translator is used with `generator`, the folder training left",
            ) from None
        return cls(load_generator(checked.generator, "translate"), checked)

    @property
    def name(self) -> str:
        """Name in the engine table."""
        return "translate"

    @property
    def digest(self) -> str:
        """Name of this exact instance: version, weights, sampling options."""
        return self._digest

    def translate(self, images: UInt8, labels: Int, intensities: Float) -> UInt8:
        """Give every face an expression: see ``Translator.translate``."""
        return self._translator.translate(images, labels, intensities)

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order; memory holds one micro-batch.

        Raises:
            Invalid: ``SOURCE_MISSING``, ``AFFECT_UNSUPPORTED``, ``INTENSITY_OUT_OF_RANGE``,
                ``OTHER_LABEL_SPACE``.
        """
        waiting: list[FaceRequest] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == MICRO_BATCH:
                yield from self._make(waiting)
                waiting = []
        if waiting:
            yield from self._make(waiting)

    def _make(self, requests: list[FaceRequest]) -> Iterator[GeneratedFace]:
        images = np.stack([self._source(request) for request in requests])
        labels = np.asarray([self._label(request) for request in requests], np.int64)
        strength = np.asarray([self._strength(r) for r in requests], np.float32)
        made = self.translate(images, labels, strength)
        for request, image in zip(requests, made, strict=True):
            yield GeneratedFace(request=request, image=image)

    def _strength(self, request: FaceRequest) -> float:
        """Scale the intensity: the network draws nothing, so variations differ in strength."""
        if not 0.0 <= request.intensity <= 1.0:
            raise Invalid(
                "INTENSITY_OUT_OF_RANGE",
                f"{request.id}: {request.intensity} is outside [0, 1]",
                hint="0 leaves a face as it is, 1 is the full expression",
            )
        full = request.intensity * self._params.intensity
        if request.variation == 0:
            return full
        name = (self._digest, request.seed, request.identity, request.expression, request.variation)
        return full * (1.0 - self._params.spread * (seed_of("strength", *name) / 2**63))

    def _label(self, request: FaceRequest) -> int:
        if request.expression is None:
            raise Invalid(
                "AFFECT_UNSUPPORTED",
                f"{request.id}: the engine translate makes expressions, not points of the plane",
                hint="ask for an expression and an intensity",
            )
        require_classes(self._generator, [request.expression])
        return self._generator.classes.index(request.expression)

    def _source(self, request: FaceRequest) -> UInt8:
        if request.source is None:
            raise Invalid(
                "SOURCE_MISSING",
                f"{request.id}: the engine translate changes a face and was given none",
                hint="make the pool from photos, or compose with an engine that invents faces",
            )
        return fitted(request.source.image, self._generator.size_px, self._generator.channels)


def fitted(image: UInt8, size_px: int, channels: Channels) -> UInt8:
    """Bring a picture (H, W[, 3]) to a generator's size and kind, as every face is prepared."""
    spec = PreprocessSpec(size_px=size_px, channels=channels, detector="none")
    # Without a detector there is nothing that could fail.
    return cast("UInt8", preprocess(image, spec, make_detector(spec, None)).image)


def _described(generator: Generator) -> tuple[TranslateSpec, Domains]:
    """Read what a generator's folder says of its network."""
    try:
        spec = parse_translate_spec(generator.spec["params"])
        return spec, Domains.from_json(generator.spec["domains"])
    except (KeyError, TypeError, Invalid) as error:
        raise Invalid(
            "GENERATOR_FORMAT",
            f"the generator {generator.preset!r} was written by another release: {error}",
            hint="train it again",
        ) from None
