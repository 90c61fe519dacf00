"""The engine table: every algorithm that can make faces, found through entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from mien.core.errors import Invalid, NotFound
from mien.core.ports import Engine

if TYPE_CHECKING:  # its module needs torch
    from mien.generators.trained import Train

GROUP = "mien.engines"


class EngineType(Protocol):
    """What an entry point of the group ``mien.engines`` must name."""

    def from_params(self, params: Mapping[str, Any], assets: Path | None) -> Engine:
        """Build the engine; unknown or wrong parameters are ``Invalid``."""
        ...


def _table() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def engine_names() -> tuple[str, ...]:
    """List the engines of this installation, sorted; nothing is imported."""
    return tuple(sorted(_table()))


def make_engine(name: str, params: Mapping[str, Any], *, assets: Path | None = None) -> Engine:
    """Build an engine by name.

    Args:
        name: in the engine table.
        params: the engine's own parameters.
        assets: the folder of open assets, or None.

    Raises:
        NotFound: ``UNKNOWN_ENGINE`` with the names that exist; ``ASSET_MISSING``.
        Invalid: ``ENGINE_PARAMS`` for wrong parameters; ``ENGINE_BROKEN`` when a plugin's entry
            point cannot be imported.
    """
    return _load(_entry(name)).from_params(params, assets)


def engine_type(name: str) -> EngineType:
    """Import the class of an engine.

    Raises:
        NotFound: ``UNKNOWN_ENGINE``. Invalid: ``ENGINE_BROKEN``.
    """
    return _load(_entry(name))


def honours_intensity(engine: Engine) -> bool:
    """Tell whether the intensity of a request changes the face; an engine that cannot says so.

    Such an engine has an attribute ``honours_intensity`` that is false; others need none.
    """
    return bool(getattr(engine, "honours_intensity", True))


def _entry(name: str) -> EntryPoint:
    table = _table()
    if name in table:
        return table[name]
    raise NotFound(
        "UNKNOWN_ENGINE",
        f"there is no engine {name!r}",
        hint=f"engines here: {', '.join(sorted(table)) or 'none'}; others come as packages "
        f"with an entry point in the group {GROUP}",
    )


def trainer(name: str) -> Train:
    """Return how an engine is trained: the ``train`` of its class.

    Raises:
        NotFound: ``UNKNOWN_ENGINE``.
        Invalid: ``NOT_TRAINED`` for an engine that learns nothing; ``ENGINE_BROKEN``.
    """
    found = getattr(_load(_entry(name)), "train", None)
    if found is None:
        raise Invalid(
            "NOT_TRAINED",
            f"the engine {name!r} is not trained",
            hint="use it under synthesise, without train_generator",
        )
    return cast("Train", found)


def _load(entry: EntryPoint) -> EngineType:
    try:
        return cast("EngineType", entry.load())
    except (ImportError, AttributeError) as error:
        raise Invalid(
            "ENGINE_BROKEN",
            f"the engine {entry.name!r} cannot be imported: {error}",
            hint=f"reinstall the package that names {entry.value}",
        ) from error
