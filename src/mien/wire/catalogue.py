"""What a registry tells of its versions, as messages."""

from __future__ import annotations

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.type.v1 import version_pb2
from mien.core.catalogue import (
    Alias,
    Diff,
    Edge,
    Entry,
    Group,
    ItemFilter,
    Relations,
    Verification,
)
from mien.core.errors import Invalid
from mien.wire.faces import expression_number, expression_of, origin_number, origin_of
from mien.wire.versions import moment_of, timestamp, version_message, version_of


def entry_message(entry: Entry) -> version_pb2.Version:
    """Write a version with its place in the history."""
    return version_message(entry.info, sequence=entry.sequence, created=entry.created)


def entry_of(message: version_pb2.Version) -> Entry:
    """Read a version with its place in the history."""
    return Entry(version_of(message), message.sequence, moment_of(message.create_time))


def filter_message(where: ItemFilter) -> pb.ItemFilter:
    """Write a filter; lists sorted."""
    return pb.ItemFilter(
        expressions=sorted(expression_number(e) for e in where.expressions),
        subjects=sorted(where.subjects),
        sources=sorted(where.sources),
        origin=origin_number(where.origin),
        ids=sorted(where.ids),
    )


def filter_of(message: pb.ItemFilter) -> ItemFilter:
    """Read a filter.

    Raises:
        Invalid: ``FILTER`` for a label or origin that this release does not know.
    """
    try:
        labels = [expression_of(number) for number in message.expressions]
        origin = origin_of(message.origin)
    except Invalid as error:
        raise Invalid("FILTER", error.message, hint=error.hint) from None
    wanted = frozenset(label for label in labels if label is not None)
    if len(wanted) < len(set(labels)):
        raise Invalid("FILTER", "one of the labels is unspecified", hint="leave it out")
    return ItemFilter(
        expressions=wanted,
        subjects=frozenset(message.subjects),
        sources=frozenset(message.sources),
        origin=origin,
        ids=frozenset(message.ids),
    )


def diff_message(diff: Diff) -> pb.DiffVersionsResponse:
    """Write how two versions differ."""
    return pb.DiffVersionsResponse(
        before=diff.before,
        after=diff.after,
        added=diff.added,
        removed=diff.removed,
        changed=diff.changed,
        added_ids=diff.added_ids,
        removed_ids=diff.removed_ids,
        changed_ids=diff.changed_ids,
        groups=[
            pb.Group(by=g.by, value=g.value, before=g.before, after=g.after) for g in diff.groups
        ],
    )


def diff_of(message: pb.DiffVersionsResponse) -> Diff:
    """Read how two versions differ."""
    return Diff(
        before=message.before,
        after=message.after,
        added=message.added,
        removed=message.removed,
        changed=message.changed,
        added_ids=tuple(message.added_ids),
        removed_ids=tuple(message.removed_ids),
        changed_ids=tuple(message.changed_ids),
        groups=tuple(Group(g.by, g.value, g.before, g.after) for g in message.groups),
    )


def alias_message(alias: Alias) -> pb.Alias:
    """Write an alias."""
    return pb.Alias(
        name=alias.name,
        alias=alias.alias,
        digest=alias.digest,
        update_time=timestamp(alias.updated),
    )


def alias_of(message: pb.Alias) -> Alias:
    """Read an alias."""
    return Alias(message.name, message.alias, message.digest, moment_of(message.update_time))


def lineage_message(relations: Relations) -> pb.Lineage:
    """Write a lineage."""
    return pb.Lineage(
        root=relations.root,
        edges=[pb.Edge(child=e.child, parent=e.parent, role=e.role) for e in relations.edges],
        versions={digest: version_message(info) for digest, info in relations.versions.items()},
    )


def lineage_of(message: pb.Lineage) -> Relations:
    """Read a lineage."""
    return Relations(
        root=message.root,
        edges=tuple(Edge(e.child, e.parent, e.role) for e in message.edges),
        versions={d: version_of(message.versions[d]) for d in sorted(message.versions)},
    )


def verification_message(found: Verification) -> pb.VerifyVersionResponse:
    """Write what reading every byte found."""
    return pb.VerifyVersionResponse(
        digest=found.digest, items_right=found.items_right, damage=found.damage
    )


def verification_of(message: pb.VerifyVersionResponse) -> Verification:
    """Read what reading every byte found."""
    return Verification(message.digest, message.items_right, tuple(message.damage))
