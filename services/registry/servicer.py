"""The registry over the wire: messages to words and back, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1.registry_pb2_grpc import RegistryServiceServicer
from mien.api.type.v1 import face_pb2, version_pb2
from mien.core.errors import Forbidden, Invalid
from mien.core.pages import page_size, read_token, write_token
from mien.core.ports import Registry
from mien.core.sample import Item
from mien.wire.catalogue import (
    alias_message,
    diff_message,
    entry_message,
    filter_of,
    lineage_message,
    verification_message,
)
from mien.wire.faces import item_message, item_of
from mien.wire.streams import ACCEPTED
from mien.wire.versions import licences_of, provenance_of
from services.registry.webhook import Event, nobody

SERVICE = "mien.api.registry.v1.RegistryService"
_USUAL_IDS = 100
_MOST_IDS = 10_000


class RegistryServicer(RegistryServiceServicer):
    """The port ``Registry`` as a service.

    Args:
        registry: does the work.
        import_roots: folders that versions may be imported from.
        tell: is told of every version committed and alias moved.
    """

    def __init__(
        self,
        registry: Registry,
        import_roots: Sequence[Path] = (),
        tell: Callable[[Event], None] = nobody,
    ) -> None:
        self._registry = registry
        self._tell = tell
        self._roots = tuple(root.resolve() for root in import_roots)

    def CreateVersion(
        self, request_iterator: Iterator[pb.CreateVersionRequest], context: grpc.ServicerContext
    ) -> version_pb2.Version:
        """Freeze what is streamed; of the images, a row group is in memory at a time."""
        header = _header(request_iterator)
        info = self._registry.create(
            header.name,
            _items(request_iterator),
            provenance=provenance_of(header.provenance),
            licences=licences_of(header.licences),
            request_id=header.request_id,
            keep_duplicates=header.keep_duplicates,
        )
        self._tell(Event("version", info.name, info.digest))
        return self._version(f"{info.name}@{info.digest}")

    def ImportVersion(
        self, request: pb.ImportVersionRequest, context: grpc.ServicerContext
    ) -> version_pb2.Version:
        """Freeze a folder below one of the import roots."""
        folder = self._allowed(request.folder)
        info = self._registry.import_version(request.name, folder, request_id=request.request_id)
        self._tell(Event("version", info.name, info.digest))
        return self._version(f"{info.name}@{info.digest}")

    def GetVersion(
        self, request: pb.GetVersionRequest, context: grpc.ServicerContext
    ) -> version_pb2.Version:
        """Find a version."""
        return self._version(request.reference)

    def ListVersions(
        self, request: pb.ListVersionsRequest, context: grpc.ServicerContext
    ) -> pb.ListVersionsResponse:
        """List versions."""
        size = page_size(request.page_size)
        listed = f"versions of {request.name}"
        after = read_token(listed, request.page_token, 0)
        found = self._registry.history(request.name or None, after=after, limit=size + 1)
        more = len(found) > size
        return pb.ListVersionsResponse(
            versions=[entry_message(entry) for entry in found[:size]],
            next_page_token=write_token(listed, found[size - 1].sequence) if more else "",
        )

    def DiffVersions(
        self, request: pb.DiffVersionsRequest, context: grpc.ServicerContext
    ) -> pb.DiffVersionsResponse:
        """Compare two versions."""
        ids = min(max(request.max_ids, 0) or _USUAL_IDS, _MOST_IDS)
        return diff_message(self._registry.diff(request.before, request.after, max_ids=ids))

    def StreamItems(
        self, request: pb.StreamItemsRequest, context: grpc.ServicerContext
    ) -> Iterator[face_pb2.Item]:
        """Stream items; the next is read when the caller has taken the last."""
        where = filter_of(request.filter) if request.HasField("filter") else None
        items = self._registry.items(request.reference, where)
        context.send_initial_metadata(ACCEPTED)
        for item in items:
            yield item_message(item)

    def SetAlias(self, request: pb.SetAliasRequest, context: grpc.ServicerContext) -> pb.Alias:
        """Point an alias at a version."""
        moved = self._registry.set_alias(
            request.name, request.alias, request.reference, expect=request.expect_digest
        )
        self._tell(Event("alias", moved.name, moved.digest, moved.alias))
        return alias_message(moved)

    def DeleteAlias(
        self, request: pb.DeleteAliasRequest, context: grpc.ServicerContext
    ) -> pb.DeleteAliasResponse:
        """Remove an alias."""
        self._registry.delete_alias(request.name, request.alias)
        return pb.DeleteAliasResponse()

    def ListAliases(
        self, request: pb.ListAliasesRequest, context: grpc.ServicerContext
    ) -> pb.ListAliasesResponse:
        """List aliases."""
        size = page_size(request.page_size)
        listed = f"aliases of {request.name}"
        name, alias = read_token(listed, request.page_token, ("", ""))
        found = self._registry.aliases(request.name or None, after=(name, alias), limit=size + 1)
        last = found[size - 1] if len(found) > size else None
        return pb.ListAliasesResponse(
            aliases=[alias_message(alias) for alias in found[:size]],
            next_page_token=write_token(listed, (last.name, last.alias)) if last else "",
        )

    def GetLineage(
        self, request: pb.GetLineageRequest, context: grpc.ServicerContext
    ) -> pb.Lineage:
        """Follow a version up or down."""
        depth = max(request.depth, 0)
        return lineage_message(
            self._registry.lineage(request.reference, down=request.down, depth=depth)
        )

    def VerifyVersion(
        self, request: pb.VerifyVersionRequest, context: grpc.ServicerContext
    ) -> pb.VerifyVersionResponse:
        """Read every byte."""
        return verification_message(self._registry.verify(request.reference))

    def _version(self, reference: str) -> version_pb2.Version:
        return entry_message(self._registry.entry(reference))

    def _allowed(self, folder: str) -> Path:
        """Return the folder with its links followed, if that is below an import root."""
        try:
            found = Path(folder).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            found = None
        if found is None or not any(found.is_relative_to(root) for root in self._roots):
            raise Forbidden(
                "IMPORT_FORBIDDEN",
                f"{folder[:200]!r} is no folder that may be imported from",
                hint="name a folder below one of the server's MIEN_SERVER_IMPORT_ROOTS",
            )
        return found


def _header(requests: Iterator[pb.CreateVersionRequest]) -> pb.CreateVersionHeader:
    first = next(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise Invalid(
            "STREAM_HEADER",
            "the first message brings no header",
            hint="send the header first, then items, then the end",
        )
    return first.header


def _items(requests: Iterator[pb.CreateVersionRequest]) -> Iterator[Item]:
    """Read items until the end is said; nothing else makes a stream complete."""
    count = 0
    for request in requests:
        part = request.WhichOneof("part")
        if part == "end":
            if request.end.items != count or next(requests, None) is not None:
                raise _cut(f"{request.end.items} items were announced and {count} came")
            return
        if part != "batch":
            raise Invalid(
                "STREAM_HEADER",
                f"a message after the first brings {part or 'nothing'}",
                hint="send the header once, then batches, then the end",
            )
        count += len(request.batch.items)
        yield from map(item_of, request.batch.items)
    raise _cut(f"the stream ended after {count} items without its end being said")


def _cut(what: str) -> Invalid:
    return Invalid(
        "STREAM_CUT", what, hint="send everything again; with the same request_id it is safe"
    )
