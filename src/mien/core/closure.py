"""What a fitted artefact saw, and what those artefacts saw that it was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Closure:
    """The transitive closure of subjects and digests behind a generator, teacher, judge or filter.

    Attributes:
        subjects: qualified subjects, real or invented, whose faces it saw.
        digests: of the original images, versions and artefacts it saw.
    """

    subjects: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    def __or__(self, other: Closure) -> Closure:
        """Join what two artefacts saw."""
        return Closure(self.subjects | other.subjects, self.digests | other.digests)

    @classmethod
    def union(cls, parts: Iterable[Closure]) -> Closure:
        """Join what several artefacts saw."""
        joined = cls()
        for part in parts:
            joined = joined | part
        return joined

    def to_json(self) -> dict[str, list[str]]:
        """Return plain values, sorted."""
        return {"subjects": sorted(self.subjects), "digests": sorted(self.digests)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Closure:
        """Read what ``to_json`` gave.

        Raises:
            KeyError, TypeError: when it is something else.
        """
        return cls(frozenset(value["subjects"]), frozenset(value["digests"]))
