"""The engine ``noise``: invent labelled faces from noise and a class, with a trained network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from mien.core.arrays import Float
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Invalid, faults_of, invalid_fields
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace
from mien.generators.latents import latent, latents
from mien.generators.noise_fit import fit_noise
from mien.generators.noise_networks import build_generator
from mien.generators.noise_spec import spec_for, spec_from_json
from mien.generators.trained import (
    Generator,
    Trained,
    TrainHooks,
    TrainingSet,
    load_generator,
    require_classes,
)
from mien.training.device import place, reproducible
from mien.training.tensors import to_images

_VERSION = 1  # raised whenever the same requests would give other pictures: part of the digest
# Faces made at a time, always padded to as many: convolutions of another batch size may round
# differently, and the same request must give the same bytes.
MICRO_BATCH = 32


class NoiseSampling(BaseModel):
    """How a trained generator is used.

    Attributes:
        generator: its folder.
        truncation: 1 = the whole distribution; below, faces are more typical and less diverse.
        variation: share of an identity's noise that its second and further variations draw anew.
        device: where; another kind of device gives other last bits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: Path
    truncation: float = Field(1.0, gt=0.0, le=1.0)
    variation: float = Field(0.1, gt=0.0, le=1.0)
    device: Literal["cpu", "cuda"] = "cpu"


def train(data: TrainingSet, params: Mapping[str, Any], hooks: TrainHooks) -> Trained:
    """Train a generator.

    Args:
        data: labelled faces; unlabelled ones are left out unless labels are not used.
        params: of ``NoiseSpec``; size, channels and classes are the data's, but ``classes: 0``
            makes an unconditional generator.
        hooks: as of every trainable engine; the teacher is not used.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault; as ``fit_noise`` otherwise.
    """
    channels = 1 if data.channels == "gray" else 3
    return fit_noise(spec_for(params, data.size_px, channels, len(data.classes)), data, hooks)


class NoiseEngine:
    """Invented faces of asked-for classes.

    All faces of an identity share their noise; only the class differs. How strong an expression
    is was learned from the training set and is not controlled by ``intensity``. An unconditional
    generator, trained on neutral faces, invents identities: it is asked for neutral or nothing.

    Source: Goodfellow et al. 2014; the networks name theirs.
    """

    train = staticmethod(train)
    honours_intensity = False  # a pool records none, and refuses a range that was asked for

    def __init__(self, generator: Generator, sampling: NoiseSampling) -> None:
        self._generator, self._sampling = generator, sampling
        self._spec = spec_from_json(generator.spec)
        self._placement = place(sampling.device, "fp32")
        with torch.random.fork_rng(devices=[]):
            network = build_generator(self._spec)
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
        self._digest = digest_of(
            {
                "engine": "noise",
                "version": _VERSION,
                "generator": generator.digest,
                "truncation": sampling.truncation,
                "variation": sampling.variation,
                "device": sampling.device,
                "micro_batch": MICRO_BATCH,
            }
        )

    @classmethod
    def from_params(cls, params: Mapping[str, Any], assets: Path | None) -> NoiseEngine:
        """Build the engine from a generator folder.

        Raises:
            Invalid: ``ENGINE_PARAMS`` naming every key at fault; ``OTHER_ENGINE``,
                ``GENERATOR_FORMAT``.
            NotFound: ``GENERATOR_MISSING``.
            Corrupt: ``GENERATOR_FILE``, ``WEIGHTS``.
        """
        del assets
        try:
            checked = NoiseSampling.model_validate(dict(params))
        except ValidationError as error:
            raise invalid_fields(
                "ENGINE_PARAMS",
                "the parameters of the engine noise are wrong",
                faults_of(error),
                hint="a trained generator is used with `generator`, the folder training left",
            ) from None
        return cls(load_generator(checked.generator, "noise"), checked)

    @property
    def name(self) -> str:
        """Name in the engine table."""
        return "noise"

    @property
    def digest(self) -> str:
        """Name of this exact instance: version, weights, sampling options."""
        return self._digest

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order; memory holds one micro-batch.

        Raises:
            Invalid: ``SOURCE_UNUSED`` for a request with a photo; ``AFFECT_UNSUPPORTED``;
                ``OTHER_LABEL_SPACE``; ``UNCONDITIONAL`` when a generator without classes is asked
                for an expression other than neutral.
        """
        asked = iter(requests)
        while part := list(islice(asked, MICRO_BATCH)):
            yield from self._make(part)

    def _make(self, requests: list[FaceRequest]) -> Iterator[GeneratedFace]:
        labels = [self._label(request) for request in requests]
        rows = [i % len(requests) for i in range(MICRO_BATCH)]  # padded with repeats
        z = torch.from_numpy(self._noise(requests)[rows]).to(self._placement.device)
        y = None
        if not self._spec.unconditional:
            y = torch.tensor([labels[i] for i in rows], device=self._placement.device)
        with reproducible(self._placement, 1), torch.inference_mode():
            made = to_images(self._draw(z, y)).cpu().numpy()
        for request, image in zip(requests, made, strict=False):
            yield GeneratedFace(request=request, image=image.copy())

    def _draw(self, z: Tensor, labels: Tensor | None) -> Tensor:
        psi = self._sampling.truncation
        if psi < 1.0 and hasattr(self._network, "truncated"):
            return cast("Tensor", self._network.truncated(z, labels, psi))
        return cast("Tensor", self._network(psi * z, labels))

    def _noise(self, requests: list[FaceRequest]) -> Float:
        """Draw (N, Z): the identity's, and for further variations a share of their own."""
        size, share = self._spec.z_dim, self._sampling.variation
        own = latents([(self._digest, r.seed, r.identity) for r in requests], size)
        for row, request in enumerate(requests):
            if request.variation:
                name = (self._digest, request.seed, request.identity, request.variation)
                new = latent(name, size)
                own[row] = (1.0 - share) ** 0.5 * own[row] + share**0.5 * new
        return own

    def _label(self, request: FaceRequest) -> int:
        """Check what is asked for and find its index; -1 without classes."""
        if request.source is not None:
            raise Invalid(
                "SOURCE_UNUSED",
                f"{request.id}: the engine noise invents its faces; it starts from no photo",
                hint="ask for identities instead of photos, or use an engine that changes photos",
            )
        if request.affect is not None:
            raise Invalid(
                "AFFECT_UNSUPPORTED",
                f"{request.id}: the engine noise makes expressions, not points of the plane",
                hint="ask for an expression",
            )
        if self._spec.unconditional:
            if request.expression not in (None, Expression.NEUTRAL):
                raise Invalid(
                    "UNCONDITIONAL",
                    f"{request.id}: the generator {self._generator.preset!r} knows no classes, "
                    f"so it cannot be asked for {request.expression}",
                    hint="put an engine for expressions on top of it: compose",
                )
            return -1
        if request.expression is None:
            raise Invalid(
                "AFFECT_UNSUPPORTED",
                f"{request.id}: names no expression",
                hint=f"ask for one of: {', '.join(self._generator.classes)}",
            )
        require_classes(self._generator, [request.expression])
        return self._generator.classes.index(request.expression)
