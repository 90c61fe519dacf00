"""What every stage is handed: where things lie, what was asked, and whom to tell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.digest import digest_file, digest_of
from mien.core.errors import Corrupt, NotFound, WrongState
from mien.core.hooks import Cancelled, OnProgress
from mien.core.ports import Executor, Generation, Models, Tracker
from mien.params.project import Params
from mien.registry.read import Version, open_version
from mien.registry.staging import disk_errors


@dataclass(frozen=True, slots=True)
class Context:
    """A project folder with its parameters and its doors.

    Attributes:
        root: folder that holds ``data/`` and ``report/``.
        base: folder that relative roots in the parameters start from.
        params: validated parameters.
        cache: content-addressed results that outlive the stages' outputs.
        assets: folder of open assets, or None.
        workers: processes to use at once.
        tracker: where runs are recorded.
        executor: where trials run.
        progress: told about every step.
        cancelled: asked between steps.
        generation: service that makes the faces of pools; None = this machine does.
        models: where the challenger is registered, or None.
    """

    root: Path
    base: Path
    params: Params
    cache: Path
    assets: Path | None
    workers: int
    tracker: Tracker
    executor: Executor
    progress: OnProgress
    cancelled: Cancelled
    generation: Generation | None = None
    models: Models | None = None

    def folder(self, stage: str, name: str = "") -> Path:
        """Return the output folder of a stage: ``data/<stage>[/<name>]``."""
        return self.root / "data" / stage / name if name else self.root / "data" / stage

    def version(self, where: str) -> Version:
        """Open a dataset version by ``<stage>/<name>``.

        Raises:
            WrongState: ``STAGE_MISSING`` when that stage has not run.
        """
        folder = self.root / "data" / where
        try:
            return open_version(folder)
        except NotFound:
            stage, _, name = where.partition("/")
            raise _missing(stage, name, folder) from None

    def made(self, stage: str, name: str) -> Path:
        """Return the output folder of a stage that has run.

        Raises:
            WrongState: ``STAGE_MISSING`` when it has not.
        """
        folder = self.folder(stage, name)
        if not folder.exists():
            raise _missing(stage, name, folder)
        return folder

    def prepared(self, name: str) -> Version:
        """Open a preprocessed set by name."""
        return self.version(f"preprocess/{name}")

    def read_json(self, stage: str, file: str) -> Any:
        """Read what an earlier stage wrote.

        Raises:
            WrongState: ``STAGE_MISSING``. Corrupt: ``STAGE_FILE`` when it was damaged.
        """
        path = self.folder(stage) / file
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise _missing(stage, "", path) from None
        except ValueError as error:
            raise Corrupt(
                "STAGE_FILE", f"{path} is not JSON: {error}", hint=f"run: mien {stage}"
            ) from None


def _missing(stage: str, name: str, path: Path) -> WrongState:
    return WrongState(
        "STAGE_MISSING",
        f"{path} does not exist: the stage {stage!r} has not run",
        hint=f"run: mien {stage.replace('_', '-')}{' ' + name if name else ''}  (or dvc repro)",
    )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file to write beside ``path``; it takes its place whole, or is removed.

    Raises:
        Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``. Invalid: ``NOT_A_FOLDER``.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # ends as NumPy wants it to
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def code_digest(*rooms: str) -> str:
    """Name the source code of some rooms or files of this package: part of every cache key."""
    package = Path(__file__).resolve().parent.parent
    files = sorted(
        file
        for room in rooms
        for file in ([package / room] if room.endswith(".py") else (package / room).rglob("*.py"))
    )
    return digest_of([(str(f.relative_to(package)), digest_file(f)) for f in files])
