"""Where a registry keeps the bytes of its versions: a folder, or anything fsspec reaches.

A version is its folder wherever it lies: ``versions/<digest>/`` on a disk, moved in whole.
An object store has no such move, and two writers of one content may pack it in different
orders; so there the files lie in ``versions/<digest>/<variant>/``, the variant being the digest
of ``version.json``, which names every other file's: writers of a variant write the same bytes,
and the catalogue says which variant counts. What a catalogue does not name was never published.
"""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from mien.core.digest import digest_file
from mien.core.errors import (
    AlreadyExists,
    Corrupt,
    Exhausted,
    Invalid,
    MienError,
    NotFound,
    Unavailable,
)
from mien.core.manifest import VersionInfo
from mien.registry.layout import INFO, MANIFEST, SHARDS, corrupt, read_info
from mien.registry.staging import is_left, move_in, staged

_VARIANT_LETTERS = 16
_ASK_AGAIN_S = 15.0
_LEAST_FREE = 16 << 20  # bytes; with less a service is not ready
Kept = tuple[str, VersionInfo]  # location, and what lies there
_RETRY = {"retry_after_s": "2"}


class Blobs(Protocol):
    """Keeps whole version folders."""

    def staging(self) -> AbstractContextManager[Path]:
        """Make an empty folder to fill; what is left in it at the end is removed."""
        ...

    def keep(self, temporary: Path, info: VersionInfo, known: str | None) -> Kept:
        """Keep a filled folder for good before it returns.

        Args:
            temporary: from ``staging``.
            info: of what is in it.
            known: where the same content lies already, as the catalogue says, or None.

        Returns:
            Where it lies, and what lies there: content that is there and whole stays.
        """
        ...

    def open(self, location: str) -> Path:
        """Return a folder on this machine with the version's bytes."""
        ...

    def fresh(self, location: str) -> AbstractContextManager[Path]:
        """Return a folder with the bytes as they are kept now, from no cache."""
        ...

    def forget(self, location: str) -> None:
        """Drop what is cached of a version: its bytes were found wrong."""
        ...

    def why_not(self) -> str | None:
        """Say why it cannot be used just now; None = it can."""
        ...


def open_blobs(url: str, scratch: Path) -> Blobs:
    """Open what a URL names: a folder, or a prefix in an object store.

    Args:
        url: a path, ``file://<path>``, ``s3://bucket/prefix``, or another that fsspec knows.
        scratch: folder on this machine where versions are packed and cached, if they lie
            elsewhere.

    Raises:
        Invalid: ``BLOBS_URL``.
    """
    plain = url.removeprefix("file://")
    if "://" not in plain:
        return FolderBlobs(Path(plain))
    return RemoteBlobs(url, scratch)


class FolderBlobs:
    """Versions below a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def staging(self) -> AbstractContextManager[Path]:
        """Make an empty folder on the same disk; leftovers of killed writers are removed."""
        return staged(self.root / "versions" / "new")

    def keep(self, temporary: Path, info: VersionInfo, known: str | None) -> Kept:
        """Move the folder in, or keep the same content that is there already and whole."""
        from mien.registry.write import publish

        location = known or f"versions/{info.digest}"
        folder = self.root / location
        try:
            return location, publish(temporary, folder, info, replace=False)
        except AlreadyExists as error:
            # In a place named by its content, anything else is damage. And what a writer moved in
            # and was killed before anybody saw it binds nobody to its licences.
            damaged = error.reason == "VERSION_EXISTS"
            unseen = known is None and is_left(folder)
            if not (damaged or unseen):
                raise
            return location, publish(temporary, folder, info, replace=True)

    def open(self, location: str) -> Path:
        """Return the folder."""
        return self.root / location

    @contextmanager
    def fresh(self, location: str) -> Iterator[Path]:
        """Return the folder: nothing is cached."""
        yield self.root / location

    def forget(self, location: str) -> None:
        """Nothing is cached."""

    def why_not(self) -> str | None:
        """Say when the disk is full."""
        place = self.root if self.root.exists() else self.root.parent
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            return f"{place} cannot be used: {error.strerror}"
        return None if free > _LEAST_FREE else f"{place} has only {free} bytes left"


class RemoteBlobs:
    """Versions in an object store; those that are read are cached on this machine's disk."""

    def __init__(self, url: str, scratch: Path) -> None:
        from fsspec.core import url_to_fs

        self.scratch = scratch
        self._asked = -math.inf
        self._answer: str | None = None
        try:
            self._store, self._root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise Invalid(
                "BLOBS_URL",
                f"the address of the blobs cannot be used: {error}",
                hint="a folder, or s3://bucket/prefix",
            ) from None

    def staging(self) -> AbstractContextManager[Path]:
        """Make an empty folder on this machine."""
        return staged(self.scratch / "new")

    def keep(self, temporary: Path, info: VersionInfo, known: str | None) -> Kept:
        """Upload the folder, ``version.json`` last, unless it is there already and whole."""
        if known is not None and (there := self._whole(known)) is not None:
            return known, there
        variant = digest_file(temporary / INFO)[:_VARIANT_LETTERS]
        location = f"versions/{info.digest}/{variant}"
        with self._reached(location):
            for file in files_of(info):
                self._store.put_file(str(temporary / file), self._path(location, file))
            for file in files_of(info):
                size = self._store.size(self._path(location, file))
                if size != (temporary / file).stat().st_size:
                    raise _unavailable(location, f"{file} arrived with {size} bytes")
        return location, info

    def open(self, location: str) -> Path:
        """Return the cached folder, fetched when it is not here yet."""
        folder = self._cached(location)
        if not (folder / INFO).exists():
            with staged(folder) as temporary:
                self._fetch(location, temporary)
                missing = [
                    f for f in files_of(read_info(temporary)[0]) if not (temporary / f).exists()
                ]
                if missing:
                    raise corrupt("CORRUPT_SHARD", f"{location}/{missing[0]} is missing")
                move_in(temporary, folder, replace=False)
        return folder

    @contextmanager
    def fresh(self, location: str) -> Iterator[Path]:
        """Fetch the version into a folder of its own."""
        with staged(self.scratch / "fresh") as folder:
            self._fetch(location, folder)
            yield folder

    def forget(self, location: str) -> None:
        """Drop the cached folder; the next reader fetches it again."""
        shutil.rmtree(self._cached(location), ignore_errors=True)

    def why_not(self) -> str | None:
        """Ask the store for its root, four times a minute at most."""
        now = time.monotonic()
        if now - self._asked > _ASK_AGAIN_S:
            self._asked, self._answer = now, None
            try:
                self._store.invalidate_cache()
                self._store.exists(self._root)
            except Exception as error:  # noqa: BLE001 - every store has its own errors
                self._answer = f"the blobs do not answer: {type(error).__name__}"
        return self._answer

    def _cached(self, location: str) -> Path:
        return self.scratch / "cache" / location.replace("/", "-")

    def _fetch(self, location: str, folder: Path) -> None:
        """Copy a version here; what is missing there is missing here, and reading says so."""
        (folder / SHARDS).mkdir(exist_ok=True)
        with self._reached(location):
            self._get(location, INFO, folder)
            for file in files_of(read_info(folder)[0])[:-1]:
                self._get(location, file, folder)

    def _get(self, location: str, file: str, folder: Path) -> None:
        try:
            self._store.get_file(self._path(location, file), str(folder / file))
        except FileNotFoundError:
            (folder / file).unlink(missing_ok=True)

    def _whole(self, location: str) -> VersionInfo | None:
        from mien.registry.read import open_version

        try:
            with self.fresh(location) as folder:
                version = open_version(folder)
                version.verify()
                return version.info
        except (Corrupt, NotFound, Invalid):
            return None

    def _path(self, location: str, file: str) -> str:
        return str(PurePosixPath(self._root) / location / file)

    @contextmanager
    def _reached(self, location: str) -> Iterator[None]:
        try:
            yield
        except MienError:
            raise
        except Exception as error:  # every store has its own errors
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise Exhausted(
                    "DISK_FULL",
                    f"no space is left in {self.scratch}",
                    hint="free some space and try again; nothing was left half-written",
                ) from error
            raise _unavailable(location, f"{type(error).__name__}: {error}") from error


def files_of(info: VersionInfo) -> list[str]:
    """List the files of a version, ``version.json`` last."""
    return [*(f"{SHARDS}/{shard}" for shard in info.shards), MANIFEST, INFO]


def _unavailable(location: str, said: str) -> Unavailable:
    return Unavailable(
        "BLOBS_UNAVAILABLE",
        f"{location} cannot be reached where the blobs lie: {said}",
        hint="see whether the store runs and may be used, and try again",
        details=_RETRY,
    )
