"""Generation in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.core.digest import digest_of
from mien.core.generation import FaceRequest, GeneratedFace
from mien.core.ports import Engine
from mien.generators.engines import engine_names, make_engine


class LocalGeneration:
    """The ``Generation`` port without a service; engines are built once per name and parameters.

    Args:
        assets: the folder of open assets, or None.
    """

    def __init__(self, assets: Path | None = None) -> None:
        self._assets = assets
        self._engines: dict[str, Engine] = {}

    def engines(self) -> Sequence[str]:
        """Names of the engines that can be asked for."""
        return engine_names()

    def engine(self, name: str, params: Mapping[str, Any]) -> Engine:
        """Return the engine of a name and parameters, the same one for the same question.

        Raises:
            NotFound: ``UNKNOWN_ENGINE``, ``ASSET_MISSING``.
            Invalid: ``ENGINE_PARAMS``.
        """
        key = digest_of([name, dict(params)])
        if key not in self._engines:
            self._engines[key] = make_engine(name, params, assets=self._assets)
        return self._engines[key]

    def stream_faces(
        self, engine: str, params: Mapping[str, Any], requests: Iterable[FaceRequest]
    ) -> Iterator[GeneratedFace]:
        """Make faces with an engine, one per request, in order.

        Raises:
            NotFound: ``UNKNOWN_ENGINE``, ``ASSET_MISSING``; at once, not at the first face.
            Invalid: ``ENGINE_PARAMS``.
        """
        return self.engine(engine, params).synthesise(requests)
