"""Finding and reading image files safely: inside the root, of a known kind, of a sane size."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mien.core.errors import Forbidden, Invalid, NotFound
from mien.datasets.reading import Notes
from mien.imaging.decode import LIMITS, measure

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

# What systems and people leave beside images; compared in lower case, whole name.
IGNORED_FILES = (
    ".ds_store",
    "._*",
    "thumbs.db",
    "desktop.ini",
    ".gitkeep",
    ".gitignore",
    ".directory",
    "readme",
    "readme.*",
    "license",
    "license.*",
    "licenses.json",
)
IGNORED_FOLDERS = ("__macosx", ".ipynb_checkpoints", ".git", ".dvc", "@eadir")


def is_ignored(path: Path, patterns: Sequence[str] = ()) -> bool:
    """Tell whether a name stands in the ignore list, or matches one of the user's patterns."""
    name = path.name.lower()
    if path.is_dir():
        return name in IGNORED_FOLDERS or any(fnmatch.fnmatch(name, p.lower()) for p in patterns)
    return any(fnmatch.fnmatch(name, p.lower()) for p in (*IGNORED_FILES, *patterns))


def listing(folder: Path, notes: Notes, ignore: Sequence[str] = ()) -> Iterator[Path]:
    """List a folder in the order of names, without what is ignored; that is counted.

    Raises:
        Forbidden: ``UNREADABLE`` when the folder may not be listed.
        Invalid: ``NOT_A_FOLDER``.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except PermissionError:
        raise Forbidden(
            "UNREADABLE", f"{folder} may not be listed", hint="give read permission"
        ) from None
    except NotADirectoryError:
        raise Invalid(
            "NOT_A_FOLDER", f"{folder} is a file, not a folder", hint="give the folder it lies in"
        ) from None
    for entry in entries:
        if is_ignored(entry, ignore):
            notes.count("ignored, not part of the database", entry.name)
        else:
            yield entry


def images_in(
    folder: Path, root: Path, notes: Notes, ignore: Sequence[str] = ()
) -> Iterator[tuple[Path, str]]:
    """List the images directly in a folder as (path, name relative to the root).

    Raises:
        Invalid: ``NESTED_FOLDER``; ``UNEXPECTED_FILE`` for a file that is neither an image nor
            ignored; ``CLASS_WITHOUT_SAMPLES`` when there is none; ``PATH_ESCAPES``.
    """
    found = 0
    for path in listing(folder, notes, ignore):
        name = relative(path, root)
        if path.is_dir():
            raise Invalid(
                "NESTED_FOLDER",
                f"{name} is a folder where only images are expected",
                hint="move its images up, or name it in the parameter ignore",
                details={"file": name},
            )
        if path.suffix.lower() not in IMAGE_ENDINGS:
            raise unexpected(name)
        found += 1
        yield inside(path, root), name
    if not found:
        raise Invalid(
            "CLASS_WITHOUT_SAMPLES",
            f"{relative(folder, root)} holds no image",
            hint="add images or remove the folder",
            details={"file": relative(folder, root)},
        )


def unexpected(name: str) -> Invalid:
    """Build the error for a file that has no place in the database."""
    return Invalid(
        "UNEXPECTED_FILE",
        f"{name} is not an image the reader knows ({', '.join(sorted(IMAGE_ENDINGS))})",
        hint="remove it, or name it in the parameter ignore where the reader has one",
        details={"file": name},
    )


def relative(path: Path, root: Path) -> str:
    """Return a path's name relative to the root, with forward slashes."""
    return path.relative_to(root).as_posix()


def inside(path: Path, root: Path) -> Path:
    """Return the path if what it points to lies inside the root.

    Raises:
        Invalid: ``PATH_ESCAPES`` for a link (or ``..``) that leads out.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise Invalid(
            "PATH_ESCAPES",
            f"{path} leads out of {root}",
            hint="copy the file into the folder instead of linking it",
            details={"file": str(path)},
        )
    return path


def named_inside(name: str, root: Path, where: str) -> Path:
    """Return the path of a name written in a file of the database.

    Raises:
        Invalid: ``PATH_ESCAPES`` for an absolute name, ``..`` or a link that leads out.
        NotFound: ``FILE_MISSING`` when there is no such file.
    """
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise Invalid(
            "PATH_ESCAPES",
            f"{where}: {name!r} is not a plain relative path with forward slashes",
            details={"file": where, "path": name},
            hint="name the file relative to the database's folder, without ..",
        )
    path = root / pure
    if not path.is_file():
        raise NotFound(
            "FILE_MISSING",
            f"{where}: {name} does not exist",
            details={"file": name},
            hint="restore the file, or remove what names it",
        )
    return inside(path, root)


def read_image(path: Path, name: str) -> tuple[bytes, int, int]:
    """Read an image file as it is; returns bytes, width, height.

    Raises:
        Invalid: ``IMAGE_TOO_LARGE``, before it is read; what ``imaging.decode.measure`` raises.
        NotFound: ``FILE_MISSING``.
        Forbidden: ``UNREADABLE``.
    """
    data = read_bytes(path, name)
    return data, *measure(data, name=name)


def read_bytes(path: Path, name: str) -> bytes:
    """Read a file of the database, if it is not larger than an image may be.

    Raises:
        Invalid: ``IMAGE_TOO_LARGE``, before it is read.
        NotFound: ``FILE_MISSING``.
        Forbidden: ``UNREADABLE``.
    """
    try:
        size = path.stat().st_size
        if size > LIMITS.max_bytes:
            raise Invalid(
                "IMAGE_TOO_LARGE",
                f"{name} has {size} bytes, more than {LIMITS.max_bytes}",
                hint="make it smaller",
                details={"file": name},
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "FILE_MISSING",
            f"{name} does not exist",
            details={"file": name},
            hint="restore the file, or remove what names it",
        ) from None
    except PermissionError:
        raise Forbidden(
            "UNREADABLE", f"{name} may not be read", hint="give read permission"
        ) from None
