"""Versions, provenance and licences as messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from mien.api.type.v1 import version_pb2 as pb
from mien.core.digest import canonical_json
from mien.core.errors import Invalid
from mien.core.manifest import Licence, Provenance, VersionInfo


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Write a moment, to the microsecond; one without a zone is taken for UTC."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment_of(stamp: Timestamp) -> datetime:
    """Read a moment in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def plain_json(value: Mapping[str, Any], *, what: str) -> str:
    """Write plain values as canonical JSON, keys sorted.

    Raises:
        Invalid: ``PROVENANCE_NOT_PLAIN`` for what is no JSON.
    """
    try:
        return canonical_json(dict(value)).decode()
    except (TypeError, ValueError) as error:
        raise Invalid(
            "PROVENANCE_NOT_PLAIN",
            f"{what} cannot be written as JSON: {error}",
            hint="use numbers, text, lists and mappings only",
        ) from None


def json_object(text: str, *, what: str, reason: str = "PROVENANCE_NOT_PLAIN") -> dict[str, Any]:
    """Read a JSON object; "" is an empty one.

    Raises:
        Invalid: ``reason`` when it is none.
    """
    try:
        found = orjson.loads(text) if text else {}
    except ValueError as error:
        raise Invalid(reason, f"{what} is not JSON: {error}", hint="send an object") from None
    if not isinstance(found, dict):
        raise Invalid(reason, f"{what} is JSON, but no object", hint='send an object: {"a": 1}')
    return found


def licence_message(licence: Licence) -> pb.Licence:
    """Write a licence."""
    return pb.Licence(
        name=licence.name,
        commercial=licence.commercial,
        consent=licence.consent,
        citation=licence.citation,
    )


def licence_of(message: pb.Licence) -> Licence:
    """Read a licence."""
    return Licence(
        message.name,
        message.commercial if message.HasField("commercial") else None,
        message.consent,
        message.citation,
    )


def licences_of(messages: Mapping[str, pb.Licence]) -> dict[str, Licence]:
    """Read the licences of all sources."""
    return {source: licence_of(messages[source]) for source in sorted(messages)}


def provenance_message(provenance: Provenance) -> pb.Provenance:
    """Write a provenance; ``Invalid PROVENANCE_NOT_PLAIN`` when its values are no JSON."""
    return pb.Provenance(
        maker=provenance.maker,
        params_json=plain_json(provenance.params, what="the provenance"),
        parents=provenance.parents,
        code=provenance.code,
        device=provenance.device,
    )


def provenance_of(message: pb.Provenance) -> Provenance:
    """Read a provenance; ``Invalid PROVENANCE_NOT_PLAIN`` when its values are no JSON object."""
    return Provenance(
        message.maker,
        json_object(message.params_json, what="params_json of the provenance"),
        dict(sorted(message.parents.items())),
        message.code,
        message.device,
    )


def version_message(
    info: VersionInfo, *, sequence: int = 0, created: datetime | None = None
) -> pb.Version:
    """Write a version.

    Args:
        info: the version.
        sequence: its place in the registry's history, from 1.
        created: when it was registered under its name.
    """
    return pb.Version(
        name=info.name,
        digest=info.digest,
        rows=info.rows,
        provenance=provenance_message(info.provenance),
        licences={source: licence_message(found) for source, found in info.licences.items()},
        shards=info.shards,
        schema=info.schema,
        sequence=sequence,
        create_time=timestamp(created),
    )


def version_of(message: pb.Version) -> VersionInfo:
    """Read a version; its place in a history stays in the message."""
    return VersionInfo(
        name=message.name,
        digest=message.digest,
        rows=message.rows,
        provenance=provenance_of(message.provenance),
        licences=licences_of(message.licences),
        shards=dict(sorted(message.shards.items())),
        schema=message.schema,
    )
