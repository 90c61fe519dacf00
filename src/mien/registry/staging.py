"""Whole or not at all: a folder is filled beside its place, reaches the disk, then moves there.

While it is filled, a lock is held on the folder itself, which ends with the process that holds
it: what a killed writer left is told from what another writer is still filling.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.core.errors import AlreadyExists, Exhausted, Forbidden, Invalid
from mien.registry.layout import INFO, MANIFEST, SHARDS

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Name what the disk refused while ``folder`` was written.

    Raises:
        Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``. Invalid: ``NOT_A_FOLDER``
            when a file is where a folder must be.
    """
    try:
        yield
    except OSError as error:
        where = {"folder": str(folder)}
        if error.errno in _FULL:
            raise Exhausted(
                "DISK_FULL",
                f"no space is left to write {folder}: {error.strerror}",
                hint="free some space and run again; nothing was left half-written",
                details=where,
            ) from error
        if error.errno in _REFUSED:
            raise Forbidden(
                "NO_WRITE_PERMISSION",
                f"{folder} cannot be written: {error.strerror}",
                hint="choose another folder, or change its owner or mode",
                details=where,
            ) from error
        if error.errno in _IN_THE_WAY:
            raise Invalid(
                "NOT_A_FOLDER",
                f"{folder} cannot be made: {error.filename or folder} is a file",
                hint="remove the file or choose another folder",
                details=where,
            ) from error
        raise


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Make a locked empty folder beside ``folder``; what is left of it at the end is removed.

    What killed writers of the same folder left is removed first.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary, lock = _locked(folder)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")


def _locked(folder: Path) -> tuple[Path, int]:
    while True:
        temporary = _beside(folder)
        temporary.mkdir()
        with suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            with suppress(OSError):  # a file system without locks: leftovers stay, nothing worse
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Another writer may have taken it for a leftover before it was locked.
            if temporary.exists():
                return temporary, lock
            os.close(lock)


def is_left(folder: Path) -> bool:
    """Tell whether no writer works on a folder any more.

    The lock of a writer stays on its folder when it has moved to its place, until ``staged`` ends.
    """
    with suppress(OSError), _dead(folder):
        return True
    return False


def _remove_leftovers(folder: Path) -> None:
    for left in folder.parent.glob(f".{_escaped(folder.name)}.{'?' * 32}.tmp"):
        with suppress(OSError), _dead(left):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _dead(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that no writer holds; ``OSError`` when one does."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def sync_tree(folder: Path) -> None:
    """Bring a folder's files, then the folders, to the disk: one call a file, none an image."""
    folders = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
    for path in (*(p for p in folder.rglob("*") if p.is_file()), *reversed(folders)):
        sync(path)


def sync(path: Path) -> None:
    """Bring one file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_in(temporary: Path, folder: Path, *, replace: bool) -> bool:
    """Move a filled folder to its place.

    With ``replace``, a version that is there gives way. A process killed just between the two
    moves leaves neither; the stage that writes it then runs again.

    Returns:
        False when something is there already and ``replace`` is not said.

    Raises:
        AlreadyExists: ``NOT_A_VERSION`` when ``replace`` would remove something that is no
            version: a wrong path must not cost anybody a folder.
    """
    old: Path | None = None
    if replace and folder.exists():
        _refuse_foreign(folder)
        old = _beside(folder)
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError as error:
        if old is not None:
            old.rename(folder)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and folder.is_dir():
            return False
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    sync(folder.parent)
    return True


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir() and {p.name for p in folder.iterdir()} <= {INFO, MANIFEST, SHARDS}:
        return
    raise AlreadyExists(
        "NOT_A_VERSION",
        f"{folder} holds something that is no dataset version; it is not replaced",
        hint="choose another folder, or remove it yourself",
        details={"folder": str(folder)},
    )
