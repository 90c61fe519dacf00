"""Record runs in MLflow: spooled first, delivered beside the work, never in its way."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mien.adapters.mlflow.spool import (
    Spool,
    live_points,
    read_finish,
    read_remote,
    read_start,
    write_remote,
)
from mien.core.tasks import RunData, RunStatus

if TYPE_CHECKING:
    from mien.adapters.mlflow.runs import MlflowRuns

log = logging.getLogger(__name__)


class NullTracker:
    """Records nothing."""

    def start(self, experiment: str, name: str, *, parent: str | None = None) -> str:  # noqa: ARG002
        """Open a run and return its id."""
        return uuid.uuid4().hex

    def update(self, run: str, images_seen: int, metrics: Mapping[str, float]) -> None:
        """Record nothing."""

    def finish(self, run: str, data: RunData, *, status: RunStatus = "FINISHED") -> None:
        """Record nothing."""

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Return at once."""
        return True


class MlflowTracker:
    """Writes every run to a spool and delivers it from a thread.

    A run costs at most five tracking calls: create, one batch, inputs, end, and a second batch
    when there is much. While the server does not answer, runs stay in the spool; they are
    delivered by the next process that tracks. A run without parent appears when it starts; a
    child when it ends, or with its first figures.
    """

    def __init__(
        self, uri: str, spool_dir: Path, *, timeout_s: int = 10, pause_s: float = 30.0
    ) -> None:
        """Prepare; nothing is contacted before the first run starts.

        Args:
            uri: of the tracking server or database.
            spool_dir: where runs wait.
            timeout_s: for one call to a server.
            pause_s: a server that failed is left alone for so long.
        """
        self.uri = uri
        self.spool = Spool(spool_dir)
        self.pause_s = pause_s
        self._down_until = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._more = False
        self._recorded = False
        self._server: MlflowRuns | None = None
        # Set, never defaulted, so that a child process or a stage run elsewhere means the same.
        os.environ["MLFLOW_TRACKING_URI"] = uri
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"

    def start(self, experiment: str, name: str, *, parent: str | None = None) -> str:
        """Open a run and return our id of it, which the server keeps as the tag ``mien.run``."""
        try:
            key = self.spool.start(experiment, name, parent).key
        except OSError as error:
            log.warning("a run cannot be tracked: %s", error)
            return uuid.uuid4().hex
        if parent is None:
            self._deliver()
        return key

    def update(self, run: str, images_seen: int, metrics: Mapping[str, float]) -> None:
        """Record figures of a run that goes on; a failure is only logged."""
        try:
            self.spool.update(run, images_seen, metrics)
        except (OSError, ValueError, TypeError) as error:
            log.warning("figures of a run cannot be tracked: %s", error)
            return
        self._deliver()

    def finish(self, run: str, data: RunData, *, status: RunStatus = "FINISHED") -> None:
        """Record everything about a run and close it; a failure is only logged."""
        try:
            self.spool.finish(run, data, status)
        except (OSError, ValueError, TypeError) as error:
            log.warning("a run cannot be tracked: %s", error)
            return
        self._deliver()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what can be delivered is; returns whether nothing is left to deliver.

        A process that has recorded nothing does not wait for what others left.
        """
        if self._recorded:
            self._deliver()
        if (thread := self._thread) is not None:
            thread.join(timeout_s)
        return not any(read_finish(f) or live_points(f) for f in self.spool.pending())

    def _deliver(self) -> None:
        """Make sure that a thread is at it."""
        self._recorded = True
        with self._lock:
            self._more = True
            if self._thread is None:
                # Daemon: what it has not delivered when the process ends stays in the spool.
                self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._more:
                    self._thread = None
                    return
                self._more = False
            self._replay()

    def _replay(self) -> None:
        if time.monotonic() < self._down_until:
            return
        try:
            with self.spool.alone() as alone:
                if alone:
                    for folder in self.spool.pending():
                        self._replay_one(folder)
        except Exception as error:  # noqa: BLE001  tracking never fails the work
            self._down_until = time.monotonic() + self.pause_s
            log.warning(
                "the tracking server does not answer; runs wait in %s: %s",
                self.spool.folder,
                str(error)[:300],
            )

    def _replay_one(self, folder: Path) -> None:
        started, finished = read_start(folder), read_finish(folder)
        live = live_points(folder)
        known = started.parent is not None or read_remote(folder)
        if finished is None and known and not live:
            return
        from mien.adapters.mlflow.runs import MlflowRuns, Refused

        self._server = self._server or MlflowRuns(self.uri)
        try:
            remote = read_remote(folder)
            if remote is None:
                remote = self._server.create(folder, started, finished)
                write_remote(folder, remote)
            for file, points in live.items():
                self._server.update(remote, points)
                file.unlink()
            if finished is not None:
                self._server.finish(remote, finished)
                shutil.rmtree(folder)
        except Refused as error:
            kept = self.spool.reject(folder)
            log.warning("the tracking server refused a run, kept in %s: %s", kept, error)
