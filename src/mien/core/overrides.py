"""Keys of a YAML tree: set one with ``section.key=value``, find those given twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from mien.core.errors import Invalid


def set_key(value: Any, override: str) -> None:
    """Set one key in place; sections on the way must exist."""
    key, equals, text = override.partition("=")
    *path, last = key.strip().split(".")
    section = value
    for part in path:
        section = section.get(part) if isinstance(section, dict) else None
    if not equals or not last or not isinstance(section, dict):
        raise Invalid(
            "PARAMS_OVERRIDE",
            f"{override!r} sets nothing that the parameter file has",
            hint="write section.key=value, for example sweep.seeds=5",
        )
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise Invalid(
            "PARAMS_OVERRIDE",
            f"the value of {override!r} is not YAML",
            hint="quote it, for example --set 'sweep.ratios=[1, 2]'",
        ) from None


def given_twice(node: yaml.Node | None, prefix: str = "") -> Iterator[str]:
    """Find keys given twice in one section: YAML would let the last one win, unseen."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in seen:
            yield name
        seen.add(name)
        yield from given_twice(value, f"{name}.")
