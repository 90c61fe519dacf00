"""Generation in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core.digest import digest_of
from mien.core.errors import Invalid
from mien.core.expression import Affect, Expression
from mien.core.generation import (
    EngineInfo,
    FacePlan,
    FaceRequest,
    GeneratedFace,
    GeneratorInfo,
    MadeFace,
    Photo,
    SourceFace,
    WantedFace,
)
from mien.core.ports import Engine
from mien.core.preprocess import DetectorName
from mien.generators.described import (
    Found,
    engine_info,
    engine_infos,
    find_generators,
    named_generators,
    placed,
)
from mien.generators.engines import honours_intensity, make_engine
from mien.generators.requests import plan_requests

if TYPE_CHECKING:  # its imports are heavy
    from mien.morphable.head import Backend

# Faces handed to an engine at a time. Networks compute micro-batches of 32 or 64, and `compose`
# invents 64 identities ahead; the others make one face after the other.
_BATCH, _ONE_BY_ONE = 448, 4
_BATCH_BYTES = 32 << 20  # of photos waiting for one batch
_AFFECT = "affect"


@dataclass(frozen=True, slots=True)
class Instance:
    """An engine that was built, and what it was built from.

    Attributes:
        name: it was asked for by.
        engine: itself.
        params: with folders where names of generators were.
        generators: it was built with.
        batch: faces it is best asked for at a time.
    """

    name: str
    engine: Engine
    params: Mapping[str, Any]
    generators: tuple[Found, ...]
    batch: int


class LocalGeneration:
    """The ``Generation`` port without a service. Threads may share it; engines take turns.

    Args:
        assets: the folder of open assets, or None.
        roots: folders below which trained generators are found.
        detector: finds the landmarks of photos that come without: ``yunet`` (an asset), ``haar``.
        backend: head model that photos are fitted with, ``builtin`` or ``ict``.
        kept: engines kept in memory; the one that was not used longest is let go.
    """

    def __init__(
        self,
        assets: Path | None = None,
        *,
        roots: Sequence[Path] = (),
        detector: DetectorName = "yunet",
        backend: Backend = "builtin",
        kept: int = 4,
    ) -> None:
        self._assets = assets
        self._roots = tuple(roots)
        self._detector = detector
        self._backend = backend
        self._kept = kept
        self._built: OrderedDict[str, Instance] = OrderedDict()
        # Engines keep caches, and torch's thread count is the process's: one computes at a time.
        self._turn = threading.Lock()

    def engines(self) -> Sequence[EngineInfo]:
        """List the algorithms that can be asked for, by name."""
        return engine_infos()

    def generators(self) -> Sequence[GeneratorInfo]:
        """List the trained instances below the roots, by name."""
        return [found.info for found in find_generators(self._roots).values()]

    def instance(self, name: str, params: Mapping[str, Any]) -> Instance:
        """Return the engine of a name and parameters, the same one for the same question.

        Args:
            name: in the engine table.
            params: its own; ``generator``, at any depth, names one of ``generators``.

        Raises:
            NotFound: ``UNKNOWN_ENGINE``, ``UNKNOWN_GENERATOR``, ``ASSET_MISSING``.
            Invalid: ``ENGINE_PARAMS``, ``OTHER_ENGINE``. Corrupt: ``GENERATOR_FILE``.
        """
        info = engine_info(name)
        names = named_generators(params)
        known = find_generators(self._roots) if names else {}
        own = placed(params, known)
        generators = tuple(known[n] for n in names)
        key = digest_of([name, own, [found.info.digest for found in generators]])
        with self._turn:
            if key not in self._built:
                engine = make_engine(name, own, assets=self._assets)
                batch = _BATCH if info.trained else _ONE_BY_ONE
                self._built[key] = Instance(name, engine, own, generators, batch)
            self._built.move_to_end(key)
            while len(self._built) > self._kept:
                self._built.popitem(last=False)
            return self._built[key]

    def stream_faces(self, plan: FacePlan) -> Iterator[MadeFace]:
        """Make a balanced set, identity by identity.

        Raises:
            NotFound, Invalid, Corrupt: as ``instance``, at once and not at the first face;
                ``INTENSITY_UNSUPPORTED``. As the engine, later.
        """
        chosen = self.planned(plan)
        return self._made(chosen, plan_faces(plan))

    def planned(self, plan: FacePlan) -> Instance:
        """Return the engine of a plan.

        Raises:
            NotFound, Invalid, Corrupt: as ``instance``; ``INTENSITY_UNSUPPORTED`` when a range is
                asked of an engine that cannot grade its expressions.
        """
        chosen = self.instance(plan.engine, plan.params)
        if plan.intensity is not None and not honours_intensity(chosen.engine):
            raise Invalid(
                "INTENSITY_UNSUPPORTED",
                f"the engine {plan.engine!r} makes expressions as strong as those it learned "
                "from; it takes no intensity",
                hint="leave the intensities out, or put engines on top of each other: stack",
            )
        return chosen

    def placed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Put folders in the place of generators' names; nothing is built.

        Raises:
            NotFound: ``UNKNOWN_GENERATOR``. Invalid: ``ENGINE_PARAMS``.
        """
        known = find_generators(self._roots) if named_generators(params) else {}
        return placed(params, known)

    def make_faces(
        self, engine: str, params: Mapping[str, Any], wanted: Iterable[WantedFace]
    ) -> Iterator[MadeFace]:
        """Make exactly these faces, in order.

        An engine with a network answers when it has a batch of requests, or all there are.

        Raises:
            NotFound, Invalid, Corrupt: as ``instance``, at once; as ``imaging.decode`` for a
                photo, ``NO_FACE``, and as the engine, later.
        """
        chosen = self.instance(engine, params)
        return self._made(chosen, self._requests(chosen, wanted))

    def synthesize_affect(
        self,
        photo: Photo,
        *,
        expression: Expression | None = None,
        affect: Affect | None = None,
        intensity: float = 1.0,
    ) -> MadeFace:
        """Deform a photo of a neutral face; its landmarks are found where they are not given.

        Raises:
            Invalid: as ``imaging.decode``; ``NO_FACE``, ``LANDMARKS_SHAPE``,
                ``LANDMARKS_OUTSIDE``; ``AFFECT_UNSUPPORTED`` for a point of the affect plane.
            NotFound: ``ASSET_MISSING``.
        """
        return self._one(
            self.instance(_AFFECT, {"backend": self._backend}),
            photo,
            FaceRequest("", 0, "", expression, affect, intensity),
        )

    def translate_expression(
        self, photo: Photo, *, expression: Expression, generator: str, intensity: float = 1.0
    ) -> MadeFace:
        """Translate the expression of a photo with a trained generator.

        Raises:
            NotFound: ``UNKNOWN_GENERATOR``, ``ASSET_MISSING``.
            Invalid: as ``imaging.decode``; ``NO_FACE``, ``OTHER_ENGINE``, ``OTHER_LABEL_SPACE``.
            Corrupt: ``GENERATOR_FILE``.
        """
        return self._one(
            self.instance("translate", {"generator": generator}),
            photo,
            FaceRequest("", 0, "", expression, None, intensity),
        )

    def _one(self, chosen: Instance, photo: Photo, request: FaceRequest) -> MadeFace:
        """Make the first face of a pool from this one photo, as its plan would name it."""
        source = self._photos(chosen)(photo)
        identity = f"{source.id}@0"
        shown = request.expression or "affect"
        name = f"{chosen.name}/{identity}/{shown}-0"
        asked = replace(request, id=name, identity=identity, source=source)
        return next(self._made(chosen, [asked]))

    def _made(self, chosen: Instance, requests: Iterable[FaceRequest]) -> Iterator[MadeFace]:
        """Make faces in batches; requests are waited for while others may compute."""
        graded = honours_intensity(chosen.engine)
        digest = chosen.engine.digest
        asked = iter(requests)
        while batch := _take(asked, chosen.batch):
            with self._turn:
                faces = list(chosen.engine.synthesise(batch))
            for face in faces:
                yield _kept_face(face, chosen.name, digest, graded)

    def _requests(self, chosen: Instance, wanted: Iterable[WantedFace]) -> Iterator[FaceRequest]:
        developed: Callable[[Photo], SourceFace] | None = None
        last: tuple[Photo, SourceFace] | None = None
        for each in wanted:
            photo = each.photo
            if photo is None:
                yield replace(each.request, source=None)
                continue
            developed = developed or self._photos(chosen)
            if last is None or last[0] != photo:  # often one photo with all its expressions
                last = (photo, developed(photo))
            yield replace(each.request, source=last[1])

    def _photos(self, chosen: Instance) -> Callable[[Photo], SourceFace]:
        """Return how the photos for an engine become faces to start from.

        Raises:
            NotFound: ``ASSET_MISSING``.
        """
        from mien.generators.photos import Darkroom

        learned = chosen.generators[-1].preprocess if chosen.generators else None
        darkroom = Darkroom(self._assets, self._detector, self._backend)
        return darkroom.development(learned, find=chosen.name == _AFFECT)


def plan_faces(
    plan: FacePlan, first: int = 0, identities: int | None = None
) -> Iterator[FaceRequest]:
    """Plan the faces of some identities of a plan: all, or ``identities`` from ``first`` on."""
    return plan_requests(
        pool=plan.prefix,
        pool_seed=plan.seed,
        expressions=plan.expressions,
        identities=plan.identities if identities is None else identities,
        first=first,
        images_per_cell=plan.images_per_cell,
        intensity=plan.intensity or (1.0, 1.0),
    )


def _take(requests: Iterator[FaceRequest], most: int) -> list[FaceRequest]:
    """Take requests until there are ``most``, or many bytes of photos."""
    batch: list[FaceRequest] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += 0 if request.source is None else request.source.image.nbytes
        if len(batch) >= most or size >= _BATCH_BYTES:
            break
    return batch


def _kept_face(face: GeneratedFace, engine: str, digest: str, graded: bool) -> MadeFace:
    """Write a face down as the stage `synthesise` does."""
    from mien.core.digest import digest_bytes
    from mien.generators.rows import face_item

    source = f"{engine}-{face.request.seed}"
    item = face_item(face, source=source, digest=digest, graded=graded)
    sample = replace(item.sample, digest=digest_bytes(item.image))
    return MadeFace(replace(item, sample=sample), digest, dict(face.scores))
