"""A registry for many writers: names and history in a database, bytes in blobs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.adapters.catalogue.blobs import Blobs
from mien.adapters.catalogue.catalogue import Catalogue
from mien.core.catalogue import (
    EVERYTHING,
    Alias,
    Diff,
    Entry,
    ItemFilter,
    Relations,
    Verification,
    check_alias,
    check_name,
    check_request_id,
)
from mien.core.errors import Corrupt, NotFound
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item
from mien.registry.diff import summary
from mien.registry.lineage import relations

if TYPE_CHECKING:  # a service starts without Arrow
    from mien.registry.read import Version
    from mien.registry.write import Duplicates

_OPEN_VERSIONS = 4  # their manifests' columns stay in memory


class CatalogueRegistry:
    """Immutable versions, found by name, alias or digest; linear history.

    A version is published in this order: its files reach the disk (or the object store), then
    one transaction makes it known. A writer that is killed before leaves nothing that anybody
    sees; whole content that it left is taken up when it comes again.
    """

    def __init__(
        self, catalogue: Catalogue, blobs: Blobs, *, duplicates: Duplicates = "error"
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._duplicates: Duplicates = duplicates
        self._open: OrderedDict[str, Version] = OrderedDict()
        self._lock = threading.Lock()

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

        Content that is there already keeps the provenance it first came with.

        Raises:
            Invalid: ``VERSION_NAME``, ``REQUEST_ID``, and what ``write_version`` raises.
            AlreadyExists: ``OTHER_LICENCES``, ``REQUEST_ID_REUSED``.
            Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
            Conflict: ``REGISTRY_LOCKED``.
            Unavailable: ``DATABASE_UNAVAILABLE``, ``BLOBS_UNAVAILABLE``.
        """
        from mien.registry.write import fill

        check_name(name)
        check_request_id(request_id)
        with self._blobs.staging() as temporary:
            info = fill(
                items,
                temporary,
                target=temporary.parent,
                name=name,
                provenance=provenance,
                licences=licences,
                shard_rows=4096,
                duplicates="keep" if keep_duplicates else self._duplicates,
            )
            return self._publish(temporary, info, name, request_id)

    def import_version(self, name: str, folder: Path, *, request_id: str = "") -> VersionInfo:
        """Freeze a version's folder under a name, its bytes as they are; verified on the way.

        Raises:
            Invalid: ``VERSION_NAME``, ``REQUEST_ID``. NotFound: ``VERSION_MISSING``.
            Corrupt: when the folder is damaged. Others as ``create``.
        """
        from mien.registry.write import copy_in

        check_name(name)
        check_request_id(request_id)
        with self._blobs.staging() as temporary:
            info = copy_in(folder, temporary, target=temporary.parent)
            return self._publish(temporary, info, name, request_id)

    def get(self, reference: str) -> VersionInfo:
        """Find a version by name (its latest), name@alias or digest.

        Raises:
            NotFound: ``UNKNOWN_VERSION``.
        """
        return self._catalogue.find(reference).info

    def entry(self, reference: str) -> Entry:
        """Find the latest entry of the history that a reference means; also ``name@digest``."""
        return self._catalogue.find(reference)

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first: each time one became the latest of a name."""
        return [e.info for e in self._catalogue.history(name, 0, None)]

    def history(
        self, name: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[Entry]:
        """List entries behind a place in the history, oldest first, at most ``limit``."""
        return self._catalogue.history(name, after, limit)

    def items(self, reference: str, where: ItemFilter | None = None) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified; ``Corrupt`` names a bad item."""
        return self._stream(self._version(reference), where or EVERYTHING)

    def diff(self, before: str, after: str, *, max_ids: int = 100) -> Diff:
        """Compare two versions by class, subject, source and quality."""
        old, new = (self._opened(self.get(r).digest) for r in (before, after))
        return summary(old.manifest, new.manifest, max_ids=max_ids)

    def set_alias(self, name: str, alias: str, reference: str, *, expect: str = "") -> Alias:
        """Point an alias of a name at a version; with ``expect``, compare and set.

        Raises:
            Invalid: ``VERSION_NAME``, ``ALIAS_NAME``. NotFound: ``UNKNOWN_VERSION``.
            Conflict: ``ALIAS_MOVED``, ``REGISTRY_LOCKED``.
        """
        check_alias(alias)
        digest = self.get(reference).digest
        self._catalogue.find(f"{check_name(name)}@{digest}")
        return self._catalogue.set_alias(name, alias, digest, expect)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; ``NotFound`` ``UNKNOWN_ALIAS`` when there is none."""
        self._catalogue.delete_alias(name, alias)

    def aliases(
        self, name: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Alias]:
        """List aliases by name and alias, behind a pair of them, at most ``limit``."""
        return self._catalogue.aliases(name, after, limit)

    def lineage(self, reference: str, *, down: bool = False, depth: int = 0) -> Relations:
        """Follow what a version was made from, or (down) what was made from it; 0 = all steps."""
        return relations(
            self.get(reference).digest,
            lambda digest: self._catalogue.known([digest]).get(digest),
            lambda digest: self._catalogue.edges(digest, down=down),
            down=down,
            depth=depth,
        )

    def verify(self, reference: str) -> Verification:
        """Read every byte where it is kept and compare; damage is in the answer, no error."""
        digest = self.get(reference).digest
        self._forget(digest)
        try:
            with self._blobs.fresh(self._location(digest)) as folder:
                return _open(folder, digest).inspect()
        except (Corrupt, NotFound) as error:
            return Verification(digest, 0, (error.message,))

    def clean(self) -> None:
        """Remove what killed writers left half-written; living writers are not touched."""
        with self._blobs.staging():
            pass

    def why_not(self) -> str | None:
        """Say why nothing can be read or written just now; None = all is well."""
        try:
            self._catalogue.ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            return str(error)
        return self._blobs.why_not()

    def _publish(
        self, temporary: Path, info: VersionInfo, name: str, request_id: str
    ) -> VersionInfo:
        known = self._catalogue.location(info.digest)
        if known is not None:
            self._catalogue.check_licences(info)
        location, there = self._blobs.keep(temporary, info, known)
        entry = self._catalogue.record(name, there, location, request_id)
        if known is not None and (location != known or there.shards != entry.info.shards):
            self._catalogue.move(there, location)  # damaged bytes were written anew
            self._forget(info.digest)
        return entry.info

    def _stream(self, version: Version, where: ItemFilter) -> Iterator[Item]:
        try:
            yield from version.select(where)
        except Corrupt:  # of what was cached, perhaps: read it anew the next time
            self._forget(version.info.digest)
            self._blobs.forget(self._location(version.info.digest))
            raise

    def _version(self, reference: str) -> Version:
        digest = self.get(reference).digest
        with self._lock:
            if digest in self._open:
                self._open.move_to_end(digest)
                return self._open[digest]
        version = self._opened(digest)
        with self._lock:
            self._open[digest] = version
            while len(self._open) > _OPEN_VERSIONS:
                self._open.popitem(last=False)
        return version

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._open.pop(digest, None)

    def _opened(self, digest: str) -> Version:
        return _open(self._blobs.open(self._location(digest)), digest)

    def _location(self, digest: str) -> str:
        location = self._catalogue.location(digest)
        if location is None:
            raise Corrupt("NAME_INDEX", f"the catalogue lost {digest}'s place", hint=_RESTORE)
        return location


def open_registry(database_url: str, blobs_url: str, folder: Path) -> CatalogueRegistry:
    """Open a registry.

    Args:
        database_url: SQLAlchemy's; "" = SQLite in ``folder``.
        blobs_url: fsspec's; "" = a folder in ``folder``.
        folder: of this machine, for what has no other place.

    Raises:
        Invalid: ``DATABASE_URL``, ``BLOBS_URL``, ``CATALOGUE_FORMAT``.
        Unavailable: ``DATABASE_UNAVAILABLE``.
    """
    from mien.adapters.catalogue.blobs import open_blobs

    catalogue = Catalogue(database_url or f"sqlite:///{folder / 'catalogue.db'}")
    blobs = open_blobs(blobs_url or str(folder / "blobs"), folder / "scratch")
    return CatalogueRegistry(catalogue, blobs)


def _open(folder: Path, digest: str) -> Version:
    from mien.registry.read import open_version

    try:
        version = open_version(folder)
    except NotFound as error:  # it is known: its bytes are gone
        raise Corrupt(
            "VERSION_FILE", f"{error.message}, which {digest} must be", hint=_RESTORE
        ) from None
    if version.info.digest != digest:
        raise Corrupt(
            "VERSION_FILE",
            f"{folder} holds another version, {version.info.digest}",
            hint=_RESTORE,
        )
    return version


_RESTORE = "restore it from a good copy"
