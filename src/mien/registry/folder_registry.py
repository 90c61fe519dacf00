"""A registry of versions in one folder: content by digest, names beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mien.core.catalogue import (
    EVERYTHING,
    Alias,
    Diff,
    Edge,
    Entry,
    ItemFilter,
    Relations,
    Verification,
    check_alias,
    check_name,
    check_request_id,
    split_reference,
)
from mien.core.errors import Corrupt, NotFound
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item
from mien.registry.diff import summary
from mien.registry.layout import read_info
from mien.registry.lineage import relations
from mien.registry.name_index import Line, NameIndex, unknown_alias, unknown_version
from mien.registry.read import Version, open_version
from mien.registry.staging import staged
from mien.registry.write import Duplicates, copy_in, fill, publish


class FolderRegistry:
    """Immutable versions under ``root/versions/<digest>``, found by name, alias or digest.

    ``root/names.jsonl`` records, oldest first, which digest was created under which name; it
    only grows. Threads and processes may share a root.
    """

    def __init__(self, root: Path, *, duplicates: Duplicates = "error") -> None:
        self.root = root
        self._index = NameIndex(root)
        self._duplicates: Duplicates = duplicates

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
            AlreadyExists: ``OTHER_LICENCES`` for known content with other rights;
                ``REQUEST_ID_REUSED``.
            Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
            Conflict: ``REGISTRY_LOCKED`` when the index stays locked.
        """
        check_name(name)
        check_request_id(request_id)
        # All writers of a root stage beside the same name, so each removes what killed ones left.
        with staged(self.root / "versions" / "new") as temporary:
            info = fill(
                items,
                temporary,
                target=self.root,
                name=name,
                provenance=provenance,
                licences=licences,
                shard_rows=4096,
                duplicates="keep" if keep_duplicates else self._duplicates,
            )
            there = publish(temporary, self._folder(info.digest), info, replace=False)
        self._index.record(name, there.digest, request_id)
        return replace(there, name=name)

    def import_version(self, name: str, folder: Path, *, request_id: str = "") -> VersionInfo:
        """Freeze a version's folder under a name, its bytes as they are; verified on the way.

        Raises:
            Invalid: ``VERSION_NAME``, ``REQUEST_ID``. NotFound: ``VERSION_MISSING``.
            Corrupt: when the folder is damaged. Others as ``create``.
        """
        check_name(name)
        check_request_id(request_id)
        with staged(self.root / "versions" / "new") as temporary:
            info = copy_in(folder, temporary, target=self.root)
            there = publish(temporary, self._folder(info.digest), info, replace=False)
        self._index.record(name, there.digest, request_id)
        return replace(there, name=name)

    def get(self, reference: str) -> VersionInfo:
        """Find a version by name (its latest), name@alias or digest.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: when it is damaged.
        """
        return self.open(reference).info

    def entry(self, reference: str) -> Entry:
        """Find the latest entry of the history that a reference means; also ``name@digest``."""
        sequence, line = self._resolve(reference)
        return Entry(self._open(line).info, sequence, line.created)

    def versions(self, name: str | None = None) -> Sequence[VersionInfo]:
        """List versions, oldest first: all, or those created under a name.

        A version is listed each time it became the latest of a name.
        """
        return [e.info for e in self._entries(name)]

    def history(
        self, name: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[Entry]:
        """List entries behind a place in the history, oldest first, at most ``limit``."""
        return self._entries(name, after, limit)

    def items(self, reference: str, where: ItemFilter | None = None) -> Iterator[Item]:
        """Stream a version's items in manifest order, verified; ``Corrupt`` names a bad item."""
        return self.open(reference).select(where or EVERYTHING)

    def diff(self, before: str, after: str, *, max_ids: int = 100) -> Diff:
        """Compare two versions by class, subject, source and quality."""
        return summary(self.open(before).manifest, self.open(after).manifest, max_ids=max_ids)

    def set_alias(self, name: str, alias: str, reference: str, *, expect: str = "") -> Alias:
        """Point an alias of a name at a version; with ``expect``, compare and set.

        Raises:
            Invalid: ``VERSION_NAME``, ``ALIAS_NAME``. NotFound: ``UNKNOWN_VERSION``.
            Conflict: ``ALIAS_MOVED``, ``REGISTRY_LOCKED``.
        """
        check_alias(alias)
        digest = self._resolve(reference)[1].digest
        self._resolve(f"{check_name(name)}@{digest}")
        return self._index.set_alias(name, alias, digest, expect)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; ``NotFound`` ``UNKNOWN_ALIAS`` when there is none."""
        if not self.root.is_dir():
            raise unknown_alias(name, alias)
        self._index.delete_alias(name, alias)

    def aliases(
        self, name: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Alias]:
        """List aliases by name and alias, behind a pair of them, at most ``limit``."""
        found = (a for a in self._index.aliases() if name in (None, a.name))
        return [a for a in found if (a.name, a.alias) > after][:limit]

    def lineage(self, reference: str, *, down: bool = False, depth: int = 0) -> Relations:
        """Follow what a version was made from, or (down) what was made from it; 0 = all steps."""
        known = {e.info.digest: e.info for e in self._entries()}
        edges = [
            Edge(digest, parent, role)
            for digest, info in known.items()
            for role, parent in sorted(info.provenance.parents.items())
        ]
        return relations(
            self._resolve(reference)[1].digest,
            known.get,
            lambda digest: [e for e in edges if digest == (e.parent if down else e.child)],
            down=down,
            depth=depth,
        )

    def verify(self, reference: str) -> Verification:
        """Read every byte and compare; damage is in the answer, no error."""
        line = self._resolve(reference)[1]
        try:
            return self._open(line).inspect()
        except (Corrupt, NotFound) as error:
            return Verification(line.digest, 0, (error.message,))

    def open(self, reference: str) -> Version:
        """Open a version by name (its latest), name@alias or digest, to read some of it.

        Raises:
            NotFound: ``UNKNOWN_VERSION``. Corrupt: when it is damaged.
        """
        return self._open(self._resolve(reference)[1])

    def _open(self, line: Line) -> Version:
        version = open_version(self._folder(line.digest))
        if version.info.digest != line.digest:
            raise Corrupt(
                "VERSION_FILE",
                f"{version.folder} holds another version, {version.info.digest}",
                hint="restore it from a good copy",
            )
        info = replace(version.info, name=line.name)
        return Version(version.folder, info, version.manifest_digest)

    def _entries(
        self, name: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Entry]:
        lines = enumerate(self._index.lines(), 1)
        chosen = [(i, li) for i, li in lines if i > after and name in (None, li.name)][:limit]
        infos = {li.digest: read_info(self._folder(li.digest))[0] for _, li in chosen}
        return [Entry(replace(infos[li.digest], name=li.name), i, li.created) for i, li in chosen]

    def _resolve(self, reference: str) -> tuple[int, Line]:
        known = self._index.lines()
        name, rest = split_reference(reference)
        pointed = {(a.name, a.alias): a.digest for a in self._index.aliases()} if rest else {}
        digest = pointed.get((name, rest), rest)
        for sequence, line in reversed([*enumerate(known, 1)]):
            if name in ("", line.name) and digest in ("", line.digest):
                return sequence, line
        raise unknown_version(reference, sorted({line.name for line in known}))

    def _folder(self, digest: str) -> Path:
        return self.root / "versions" / digest
