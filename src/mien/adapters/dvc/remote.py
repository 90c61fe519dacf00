"""Push and pull with a second look: DVC moves the data, we compare every object with its name.

Measured with DVC 3.67: a corrupted remote object is delivered with exit code 0, and an
interrupted first push may leave the remote incomplete while later ones say "in sync". Its exit
code alone is therefore never believed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mien.adapters.dvc.objects import DataObject, files_of, is_right, locked_objects
from mien.core.errors import Corrupt, Invalid, MienError, NotFound, Unavailable

log = logging.getLogger(__name__)

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push or pull did.

    Attributes:
        objects: how many were looked at.
        moved: how many we moved ourselves, because DVC had not, or not rightly.
        repaired: paths whose copy on the remote was wrong or missing, and is right now.
    """

    objects: int
    moved: int
    repaired: tuple[str, ...]


class DvcRemote:
    """The default remote of a DVC project.

    Args:
        project: folder with ``.dvc`` and ``dvc.lock``.
    """

    def __init__(self, project: Path) -> None:
        import fsspec

        self.project = project
        self.cache = project / ".dvc" / "cache"
        self.url = _remote_url(project)
        self.fs, root = fsspec.core.url_to_fs(self.url)
        self.root = str(root).rstrip("/")

    def push(self) -> Transfer:
        """Push, then read everything back from the remote and mend what is wrong there.

        Raises:
            Corrupt: ``NO_GOOD_COPY`` naming what is wrong here as well.
            Unavailable: ``REMOTE_AWAY``. NotFound: ``NO_LOCK``.
        """
        said = _dvc(self.project, "push")
        if said.returncode:
            words = said.stderr.strip()[-500:]
            log.warning("dvc push", extra={"exit_code": said.returncode, "said": words})
        return self.check(repair=True)

    def pull(self) -> Transfer:
        """Fetch what is missing or wrong here, compared byte by byte, then check it out.

        Raises:
            Corrupt: ``NO_GOOD_COPY`` naming each object; the workspace is left as it was.
            Unavailable: ``REMOTE_AWAY``, ``DVC_CHECKOUT``. NotFound: ``NO_LOCK``.
        """
        fetched: list[DataObject] = []
        with _remote_errors(self.url):
            wanted = self._complete(lambda o: self._fetched(o, fetched))
            absent = [o for o in wanted if not is_right(o.name, self._local(o))]
            with ThreadPoolExecutor(_THREADS) as pool:
                fine = list(pool.map(self._download, absent))
        bad = [o for o, ok in zip(absent, fine, strict=True) if not ok]
        if bad:
            raise _no_good_copy(bad, self.url)
        # What the lock does not name was never finished, and is for dvc repro to make.
        said = _dvc(self.project, "checkout", "--force", "--allow-missing")
        if said.returncode:
            raise Unavailable(
                "DVC_CHECKOUT",
                f"dvc checkout failed: {said.stderr.strip()[-500:]}",
                hint="the data is in .dvc/cache and right; run dvc checkout by hand",
            )
        return Transfer(len(wanted), len(fetched) + len(absent), ())

    def check(self, *, repair: bool = False) -> Transfer:
        """Read the whole remote; with ``repair``, mend it from good copies here.

        Raises:
            Corrupt: ``REMOTE_DAMAGED`` naming each wrong object; ``NO_GOOD_COPY``.
        """
        with _remote_errors(self.url):
            wanted = self._complete(lambda o: self._cached(o) or self._remote_bytes(o))
            bad = self._wrong_on_remote(wanted)
            if not bad:
                return Transfer(len(wanted), 0, ())
            if not repair:
                raise Corrupt(
                    "REMOTE_DAMAGED",
                    f"{len(bad)} of {len(wanted)} objects on {self.url} are wrong or missing: "
                    + _named(bad),
                    hint="mien push mends them from a machine that has good copies",
                    details={o.path: o.name for o in bad[:50]},
                )
            copies = {o.name: self._good_copy(o) for o in bad}
            if hopeless := [o for o in bad if copies[o.name] is None]:
                raise _no_good_copy(hopeless, f"{self.url} and on this machine")
            for each in bad:
                self._upload(each, copies[each.name])
            if still := self._wrong_on_remote(bad):
                raise _no_good_copy(still, f"{self.url}, where they were just written")
        return Transfer(len(wanted), len(bad), tuple(o.path for o in bad))

    def _complete(self, read: Any) -> list[DataObject]:
        """List all objects of the lock: outputs, and the files of those that are folders.

        Args:
            read: from an object that lists a folder to its bytes; None = there are none.
        """
        found: dict[str, DataObject] = {}
        lost: list[DataObject] = []
        for out in locked_objects(self.project / "dvc.lock"):
            found.setdefault(out.name, out)
            if not out.is_dir:
                continue
            text = read(out)
            if text is None:
                lost.append(out)
                continue
            for each in files_of(out, text):
                found.setdefault(each.name, each)
        if lost:
            raise _no_good_copy(lost, f"the cache on this machine or {self.url}")
        return list(found.values())

    def _local(self, each: DataObject) -> Path:
        return self.cache / each.key

    def _good_copy(self, each: DataObject) -> Path | None:
        """Find right bytes on this machine: in DVC's cache, or in the workspace."""
        places = (self._local(each), self.project / each.path)
        return next((p for p in places if p.is_file() and is_right(each.name, p)), None)

    def _cached(self, listed: DataObject) -> bytes | None:
        file = self._local(listed)
        return file.read_bytes() if is_right(listed.name, file) else None

    def _remote_bytes(self, listed: DataObject) -> bytes | None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "object"
            return file.read_bytes() if self._read(listed, file) else None

    def _fetched(self, listed: DataObject, fetched: list[DataObject]) -> bytes | None:
        found = self._cached(listed)
        if found is not None:
            return found
        if not self._download(listed):
            return None
        fetched.append(listed)
        return self._cached(listed)

    def _read(self, each: DataObject, file: Path) -> bool:
        """Copy an object from the remote; returns whether it is there and right."""
        try:
            self.fs.get_file(f"{self.root}/{each.key}", str(file))
        except FileNotFoundError:
            return False
        return is_right(each.name, file)

    def _download(self, each: DataObject) -> bool:
        """Put an object into the cache, whole and right or not at all."""
        target = self._local(each)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            if not (self._adopt(each, temporary) or self._read(each, temporary)):
                return False
            temporary.chmod(0o444)
            os.replace(temporary, target)  # noqa: PTH105  over a wrong one too
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _adopt(self, each: DataObject, file: Path) -> bool:
        """Copy an object from the workspace: what DVC caches nowhere may be nowhere else yet."""
        here = self.project / each.path
        if not (here.is_file() and is_right(each.name, here)):
            return False
        shutil.copyfile(here, file)
        return is_right(each.name, file)

    def _upload(self, each: DataObject, copy: Path | None) -> None:
        """Put a good copy in place of a wrong or missing one; a local remote never shows half."""
        target = f"{self.root}/{each.key}"
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        if "file" in _protocols(self.fs):
            temporary = f"{target}.{uuid.uuid4().hex}.tmp"
            self.fs.put_file(str(copy), temporary)
            os.replace(temporary, target)  # noqa: PTH105
        else:  # object stores show an object when it is whole
            self.fs.put_file(str(copy), target)
        # Damage, or an output with `cache: false`, which DVC pushes nowhere.
        log.info("put a right copy on the remote", extra={"path": each.path, "object": each.name})

    def _wrong_on_remote(self, wanted: Sequence[DataObject]) -> list[DataObject]:
        with TemporaryDirectory() as folder, ThreadPoolExecutor(_THREADS) as pool:

            def wrong(each: DataObject) -> bool:
                file = Path(folder) / uuid.uuid4().hex
                try:
                    return not self._read(each, file)
                finally:
                    file.unlink(missing_ok=True)

            return [o for o, bad in zip(wanted, pool.map(wrong, wanted), strict=True) if bad]


def set_remote(project: Path, url: str) -> str:
    """Make a folder or ``s3://bucket/prefix`` the project's default remote; tries it first.

    Returns:
        The URL as DVC keeps it.

    Raises:
        Invalid: ``REMOTE_URL``. Unavailable: ``REMOTE_AWAY`` when nothing can be written there.
    """
    import fsspec

    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in ("", "file", "s3"):
        raise Invalid(
            "REMOTE_URL",
            f"{url!r} is neither a folder nor s3://…",
            hint="see docs/howto/cluster.md",
        )
    where = url if scheme == "s3" else str((project / url.removeprefix("file://")).resolve())
    fs, root = fsspec.core.url_to_fs(where)
    probe = f"{str(root).rstrip('/')}/.mien-{uuid.uuid4().hex}"
    with _remote_errors(where):
        fs.makedirs(str(root), exist_ok=True)
        fs.pipe_file(probe, b"mien")
        fs.rm_file(probe)
    with _config(project).edit("repo") as config:
        config["remote"]["storage"] = {"url": where, "verify": True}  # the least DVC can do itself
        config["core"]["remote"] = "storage"
    return where


def _config(project: Path) -> Any:
    from dvc.config import Config

    folder = project / ".dvc"
    if not folder.is_dir():
        raise NotFound("NO_DVC", f"{project} is no DVC project", hint="run: dvc init")
    return Config(str(folder))


def _remote_url(project: Path) -> str:
    config = _config(project)
    default = config["core"].get("remote")
    if default not in config["remote"]:
        raise NotFound(
            "NO_REMOTE",
            "this project has no remote for its data",
            hint="make remote URL=<folder or s3://bucket/prefix>",
        )
    return str(config["remote"][default]["url"])


def _dvc(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *argv],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def _protocols(fs: Any) -> tuple[str, ...]:
    found = fs.protocol
    return (found,) if isinstance(found, str) else tuple(found)


@contextlib.contextmanager
def _remote_errors(url: str) -> Iterator[None]:
    """Say that the remote does not answer, whatever its library raises."""
    try:
        yield
    except MienError:
        raise
    except Exception as error:
        raise Unavailable(
            "REMOTE_AWAY",
            f"{url} cannot be used: {type(error).__name__}: {error}",
            hint="is it there, and may we write? nothing was changed here",
        ) from error


def _no_good_copy(bad: Iterable[DataObject], where: str) -> Corrupt:
    listed = list(bad)
    return Corrupt(
        "NO_GOOD_COPY",
        f"{len(listed)} objects are wrong or missing in {where}: {_named(listed)}",
        hint="push from a machine that has them, or make them again: dvc repro --force",
        details={o.path: o.name for o in listed[:50]},
    )


def _named(bad: Sequence[DataObject]) -> str:
    more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
    return ", ".join(o.path for o in bad[:10]) + more
