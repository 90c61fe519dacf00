"""Promoted repositories where every replica of Triton finds them: written once, never changed.

```
<url>/<digest>/expression-7/…      the champion
<url>/<digest>/expression-6/…      the one before it, so that it can answer at once again
<url>/<digest>/expression/…        the front: the name that clients of Triton ask
<url>/<digest>/served.json         which is which
<url>/<digest>/checksums.json      written last: what has none was never promoted
<url>/empty/                       what replicas start from before the first promotion
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.adapters.serving.state import Served, State
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Invalid, MienError, NotFound, Unavailable
from mien.recognition.package import CHECKSUMS, write_checksums

SERVED, EMPTY = "served.json", "empty"
_NAME_LETTERS = 32


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Which models lie below a promoted prefix.

    Attributes:
        champion: what the front hands to.
        earlier: champions before it, the last one last; that one is hosted as well.
        left: what a rollback left, hosted for the calls that are under way; None otherwise.
    """

    champion: Served | None = None
    earlier: tuple[Served, ...] = ()
    left: Served | None = None

    @property
    def hosted(self) -> tuple[Served, ...]:
        """Models that lie there, each once."""
        found = (self.champion, *self.earlier[-1:], self.left)
        return tuple({s.hosted: s for s in found if s is not None}.values())

    def state(self, version: str | None) -> State:
        """Return what is served when the registry names a version as champion.

        While a promotion or rollback is under way the registry and the front differ; then the
        registry is right. A version that is not hosted is nobody's champion yet.
        """
        champion = next((s for s in self.hosted if s.version == version), None)
        names = [s.version for s in self.earlier]
        kept = names.index(champion.version) if champion and champion.version in names else None
        return State(champion=champion, earlier=self.earlier[:kept])


class ModelStore:
    """A folder, or a prefix of an object store, that Triton reads from."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: a folder, or ``s3://bucket/prefix`` or another that fsspec and Triton know.

        Raises:
            Invalid: ``MODELS_URL``.
        """
        from fsspec.core import url_to_fs

        self.url = url.rstrip("/")
        try:
            self._system, self._root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise Invalid(
                "MODELS_URL",
                f"the address of the promoted models cannot be used: {error}",
                hint="a folder, or s3://bucket/prefix",
            ) from None
        self._local = "://" not in self.url.removeprefix("file://")

    def address(self, name: str) -> str:
        """Return what Triton is told: its way to write a store that is not Amazon's differs."""
        if self._local:
            return f"{self._root}/{name}"
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if self.url.startswith("s3://") and endpoint:
            return f"s3://{endpoint.rstrip('/')}/{self.url.removeprefix('s3://')}/{name}"
        return f"{self.url}/{name}"

    def make_empty(self) -> None:
        """See that there is a repository without models: Triton does not start on nothing."""
        with self._reached(EMPTY):
            if not self._system.exists(self._path(EMPTY, "README")):
                self._put(EMPTY, "README", b"Before the first promotion.\n")

    def keep(self, folder: Path, catalogue: Catalogue) -> str:
        """Upload a rendered repository under the name of its content; returns that name.

        Every file is read back before ``checksums.json`` is written. What is there already and
        whole stays.

        Raises:
            Unavailable: ``MODELS_UNAVAILABLE``.
        """
        (folder / SERVED).write_text(json.dumps(asdict(catalogue), indent=1), encoding="utf-8")
        name = write_checksums(folder)[:_NAME_LETTERS]
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)
        with self._reached(name):
            for file in (*files, *(p for p in folder.rglob(CHECKSUMS) if p.parent != folder)):
                self._whole(name, file.relative_to(folder).as_posix(), file.read_bytes())
            self._whole(name, CHECKSUMS, (folder / CHECKSUMS).read_bytes())
        return name

    def catalogue(self, name: str) -> Catalogue:
        """Read which models lie below a name; nothing does below ``empty``.

        Raises:
            NotFound: ``NO_SUCH_PROMOTION``. Corrupt: ``MODEL_FILES``.
            Unavailable: ``MODELS_UNAVAILABLE``.
        """
        if name == EMPTY:
            return Catalogue()
        with self._reached(name):
            try:
                data: bytes = self._system.cat_file(self._path(name, SERVED))
                sums: bytes = self._system.cat_file(self._path(name, CHECKSUMS))
            except FileNotFoundError:
                raise NotFound(
                    "NO_SUCH_PROMOTION",
                    f"{self.url}/{name} holds no promoted models",
                    hint="promote a model: it writes them",
                ) from None
        try:
            if digest_of(json.loads(sums))[:_NAME_LETTERS] != name:
                raise ValueError(f"{CHECKSUMS} is that of something else")
            values = json.loads(data)
            earlier = tuple(Served(**each) for each in values["earlier"])
            return Catalogue(_served(values["champion"]), earlier, _served(values["left"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                "MODEL_FILES",
                f"{self.url}/{name} is damaged: {error}",
                hint="promote the model again: it is written anew",
            ) from None

    def _whole(self, name: str, file: str, data: bytes) -> None:
        """Write a file unless it is there as it should be, and read it back."""
        if self._read(name, file) == data:
            return
        self._put(name, file, data)
        if self._read(name, file) != data:
            raise _unavailable(f"{self.url}/{name}/{file}", "it did not arrive as it was sent")

    def _read(self, name: str, file: str) -> bytes | None:
        try:
            data: bytes = self._system.cat_file(self._path(name, file))
        except FileNotFoundError:
            return None
        return data

    def _put(self, name: str, file: str, data: bytes) -> None:
        path = self._path(name, file)
        if self._local:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._system.pipe_file(path, data)

    def _path(self, name: str, file: str) -> str:
        return f"{self._root}/{name}/{file}"

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        try:
            yield
        except MienError:
            raise
        except Exception as error:  # every store has its own errors
            said = f"{type(error).__name__}: {error}"
            raise _unavailable(f"{self.url}/{name}", said) from error


def _served(value: dict[str, Any] | None) -> Served | None:
    return None if value is None else Served(**value)


def _unavailable(where: str, said: str) -> Unavailable:
    return Unavailable(
        "MODELS_UNAVAILABLE",
        f"{where} cannot be reached: {said}",
        hint="see whether the store runs and may be written, and try again",
        details={"retry_after_s": "5"},
    )
