"""Files that another machine made or needs: by path, ``file://`` or anything fsspec reaches.

An object store replaces an object whole; a folder is given the same by a move. What counts as a
marker is always put last.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mien.core.digest import digest_file
from mien.core.errors import Corrupt, Interrupted, MienError, NotFound, Unavailable

MIRROR_S = 10.0  # between two looks at what a worker shall keep elsewhere


def is_remote(uri: str) -> bool:
    """Whether something lies where only fsspec reaches."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """Return the path that a path or a ``file://`` URI means."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)


def exists(uri: str) -> bool:
    """Whether a file is there now, whoever wrote it."""
    system, path = _where(uri)
    return bool(system.exists(path))


def fetch(uri: str, to: Path, digest: str = "") -> None:
    """Copy a file here, whole or not at all.

    Args:
        uri: of the file.
        to: where it goes.
        digest: it must have; "" = not known.

    Raises:
        NotFound: ``ARTEFACT_MISSING``. Corrupt: ``ARTEFACT`` when its digest is another.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    system, path = _where(uri)
    try:
        system.get_file(path, str(new))
        if digest and digest_file(new) != digest:
            raise Corrupt(
                "ARTEFACT",
                f"{uri} is not what was put there: its digest differs",
                hint="remove it and run again: it is put there anew",
            )
        new.replace(to)
    except FileNotFoundError:
        raise NotFound(
            "ARTEFACT_MISSING", f"there is no {uri}", hint="whoever planned it puts it there"
        ) from None
    finally:
        new.unlink(missing_ok=True)


def put(path: Path, uri: str) -> None:
    """Copy a file there; it appears whole."""
    system, to = _where(uri)
    if "file" not in _protocols(system):
        system.put_file(str(path), to)
        return
    new = f"{to}.{uuid.uuid4().hex}.new"
    system.makedirs(str(Path(to).parent), exist_ok=True)
    system.put_file(str(path), new)
    Path(new).replace(to)


def write(uri: str, data: bytes) -> None:
    """Write a small file; it appears whole."""
    system, to = _where(uri)
    if "file" not in _protocols(system):
        system.pipe_file(to, data)
        return
    new = Path(f"{to}.{uuid.uuid4().hex}.new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(data)
    new.replace(to)


def read(uri: str) -> bytes | None:
    """Read a small file; None when there is none."""
    system, path = _where(uri)
    try:
        data: bytes = system.cat_file(path)
    except FileNotFoundError:
        return None
    return data


def remove(uri: str) -> None:
    """Remove a file or everything below a folder; nothing happens when there is none."""
    system, path = _where(uri)
    with suppress(FileNotFoundError):
        system.rm(path, recursive=True)


def names(uri: str) -> list[str]:
    """List the files below a folder, as paths from it, sorted."""
    system, path = _where(uri)
    root = path.rstrip("/") + "/"
    found = [name for name in system.find(path) if not name.endswith(".new")]
    return sorted(name.removeprefix(root) for name in found)


def put_folder(folder: Path, uri: str, *, last: Sequence[str] = ()) -> None:
    """Copy all files of a folder there, those in ``last`` after the others, in their order."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    for name in sorted(files.keys() - set(last)):
        put(files[name], f"{uri}/{name}")
    for name in last:
        if name in files:
            put(files[name], f"{uri}/{name}")


def fetch_folder(uri: str, folder: Path, digests: Mapping[str, str] | None = None) -> None:
    """Copy all files of a folder here; only those with a digest where digests are given."""
    for name in names(uri) if digests is None else digests:
        fetch(f"{uri}/{name}", folder / name, (digests or {}).get(name, ""))


@contextmanager
def mirrored(
    files: Callable[[], Mapping[Path, str]], every_s: float = MIRROR_S
) -> Iterator[Callable[[], None]]:
    """Keep copies of files elsewhere while they change: what a lost node would take with it.

    Args:
        files: asked each time: path here → URI there; what is not there yet is waited for.
        every_s: seconds between two looks.

    Yields:
        What copies the latest at once.
    """
    seen: dict[Path, int] = {}
    ended = threading.Event()
    turn = threading.Lock()

    def now() -> None:
        with turn:
            for path, uri in files().items():
                with suppress(FileNotFoundError):
                    written = path.stat().st_mtime_ns
                    if seen.get(path) != written:
                        put(path, uri)
                        seen[path] = written

    def watch() -> None:
        while not ended.wait(every_s):
            with suppress(OSError, MienError):  # the store may be away: next time, and at the end
                now()

    thread = threading.Thread(target=watch, name="mirror", daemon=True)
    thread.start()
    try:
        yield now
    finally:
        ended.set()
        thread.join()


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Say in our words what a store refused; what the work itself raised goes on as it is.

    Raises:
        Unavailable: ``STORE``.
    """
    try:
        yield
    except (MienError, Interrupted):
        raise
    except OSError as error:
        raise Unavailable(
            "STORE", f"{where}: {error}", hint="see that the store answers and lets this user in"
        ) from error


def _where(uri: str) -> tuple[Any, str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    system.invalidate_cache()  # what another machine has written since counts
    return system, str(path)


def _protocols(system: Any) -> tuple[str, ...]:
    given = system.protocol
    return (given,) if isinstance(given, str) else tuple(given)
