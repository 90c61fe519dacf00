"""Keys of a YAML tree: set one with ``section.key=value``, read pairs, find those given twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def read_pairs(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """Read ``key=value`` pairs of a command line, the values as YAML.

    Args:
        pairs: as given.
        option: that they were given with, for messages.

    Raises:
        Invalid: ``OPTION_PAIR`` naming the pair that is none, is no YAML or comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise _bad_pair(pair, option, "is not key=value")
        if key in found:
            raise _bad_pair(pair, option, f"gives {key} a second time")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise _bad_pair(pair, option, "has a value that is not YAML") from None
    return found


def _bad_pair(pair: str, option: str, what: str) -> Invalid:
    return Invalid(
        "OPTION_PAIR",
        f"{option} {pair!r} {what}",
        hint=f"write {option} key=value once a key; a text with [ or : in quotes of its own, "
        f"for example {option} 'subject=\"([a-z]+)_.*\"'",
    )


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
