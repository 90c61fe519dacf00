"""Runs waiting to be delivered to a tracking server: one folder a run, whole or absent.

A run's folder holds ``start.json``, once it has ended ``finish.json`` and ``artifacts/``, and once
the server knows it ``remote.json``; figures said meanwhile wait in ``live-<time>.json``. What is
delivered is deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from mien.core.tasks import RunData

START, FINISH, REMOTE, CREATING = "start.json", "finish.json", "remote.json", "creating"
LIVE = "live-"
Point = tuple[str, float, int, int]  # metric, value, images seen, Unix milliseconds


@dataclass(frozen=True, slots=True)
class Started:
    """The opening of a run.

    Attributes:
        key: our name of the run; a tag on the server, which makes replaying idempotent.
        experiment: name.
        name: of the run.
        parent: key of the parent run, or None.
        time_ms: Unix milliseconds.
        pid: process that opened it.
        born: start time of that process, which tells it from a later one of the same number.
    """

    key: str
    experiment: str
    name: str
    parent: str | None
    time_ms: int
    pid: int
    born: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a run.

    Attributes:
        data: what is recorded; its ``artifacts`` are in the spool.
        status: FINISHED, FAILED or KILLED.
        time_ms: Unix milliseconds.
    """

    data: RunData
    status: str
    time_ms: int


class Spool:
    """A folder of runs to deliver, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, experiment: str, name: str, parent: str | None) -> Started:
        """Note that a run begins."""
        process = psutil.Process()
        now = time.time_ns()
        key = uuid.uuid4().hex
        started = Started(
            key, experiment, name, parent, now // 1_000_000, process.pid, process.create_time()
        )
        temporary = self.folder / f".{key}"
        temporary.mkdir(parents=True)
        _write(temporary / START, asdict(started))
        temporary.rename(self.folder / f"{now:020d}-{key}")
        return started

    def update(self, key: str, images_seen: int, metrics: Mapping[str, float]) -> None:
        """Note figures of a run that goes on."""
        folder = self._open(key)
        now = time.time_ns()
        points = [[k, float(v), int(images_seen), now // 1_000_000] for k, v in metrics.items()]
        _write(folder / f"{LIVE}{now:020d}.json", points)

    def finish(self, key: str, data: RunData, status: str) -> None:
        """Note everything about a run, its artefacts included."""
        folder = self._open(key)
        if data.artifacts is not None:
            shutil.copytree(data.artifacts, folder / "artifacts", dirs_exist_ok=True)
        plain = {
            "params": {k: str(v) for k, v in data.params.items()},
            "metrics": {k: float(v) for k, v in data.metrics.items()},
            "series": {k: [[int(s), float(v)] for s, v in p] for k, p in data.series.items()},
            "tags": {k: str(v) for k, v in data.tags.items()},
            "inputs": dict(data.inputs),
        }
        record = {"data": plain, "status": status, "time_ms": time.time_ns() // 1_000_000}
        _write(folder / FINISH, record)

    def find(self, key: str) -> Path | None:
        """Return the folder of a run that is not delivered yet."""
        return next(iter(self.folder.glob(f"*-{key}")), None)

    def _open(self, key: str) -> Path:
        folder = self.find(key)
        if folder is None:
            raise FileNotFoundError(f"no run {key} is open in {self.folder}")
        return folder

    def pending(self) -> list[Path]:
        """List the runs' folders, oldest first."""
        return sorted(p for p in self.folder.glob("*-*") if (p / START).exists())

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether this process is the only one that delivers from here now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(handle)

    def reject(self, folder: Path) -> Path:
        """Put aside a run that the server will never take."""
        target = self.folder / "rejected" / folder.name
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        return folder.rename(target)


def read_start(folder: Path) -> Started:
    """Read the opening of a run."""
    return Started(**json.loads((folder / START).read_text(encoding="utf-8")))


def read_finish(folder: Path) -> Finished | None:
    """Read the end of a run; KILLED when its process has gone without one; None while it runs."""
    try:
        record = json.loads((folder / FINISH).read_text(encoding="utf-8"))
    except FileNotFoundError:
        started = read_start(folder)
        return None if _alive(started) else Finished(RunData(), "KILLED", started.time_ms)
    artifacts = folder / "artifacts"
    data = RunData(**record["data"], artifacts=artifacts if artifacts.is_dir() else None)
    return Finished(data, record["status"], record["time_ms"])


def live_points(folder: Path) -> dict[Path, list[Point]]:
    """Read the figures that wait, file by file, oldest first."""
    files = sorted(folder.glob(f"{LIVE}*.json"))
    return {f: [tuple(p) for p in json.loads(f.read_text(encoding="utf-8"))] for f in files}


def read_remote(folder: Path) -> dict[str, Any] | None:
    """Read how the server calls the run; None when it does not know it."""
    try:
        remote: dict[str, Any] = json.loads((folder / REMOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return remote


def write_remote(folder: Path, remote: dict[str, Any]) -> None:
    """Note how the server calls the run."""
    _write(folder / REMOTE, remote)


def _alive(started: Started) -> bool:
    try:
        born: float = psutil.Process(started.pid).create_time()
    except psutil.Error:
        return False
    return abs(born - started.born) < 1.0


def _write(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)
