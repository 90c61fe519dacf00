"""The engine ``compose``: one generator invents a face, another gives it every expression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from mien.core.digest import digest_of
from mien.core.errors import Invalid, invalid_fields
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace, SourceFace
from mien.core.ports import Engine
from mien.generators.engines import honours_intensity, make_engine

_VERSION = 1  # raised whenever the same requests would give other pictures: part of the digest
# What `stack` means: StyleGAN for who it is, StarGAN for what the face shows.
_DEFAULTS = {"identity": "noise", "expression": "translate"}
_AHEAD = 64  # identities drawn before their expressions: the first engine's batches stay full


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the engines, by name and parameters."""

    engine: str
    params: Mapping[str, Any]


class ComposeEngine:
    """Two engines on top of each other: who it is, and then what the face shows.

    The identity engine is asked for one neutral face an identity; the expression engine starts
    from that face for every expression, neutral too, so that no class is recognised by having
    passed fewer networks.

    Source: the two stacked GANs of "How far can generated data impact neural networks'
        performance?" (VISAPP 2023), section 3: StyleGAN2, then StarGAN. We differ: any two engines
        can be stacked, and expressions have an intensity.
    """

    def __init__(self, identity: Engine, expression: Engine) -> None:
        self._identity = identity
        self._expression = expression
        self._digest = digest_of(
            {
                "engine": "compose",
                "version": _VERSION,
                "identity": identity.digest,
                "expression": expression.digest,
            }
        )

    @classmethod
    def from_params(cls, params: Mapping[str, Any], assets: Path | None) -> ComposeEngine:
        """Build both engines.

        Args:
            params: ``identity`` and ``expression``, each with its engine's own parameters and
                ``engine``, which is ``noise`` and ``translate`` where it is not given.
            assets: handed on.

        Raises:
            Invalid: ``ENGINE_PARAMS`` naming every key at fault.
            NotFound: ``UNKNOWN_ENGINE``, and what the engines raise.
        """
        identity, expression = _parts(params)
        return cls(
            make_engine(identity.engine, identity.params, assets=assets),
            make_engine(expression.engine, expression.params, assets=assets),
        )

    @property
    def name(self) -> str:
        """Name in the engine table."""
        return "compose"

    @property
    def digest(self) -> str:
        """Name of this exact instance: of both engines."""
        return self._digest

    @property
    def honours_intensity(self) -> bool:
        """Whether the expression engine does."""
        return honours_intensity(self._expression)

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order.

        Raises:
            Invalid: ``SOURCE_UNUSED`` for a request with a photo: its identity is given already.
        """
        for ahead in _runs(requests, _AHEAD):
            neutral = self._neutral(ahead)
            sourced = (replace(r, source=neutral[r.seed, r.identity]) for own in ahead for r in own)
            originals = (r for own in ahead for r in own)
            made = self._expression.synthesise(sourced)
            for face, request in zip(made, originals, strict=True):
                yield replace(face, request=request)

    def _neutral(self, runs: list[list[FaceRequest]]) -> dict[tuple[int, str], SourceFace]:
        """Invent the neutral faces of some identities."""
        wanted = {(own[0].seed, own[0].identity): own[0] for own in runs}
        asked = [
            replace(
                first,
                id=f"{first.identity}/neutral",
                expression=Expression.NEUTRAL,
                intensity=1.0,
                variation=0,
            )
            for first in wanted.values()
        ]
        return {
            key: SourceFace(
                id=face.request.id,
                digest=digest_of([self._identity.digest, *key]),
                subject=None,
                image=face.image,
                landmarks=face.landmarks,
            )
            for key, face in zip(wanted, self._identity.synthesise(asked), strict=True)
        }


def _runs(requests: Iterable[FaceRequest], ahead: int) -> Iterator[list[list[FaceRequest]]]:
    """Group neighbouring requests of one identity, and hand out so many groups at a time."""
    waiting: list[list[FaceRequest]] = []
    for _, own in groupby(requests, key=lambda r: (r.seed, r.identity)):
        waiting.append([_invented(r) for r in own])
        if len(waiting) == ahead:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _invented(request: FaceRequest) -> FaceRequest:
    if request.source is not None:
        raise Invalid(
            "SOURCE_UNUSED",
            f"{request.id}: the engine compose invents its faces; it starts from no photo",
            hint="use its expression engine alone with identities: photos",
        )
    return request


def _parts(params: Mapping[str, Any]) -> tuple[_Part, _Part]:
    wrong: dict[str, str] = {
        key: "is no parameter of the engine compose"
        for key in params
        if key not in ("identity", "expression")
    }
    found = {}
    for key in ("identity", "expression"):
        given = params.get(key)
        if not isinstance(given, Mapping) or not isinstance(given.get("engine", ""), str):
            wrong[key] = "must be the parameters of an engine, {generator: …} for a trained one"
        else:
            engine = given.get("engine", _DEFAULTS[key])
            found[key] = _Part(engine, {k: v for k, v in given.items() if k != "engine"})
    if wrong:
        raise invalid_fields("ENGINE_PARAMS", "the parameters of compose are wrong", wrong)
    return found["identity"], found["expression"]
