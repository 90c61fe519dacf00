"""What can be asked for, told without importing a network library: engines and generators."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.digest import digest_of
from mien.core.errors import Invalid, MienError, NotFound, invalid_fields
from mien.core.expression import parse_expressions
from mien.core.generation import EngineInfo, GeneratorInfo
from mien.generators.engines import engine_names, engine_type

log = logging.getLogger(__name__)

FILE = "generator.json"
_FOLDER = "generator"  # what training calls the folder below the generator's own
_PLACE = ("data", "train_generator")  # where a project has its own: they go by their own names
_DEPTH = 4  # a project's generators lie in data/train_generator/<name>/generator
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LARGEST = 64 << 20
_DEEPEST = 8

# Asking the classes would import torch. Tests hold this against them.
_HOUSE = {
    "affect": EngineInfo(
        "affect", "Deforms a neutral face, photographed or invented, by an expression.", False, True
    ),
    "compose": EngineInfo(
        "compose", "One engine invents a face, another gives it every expression.", True, False
    ),
    "noise": EngineInfo("noise", "Invents faces of asked-for classes from noise.", True, False),
    "stack": EngineInfo(
        "stack", "Two stacked GANs: noise says who it is, translate what it shows.", True, False
    ),
    "translate": EngineInfo(
        "translate", "Gives a face another expression and leaves the rest alone.", True, True
    ),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A trained generator and where it lies.

    Attributes:
        info: what may be told about it.
        folder: that holds its files; never told.
        preprocess: how the faces it learned from were prepared, plain values.
    """

    info: GeneratorInfo
    folder: Path
    preprocess: Mapping[str, Any]


def engine_infos() -> tuple[EngineInfo, ...]:
    """Describe the engines of this installation, by name; only foreign ones are imported."""
    # The table of entry points is read once: looking through an installation takes 10 ms.
    return tuple(_HOUSE.get(name) or engine_info(name) for name in engine_names())


def engine_info(name: str) -> EngineInfo:
    """Describe one engine; a foreign one says ``photos`` itself, and what it is in its docstring.

    Raises:
        NotFound: ``UNKNOWN_ENGINE``.
    """
    if name in _HOUSE and name in engine_names():
        return _HOUSE[name]
    try:
        kind = engine_type(name)
    except Invalid as error:  # ENGINE_BROKEN: it is listed, and says why when it is asked for
        return EngineInfo(name, error.message, False, False)
    summary = (getattr(kind, "__doc__", "") or "").strip().partition("\n")[0]
    return EngineInfo(name, summary, hasattr(kind, "train"), bool(getattr(kind, "photos", False)))


def find_generators(roots: Sequence[Path]) -> dict[str, Found]:
    """Find the trained generators below some folders, by name.

    A generator is named by its place below its root; one of a project that is a root, by the
    name it has there. Links are not followed; what is damaged is
    left out, with a word in the log. Of two with one name, the first root's is taken.
    """
    found: dict[str, Found] = {}
    for root in roots:
        for folder, parts in _folders(root.resolve(), (), _DEPTH):
            name = _name(parts) or root.name
            described = _described(folder, name)
            if described is not None:
                found.setdefault(name, described)
    return dict(sorted(found.items()))


def placed(params: Mapping[str, Any], known: Mapping[str, Found]) -> dict[str, Any]:
    """Put folders in the place of generators' names, at any depth.

    Values of ``generator`` that are no known name never reach a disk: they may come from anywhere.

    Raises:
        NotFound: ``UNKNOWN_GENERATOR``.
        Invalid: ``ENGINE_PARAMS`` for parameters nested too deeply.
    """
    made: dict[str, Any] = _placed(dict(params), known, 0)
    return made


def named_generators(params: Any) -> list[str]:
    """List the names of generators in parameters, at any depth, in their order.

    Raises:
        Invalid: ``ENGINE_PARAMS`` for parameters nested too deeply.
    """
    return _named(params, 0)


def _named(value: Any, depth: int) -> list[str]:
    _check_depth(depth)
    if isinstance(value, list | tuple):
        return [name for each in value for name in _named(each, depth + 1)]
    if not isinstance(value, Mapping):
        return []
    own = [str(value["generator"])] if "generator" in value else []
    others = (each for key, each in value.items() if key != "generator")
    return own + [name for each in others for name in _named(each, depth + 1)]


def _placed(value: Any, known: Mapping[str, Found], depth: int) -> Any:
    _check_depth(depth)
    if isinstance(value, list | tuple):
        return [_placed(each, known, depth + 1) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: _folder(each, known) if key == "generator" else _placed(each, known, depth + 1)
        for key, each in value.items()
    }


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise invalid_fields(
            "ENGINE_PARAMS",
            "the parameters of the engine are wrong",
            {"params": f"are nested more than {_DEEPEST} deep"},
        )


def _folder(name: Any, known: Mapping[str, Found]) -> str:
    if isinstance(name, str) and name in known:
        return str(known[name].folder)
    shown = repr(name)[:100]
    raise NotFound(
        "UNKNOWN_GENERATOR",
        f"there is no generator {shown}",
        hint=f"known: {', '.join(list(known)[:20])}" if known else "none lies where this looks",
    )


def _name(parts: tuple[str, ...]) -> str:
    named = parts[:-1] if len(parts) > 1 and parts[-1] == _FOLDER else parts
    return "/".join(named[2:] if len(named) > 2 and named[:2] == _PLACE else named)


def _folders(
    folder: Path, parts: tuple[str, ...], depth: int
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Walk down to ``depth``, by name; a generator's folder holds no other."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        log.warning("%s cannot be searched for generators: %s", folder, error.strerror)
        return
    if any(e.name == FILE and e.is_file(follow_symlinks=False) for e in entries):
        yield folder, parts
        return
    for entry in entries if depth else ():
        if entry.is_dir(follow_symlinks=False) and _PART.fullmatch(entry.name):
            yield from _folders(Path(entry.path), (*parts, entry.name), depth - 1)


def _described(folder: Path, name: str) -> Found | None:
    path = folder / FILE
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        plain = json.loads(path.read_bytes())
        info = GeneratorInfo(
            name=name,
            engine=str(plain["engine"]),
            # As ``trained.load_generator`` names it, which also holds the weights against this.
            digest=digest_of(
                {
                    "engine": plain["engine"],
                    "spec": plain["spec"],
                    "weights": plain["weights"]["blake3"],
                }
            ),
            expressions=parse_expressions(plain["classes"]) if plain["classes"] else (),
            size_px=int(plain["size_px"]),
            figures=dict(sorted(_figures(plain["figures"], ""))),
            subjects_seen=len(plain["subjects"]),
        )
        return Found(info, folder, dict(plain["preprocess"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MienError) as error:
        log.warning("%s is left out: %s", path, error)
        return None


def _figures(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Flatten the numbers among a generator's figures."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
