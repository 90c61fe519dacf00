"""The sorted table of samples, and what is known about where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from mien.core.digest import canonical_json, digest_lines
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.sample import Sample


@dataclass(frozen=True)
class Manifest:
    """Samples in the order of their ids; two manifests are equal when their digests are."""

    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Manifest:
        """Sort the samples by id.

        Raises:
            Invalid: ``DUPLICATE_ID`` when two samples share an id.
        """
        ordered = tuple(sorted(samples, key=lambda s: s.id))
        for before, after in pairwise(ordered):
            if before.id == after.id:
                raise Invalid(
                    "DUPLICATE_ID",
                    f"two samples are called {after.id!r} ({before.file!r} and {after.file!r})",
                    hint="the reader must name every image differently",
                    details={"id": after.id},
                )
        return cls(ordered)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @cached_property
    def digest(self) -> str:
        """Name of the content: every field of every row, the images' digests included."""
        return digest_lines(canonical_json(s) for s in self.samples)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The distinct subjects, sorted."""
        return tuple(sorted({s.subject for s in self.samples if s.subject is not None}))

    def where(self, keep: Callable[[Sample], bool]) -> Manifest:
        """Keep some of the rows."""
        return Manifest(tuple(s for s in self.samples if keep(s)))

    def counts(self) -> dict[Expression, int]:
        """Count the samples of each expression that occurs."""
        found = [s.expression for s in self.samples]
        return {e: n for e in EXPRESSIONS if (n := found.count(e))}


@dataclass(frozen=True, slots=True)
class Licence:
    """What may be done with a source's images; travels to everything derived from them.

    Attributes:
        name: SPDX id or plain words ("CC-BY-4.0", "research only").
        commercial: whether commercial use is allowed; None = unknown, treated as no.
        consent: what the people shown agreed to, or "no person is shown".
        citation: how to cite.
    """

    name: str = "unknown"
    commercial: bool | None = None
    consent: str = "unknown"
    citation: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a version was made.

    Attributes:
        maker: reader, engine or stage.
        params: its parameters, plain values.
        parents: role → digest of every version or artefact it was made from.
        code: version of this package.
        device: kind of device that made it (``cpu``, ``cuda:NVIDIA H200``).
    """

    maker: str
    params: Mapping[str, Any] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A frozen dataset version: its name, content digest, origin and rights.

    Attributes:
        name: human name, ``demo_lab``.
        digest: of the manifest (hence of every image).
        rows: number of samples.
        provenance: how it was made.
        licences: source → licence.
        shards: file name → blake3 of the file.
        schema: version of the on-disk format.
    """

    name: str
    digest: str
    rows: int
    provenance: Provenance
    licences: Mapping[str, Licence]
    shards: Mapping[str, str]
    schema: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VersionInfo:
        """Read what ``to_json`` gave.

        Raises:
            KeyError, TypeError: when it is something else.
        """
        return cls(
            **{
                **value,
                "provenance": Provenance(**value["provenance"]),
                "licences": {s: Licence(**terms) for s, terms in value["licences"].items()},
            }
        )
