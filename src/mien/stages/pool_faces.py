"""Make a pool's faces: identity by identity, in parallel, in parts that outlive an interruption."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from mien.core.errors import Exhausted, Interrupted
from mien.core.generation import FaceRequest, GeneratedFace
from mien.core.hooks import Progress
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.parallel import map_ordered
from mien.core.ports import Engine
from mien.core.sample import Item
from mien.generators.engines import honours_intensity, make_engine
from mien.generators.rows import face_item
from mien.registry.read import open_version
from mien.registry.write import write_version
from mien.stages.context import Context
from mien.stages.pool_filter import Filter, Passed

PART = 512  # identities a part holds
_CHUNK = 24  # faces a worker makes at a time, where the engine names no number


@dataclass(frozen=True, slots=True)
class Maker:
    """How a worker process makes the faces of some identities; plain values, so that it travels.

    Attributes:
        engine: name in the engine table.
        params: the engine's own.
        assets: folder of open assets, or None.
        source: name the samples bear.
        digest: of the engine.
        filter: what faces must pass, or None.
    """

    engine: str
    params: dict[str, Any]
    assets: Path | None
    source: str
    digest: str
    filter: Filter | None = None

    def __call__(self, identities: Sequence[Sequence[FaceRequest]]) -> Passed:
        """Make the faces of some identities, all expressions of each."""
        engine = engine_here(self)
        rejected: Mapping[str, int] = {}
        if self.filter is None:
            made = engine.synthesise(chain.from_iterable(identities))
            kept = [list(islice(made, len(i))) for i in identities]
        else:
            kept, rejected = self.filter.keep(engine, identities)
        return Passed([[self._item(face) for face in faces] for faces in kept], rejected)

    def _item(self, face: GeneratedFace) -> Item:
        graded = honours_intensity(engine_here(self))
        return face_item(face, source=self.source, digest=self.digest, graded=graded)


_engines: dict[str, Engine] = {}  # one a process: building one loads meshes or weights


def engine_here(maker: Maker) -> Engine:
    """Return a maker's engine, built once a process."""
    if maker.digest not in _engines:
        _engines[maker.digest] = make_engine(maker.engine, maker.params, assets=maker.assets)
    return _engines[maker.digest]


def use_engine(maker: Maker, engine: Engine) -> None:
    """Let a maker use this engine in this process, in the place of the one it would build."""
    _engines[maker.digest] = engine


def make_identities(
    maker: Maker, identities: Sequence[list[FaceRequest]], *, workers: int
) -> Iterator[Passed]:
    """Make all faces of some identities, in order, the same whatever the number of workers."""
    return map_ordered(maker, _chunks(identities, engine_here(maker)), workers=workers)


def write_part(items: Iterable[Item], folder: Path, name: str, maker: Maker) -> VersionInfo:
    """Write faces as a version of their own, a part of a pool: whole or not at all."""
    return write_version(
        items,
        folder,
        name=name,
        provenance=Provenance(maker=f"engine:{maker.engine}"),
        licences={maker.source: Licence()},
        duplicates="keep",
    )


@dataclass(slots=True)
class PoolFaces:
    """The faces of one pool, drawn once, part by part.

    Finished parts lie in ``folder`` as dataset versions; a run that was interrupted goes on after
    the last of them.

    Attributes:
        context: of the project.
        name: of the pool.
        maker: how faces are made.
        folder: for the parts; named by everything that decides the faces.
        wanted: identities in all.
        rejected: faces that the filter refused, by expression, over all parts that were made now.
    """

    context: Context
    name: str
    maker: Maker
    folder: Path
    wanted: int
    rejected: Counter[str] = field(default_factory=Counter)

    def items(self, requests: Iterable[FaceRequest]) -> Iterator[Item]:
        """Yield the faces of the identities wanted, each identity complete.

        Args:
            requests: identity by identity; more identities than wanted where a filter may refuse
                some.

        Raises:
            Exhausted: ``FILTER_TOO_STRICT`` when the requests end before enough have passed.
            Interrupted: when cancelled; finished parts are kept.
        """
        identities = (list(own) for _, own in groupby(requests, key=lambda r: r.identity))
        done = 0
        for number in range(-(-self.wanted // PART)):
            size = min(PART, self.wanted - done)
            part = self.folder / f"{number:06d}"
            if not part.exists():
                made = self._made(identities, size, done)
                write_part(made, part, f"{self.name}-{number}", self.maker)
            else:
                self._skip(part, identities)
            done += size
            yield from open_version(part).items()

    def forget(self) -> None:
        """Remove the parts: their faces are elsewhere now."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _made(
        self, identities: Iterator[list[FaceRequest]], size: int, before: int
    ) -> Iterator[Item]:
        """Make complete identities until there are enough for a part."""
        workers = 1 if self.context.generation else self.context.workers  # a service has its own
        found = 0
        while found < size:
            asked = list(islice(identities, size - found))
            if not asked:
                raise self._too_strict(before + found)
            for passed in make_identities(self.maker, asked, workers=workers):
                self.rejected.update(passed.rejected)
                for faces in passed.identities:
                    found += 1
                    yield from faces
                self._tell(before + found)

    def _skip(self, part: Path, identities: Iterator[list[FaceRequest]]) -> None:
        """Pass over the requests of a finished part, up to its last identity.

        Nothing was asked for after that one: a part ends with the round in which all passed.
        """
        names = {s.identity for s in open_version(part).manifest}
        while names:
            names.discard(next(identities)[0].identity)

    def _tell(self, found: int) -> None:
        context = self.context
        context.progress(
            Progress(found, self.wanted, unit="identities", stage=f"synthesise {self.name}")
        )
        if context.cancelled():
            raise Interrupted("synthesis stopped; run it again to go on after the last part")

    def _too_strict(self, found: int) -> Exhausted:
        worst = ", ".join(f"{name} ({n})" for name, n in self.rejected.most_common(3))
        return Exhausted(
            "FILTER_TOO_STRICT",
            f"{self.name}: only {found} of {self.wanted} identities passed the filter; most "
            f"refused: {worst}",
            hint="raise filter.keep or filter.tries, or train the generator longer",
        )


def _chunks(
    identities: Sequence[list[FaceRequest]], engine: Engine
) -> Iterator[list[list[FaceRequest]]]:
    """Deal whole identities to workers, about as many faces as the engine likes at a time."""
    each = max(1, getattr(engine, "chunk", _CHUNK) // max(1, len(identities[0])))
    return (list(identities[i : i + each]) for i in range(0, len(identities), each))
