"""What a reader is, what reading gives, and how readers count what they pass over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core.manifest import Licence
from mien.core.sample import Item


@dataclass(slots=True)
class Notes:
    """Counts of what a reader passed over or found odd, by kind, with the first example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def count(self, kind: str, example: str) -> None:
        """Count one more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.examples.setdefault(kind, example)

    def lines(self) -> list[str]:
        """Return one sentence a kind: what, how many, the first one."""
        return [f"{kind}: {n} (first: {self.examples[kind]})" for kind, n in self.counts.items()]


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader function is given.

    Attributes:
        root: folder or file to read; for rendered databases the current folder, never read.
        params: the reader's validated parameters.
        notes: counts that become warnings.
        workers: processes that may be used; the result never depends on it.
    """

    root: Path
    params: Any
    notes: Notes
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """A database being read.

    Attributes:
        items: samples with their bytes, lazily; can be gone through once.
        licences: source → licence; known before the first item.
        warnings: sentences, complete when ``items`` is exhausted.
        parents: role → digest of what the faces are made with (``head``), {} for those read.
    """

    items: Iterator[Item]
    licences: Mapping[str, Licence]
    warnings: list[str] = field(default_factory=list)
    parents: Mapping[str, str] = field(default_factory=dict)


ReadFunction = Callable[[Source], Iterator[Item]]
LicenceFunction = Callable[[Source], Mapping[str, Licence]]
ParentFunction = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ReaderEntry:
    """One row of the reader table.

    Attributes:
        name: of the reader.
        function: reads the items.
        summary: one line for people.
        has_subjects: True, False, or None where it depends on the data.
        licence: of the database as published.
        params: model that validates the reader's parameters.
        rendered: True when the faces are made, not read: there is no root.
        licences: finds licences in the data itself; None = ``licence`` under the reader's name.
        parents: names what rendered faces are made with, by role; None = nothing.
    """

    name: str
    function: ReadFunction
    summary: str
    has_subjects: bool | None
    licence: Licence
    params: type[Any]
    rendered: bool = False
    licences: LicenceFunction | None = None
    parents: ParentFunction | None = None
