"""What a registry tells about its versions: entries, filters, differences, aliases, lineage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mien.core.errors import Conflict, Invalid
from mien.core.expression import Expression
from mien.core.manifest import VersionInfo
from mien.core.sample import Origin, Sample

NO_ALIAS = "none"  # as expected digest: only if there is no such alias yet
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ALIAS = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REQUEST = re.compile(r"[!-~]{0,200}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a registry's history: a version became the latest of a name.

    Attributes:
        info: the version, under that name.
        sequence: place in the history, from 1, without gaps.
        created: when it was registered, UTC.
    """

    info: VersionInfo
    sequence: int
    created: datetime


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Keeps a sample when every list that is given holds it; the empty filter keeps all.

    Attributes:
        expressions: labels.
        subjects: qualified subjects.
        sources: databases or generators.
        origin: ``real``, ``synthetic`` or None for both.
        ids: sample ids.
    """

    expressions: frozenset[Expression] = frozenset()
    subjects: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    origin: Origin | None = None
    ids: frozenset[str] = frozenset()

    def keeps(self, sample: Sample) -> bool:
        """Tell whether a sample passes."""
        return (
            (not self.expressions or sample.expression in self.expressions)
            and (not self.subjects or sample.subject in self.subjects)
            and (not self.sources or sample.source in self.sources)
            and (self.origin is None or sample.origin == self.origin)
            and (not self.ids or sample.id in self.ids)
        )


EVERYTHING = ItemFilter()


@dataclass(frozen=True, slots=True)
class Group:
    """Counts of one value of one property, in two versions.

    Attributes:
        by: ``expression``, ``subject``, ``source`` or ``quality`` (``usable`` or a failure).
        value: of the property; "" where there is none.
        before: samples in the older version.
        after: samples in the newer one.
    """

    by: str
    value: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Diff:
    """How two versions differ, sample by sample.

    Attributes:
        before: digest of the older one.
        after: digest of the newer one.
        added: samples only in the newer one.
        removed: samples only in the older one.
        changed: samples in both whose row or image differs.
        added_ids: some of them, sorted; likewise the next two.
        removed_ids: some of those removed.
        changed_ids: some of those changed.
        groups: the properties' values whose counts differ.
    """

    before: str
    after: str
    added: int
    removed: int
    changed: int
    added_ids: tuple[str, ...] = ()
    removed_ids: tuple[str, ...] = ()
    changed_ids: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name of a version.

    Attributes:
        name: of the versions it belongs to.
        alias: lower case, ``latest-good``.
        digest: where it points.
        updated: when it was moved, UTC.
    """

    name: str
    alias: str
    digest: str
    updated: datetime


@dataclass(frozen=True, slots=True)
class Edge:
    """One thing was made from another.

    Attributes:
        child: digest of what was made.
        parent: digest of what it was made from; need not be a registered version.
        role: of the parent, ``faces`` or ``generator``.
    """

    child: str
    parent: str
    role: str


@dataclass(frozen=True, slots=True)
class Relations:
    """What a version was made from, or what was made from it.

    Attributes:
        root: digest it was asked of.
        edges: every step found, nearer ones first.
        versions: the registered versions among them, by digest; the root too.
    """

    root: str
    edges: tuple[Edge, ...] = ()
    versions: Mapping[str, VersionInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading every byte of a version found.

    Attributes:
        digest: of the version.
        items_right: items that were read and are what was written.
        damage: file or item and how it is damaged; empty = nothing.
    """

    digest: str
    items_right: int
    damage: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """Return the name of a version if it is one.

    Raises:
        Invalid: ``VERSION_NAME``.
    """
    if not _NAME.fullmatch(name) or is_digest(name):
        raise Invalid(
            "VERSION_NAME",
            f"{name[:120]!r} is no name for a version",
            hint="1 to 100 letters, digits, dots, dashes, underscores; no digest",
            details={"field:name": "1 to 100 letters, digits, dots, dashes, underscores"},
        )
    return name


def check_alias(alias: str) -> str:
    """Return the alias if it is one.

    Raises:
        Invalid: ``ALIAS_NAME``.
    """
    if not _ALIAS.fullmatch(alias) or is_digest(alias):
        raise Invalid(
            "ALIAS_NAME",
            f"{alias[:120]!r} is no alias",
            hint="1 to 100 lower-case letters, digits and dashes; no digest",
            details={"field:alias": "1 to 100 lower-case letters, digits, dashes"},
        )
    return alias


def check_request_id(request_id: str) -> str:
    """Return the id of a request if it is one; "" is none.

    Raises:
        Invalid: ``REQUEST_ID``.
    """
    if not _REQUEST.fullmatch(request_id):
        raise Invalid(
            "REQUEST_ID",
            f"{request_id[:120]!r} is no id of a request",
            hint="at most 200 printable ASCII characters without spaces; a UUID does",
            details={"field:request_id": "at most 200 printable ASCII characters"},
        )
    return request_id


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest: 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``name``, ``digest`` or ``name@alias`` (or ``name@digest``) into name and rest.

    Returns:
        Name and alias or digest; either is "" where it is not given, and what is no reference
        comes back as a name that nothing can have.
    """
    if is_digest(reference):
        return "", reference
    name, at, rest = reference.partition("@")
    plain = _NAME.fullmatch(name) and not is_digest(name)
    if not plain or (at and not _ALIAS.fullmatch(rest)):
        return "@", ""
    return name, rest


def alias_moved(name: str, alias: str, expected: str, found: str) -> Conflict:
    """Say that an alias does not point where the caller thought."""
    return Conflict(
        "ALIAS_MOVED",
        f"{name}@{alias} points at {found or 'nothing'}, not at {expected}",
        hint="read it again and decide anew",
        details={"name": name, "alias": alias, "digest": found},
    )
