"""One way to name content: blake3 over bytes, or over canonical JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the blake3 digest of the bytes, 64 hex digits."""
    return blake3(data).hexdigest()


def digest_lines(lines: Iterable[bytes]) -> str:
    """Return the digest of the lines joined by newlines; one of them is in memory at a time."""
    hasher = blake3()
    for number, line in enumerate(lines):
        hasher.update(b"\n" + line if number else line)
    return hasher.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Serialise plain values (also dataclasses, enums, NumPy) with sorted keys, no spaces."""
    return orjson.dumps(value, option=_OPTIONS)


def digest_of(value: Any) -> str:
    """Return the digest of a plain value's canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Return the digest of a file, read in pieces."""
    hasher = blake3()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def seed_of(*parts: object) -> int:
    """Derive a 63-bit seed from any parts: counter-based, independent of process and order."""
    return int(digest_of([str(p) for p in parts])[:16], 16) >> 1
