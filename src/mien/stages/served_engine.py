"""An engine that a generation service runs: the same faces, made elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mien.core.errors import NotFound, WrongState
from mien.core.generation import (
    FaceRequest,
    GeneratedFace,
    GeneratorInfo,
    Photo,
    SourceFace,
    WantedFace,
)
from mien.core.ports import Engine, Generation
from mien.generators.described import find_generators
from mien.generators.engines import honours_intensity
from mien.imaging.decode import STORED, decode
from mien.registry.read import Version
from mien.stages.context import Context

_CHUNK = 192  # faces a call: a few batches of a network, and soon told and stopped


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """The ``Engine`` port over the ``Generation`` port.

    Attributes:
        name: in the engine table.
        digest: of the engine as it is here; faces of any other are refused.
        generation: makes the faces.
        params: the engine's own, generators named as the service names them.
        photos: digest → file of the photos that requests may start from.
        honours_intensity: whether the intensity of a request changes the face.
        chunk: faces it likes to be asked for at a time.
    """

    name: str
    digest: str
    generation: Generation
    params: Mapping[str, Any]
    photos: Mapping[str, Photo] = field(default_factory=dict)
    honours_intensity: bool = True
    chunk: int = _CHUNK

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order.

        Raises:
            WrongState: ``OTHER_ENGINE`` when the service's engine is not the one here.
        """
        asked = list(requests)
        wanted = (self._wanted(request) for request in asked)
        made = self.generation.make_faces(self.name, self.params, wanted)
        for request, face in zip(asked, made, strict=True):
            if face.engine_digest != self.digest:
                raise WrongState(
                    "OTHER_ENGINE",
                    f"the generation service makes faces with another {self.name!r}: "
                    f"{face.engine_digest[:16]}, here it is {self.digest[:16]}",
                    hint="give it this release, these weights and assets; or unset "
                    "MIEN_GENERATION_TARGET",
                )
            image = decode(face.item.image, name=request.id, limits=STORED)
            yield GeneratedFace(request, image, face.item.sample.landmarks, face.scores)

    def _wanted(self, request: FaceRequest) -> WantedFace:
        photo = None if request.source is None else self.photos[request.source.digest]
        return WantedFace(replace(request, source=None), photo)


def served(
    context: Context,
    generation: Generation,
    engine: Engine,
    name: str,
    params: Mapping[str, Any],
    photos: Mapping[str, Photo],
) -> ServedEngine:
    """Return what makes an engine's faces with a service.

    Args:
        context: of the project.
        generation: the service.
        engine: the engine as it is here.
        name: in the engine table.
        params: its own; generators are named by their folders.
        photos: digest → file of the photos that requests may start from.

    Raises:
        NotFound: ``UNKNOWN_GENERATOR`` for one that the service has not.
    """
    known = find_generators([context.folder("train_generator")])
    here = {found.folder.resolve(): found.info for found in known.values()}
    there = {info.digest: info.name for info in generation.generators()} if here else {}
    return ServedEngine(
        name=name,
        digest=engine.digest,
        generation=generation,
        params=_named(dict(params), here, there),
        photos=photos,
        honours_intensity=honours_intensity(engine),
    )


def photo_files(database: Version, sources: Sequence[SourceFace]) -> dict[str, Photo]:
    """Read the files of some photos again, by their digests."""
    found = {}
    for item in database.items([s.id for s in sources]):
        sample = item.sample
        found[sample.digest] = Photo(item.image, sample.id, sample.subject, sample.landmarks)
    return found


def _named(value: Any, here: Mapping[Path, GeneratorInfo], there: Mapping[str, str]) -> Any:
    """Put the service's names of generators in the place of their folders, at any depth."""
    if isinstance(value, dict):
        return {
            key: _name(Path(each), here, there) if key == "generator" else _named(each, here, there)
            for key, each in value.items()
        }
    return [_named(each, here, there) for each in value] if isinstance(value, list) else value


def _name(folder: Path, here: Mapping[Path, GeneratorInfo], there: Mapping[str, str]) -> str:
    own = here.get(folder.resolve())
    if own is None or own.digest not in there:
        raise NotFound(
            "UNKNOWN_GENERATOR",
            f"the generation service has no generator with the weights of {folder}",
            hint="add this project's data/train_generator to the folders where it looks, or "
            "unset MIEN_GENERATION_TARGET",
        )
    return there[own.digest]
