"""The ``Registry`` port over the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1.registry_pb2_grpc import RegistryServiceStub
from mien.api.type.v1 import face_pb2
from mien.core.catalogue import Alias, Diff, Entry, ItemFilter, Relations, Verification
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item
from mien.wire.catalogue import (
    alias_of,
    diff_of,
    entry_of,
    filter_message,
    lineage_of,
    verification_of,
)
from mien.wire.channel import translated
from mien.wire.faces import item_message, item_of
from mien.wire.streams import Outgoing, begun, pages
from mien.wire.versions import licence_message, provenance_message, version_of

_BATCH_ITEMS = 256
_BATCH_BYTES = 1 << 20
_LONG_S = 3600.0  # every byte of a large version is read
_PAGE = 1000


class RegistryClient:
    """A registry service, used as any other registry.

    Args:
        channel: to the service, from ``mien.wire.channel.open_channel``.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = RegistryServiceStub(channel)

    def create(
        self,
        name: str,
        items: Iterable[Item],
        *,
        provenance: Provenance,
        licences: Mapping[str, Licence],
        request_id: str = "",
        keep_duplicates: bool = False,
    ) -> VersionInfo:
        """Freeze items under a name; the same content again is the same version.

        Raises:
            Invalid: ``VERSION_NAME``, ``REQUEST_ID``, ``BAD_SAMPLE``, ``EMPTY_IMAGE`` and
                whatever else is wrong with an item. AlreadyExists: ``OTHER_LICENCES``,
                ``REQUEST_ID_REUSED``. Exhausted: ``DISK_FULL``. Conflict: ``REGISTRY_LOCKED``.
                And what ``items`` itself raises; nothing is frozen then.
        """
        header = pb.CreateVersionRequest(
            header=pb.CreateVersionHeader(
                name=name,
                provenance=provenance_message(provenance),
                licences={source: licence_message(found) for source, found in licences.items()},
                request_id=request_id,
                keep_duplicates=keep_duplicates,
            )
        )

        def messages(given: Iterator[Item]) -> Iterator[pb.CreateVersionRequest]:
            yield header
            sent = 0
            for batch in _batches(given):
                sent += len(batch.items)
                yield pb.CreateVersionRequest(batch=batch)
            yield pb.CreateVersionRequest(end=pb.CreateVersionEnd(items=sent))

        outgoing = Outgoing(items, messages)
        with outgoing.blame(), translated():
            call = self._stub.CreateVersion.future(iter(outgoing))
            try:
                return version_of(call.result())
            finally:
                with suppress(Exception):
                    call.cancel()

    def import_version(self, name: str, folder: Path, *, request_id: str = "") -> VersionInfo:
        """Freeze a version's folder, which lies where the service may read, under a name.

        Raises:
            Invalid: ``VERSION_NAME``, ``REQUEST_ID``. Forbidden: ``IMPORT_FORBIDDEN``.
            NotFound: ``VERSION_MISSING``. Corrupt: when it is damaged.
        """
        request = pb.ImportVersionRequest(name=name, folder=str(folder), request_id=request_id)
        with translated():
            return version_of(self._stub.ImportVersion(request, timeout=_LONG_S))

    def get(self, reference: str) -> VersionInfo:
        """Find a version; ``NotFound UNKNOWN_VERSION`` otherwise."""
        return self.entry(reference).info

    def entry(self, reference: str) -> Entry:
        """Find the latest entry of the history that a reference means.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: when it is damaged.
        """
        with translated():
            return entry_of(self._stub.GetVersion(pb.GetVersionRequest(reference=reference)))

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first."""
        return [entry.info for entry in self._entries(name)]

    def history(
        self, name: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[Entry]:
        """List entries behind a place in the history, oldest first, at most ``limit``."""
        return list(islice((e for e in self._entries(name) if e.sequence > after), limit))

    def items(self, reference: str, where: ItemFilter | None = None) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified where they lie.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: names a bad item; as it is reached.
        """
        request = pb.StreamItemsRequest(
            reference=reference, filter=None if where is None else filter_message(where)
        )
        return begun(self._stub.StreamItems(request), item_of)

    def diff(self, before: str, after: str, *, max_ids: int = 100) -> Diff:
        """Compare two versions by class, subject, source and quality."""
        request = pb.DiffVersionsRequest(before=before, after=after, max_ids=max_ids)
        with translated():
            return diff_of(self._stub.DiffVersions(request))

    def set_alias(self, name: str, alias: str, reference: str, *, expect: str = "") -> Alias:
        """Point an alias of a name at a version.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Invalid: ``ALIAS_NAME``. Conflict: ``ALIAS_MOVED``.
        """
        request = pb.SetAliasRequest(
            name=name, alias=alias, reference=reference, expect_digest=expect
        )
        with translated():
            return alias_of(self._stub.SetAlias(request))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; ``NotFound UNKNOWN_ALIAS`` when there is none."""
        with translated():
            self._stub.DeleteAlias(pb.DeleteAliasRequest(name=name, alias=alias))

    def aliases(
        self, name: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Alias]:
        """List aliases by name and alias, behind a pair of them, at most ``limit``."""
        found = (
            alias_of(message)
            for page in pages(
                self._stub.ListAliases, pb.ListAliasesRequest(name=name or "", page_size=_PAGE)
            )
            for message in page.aliases
        )
        return list(islice((a for a in found if (a.name, a.alias) > after), limit))

    def lineage(self, reference: str, *, down: bool = False, depth: int = 0) -> Relations:
        """Follow what a version was made from, or (down) what was made from it; 0 = all steps."""
        request = pb.GetLineageRequest(reference=reference, down=down, depth=depth)
        with translated():
            return lineage_of(self._stub.GetLineage(request))

    def verify(self, reference: str) -> Verification:
        """Read every byte where it lies and compare; damage is in the answer, no error."""
        request = pb.VerifyVersionRequest(reference=reference)
        with translated():
            return verification_of(self._stub.VerifyVersion(request, timeout=_LONG_S))

    def _entries(self, name: str | None) -> Iterator[Entry]:
        request = pb.ListVersionsRequest(name=name or "", page_size=_PAGE)
        for page in pages(self._stub.ListVersions, request):
            yield from (entry_of(message) for message in page.versions)


def _batches(items: Iterator[Item]) -> Iterator[pb.ItemBatch]:
    """Pack items: few messages, none large."""
    batch: list[face_pb2.Item] = []
    size = 0
    for item in items:
        batch.append(item_message(item))
        size += len(item.image)
        if len(batch) >= _BATCH_ITEMS or size >= _BATCH_BYTES:
            yield pb.ItemBatch(items=batch)
            batch, size = [], 0
    if batch:
        yield pb.ItemBatch(items=batch)
