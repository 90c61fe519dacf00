"""What happens to our Jobs, heard on one connection by every run of this process."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mien.adapters.kubernetes.api import KubernetesApi, WatchExpired
from mien.core.errors import MienError

log = logging.getLogger(__name__)


class Ear:
    """What one run hears."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[dict[str, Any], bool] | Exception] = queue.Queue()

    def news(self, timeout_s: float) -> list[tuple[dict[str, Any], bool]]:
        """Return what has happened since, waiting a while for something.

        Raises:
            Unavailable: ``CLUSTER_UNREACHABLE``, and whatever else ended the watch.
        """
        found = []
        try:
            item = self.told.get(timeout=timeout_s)
            while True:
                if isinstance(item, Exception):
                    raise item
                found.append(item)
                item = self.told.get_nowait()
        except queue.Empty:
            return found


class JobWatcher:
    """Lists our Jobs, then watches them; lists again when the server has forgotten where we were.

    Disconnects, expired versions (410) and a server that is busy or away for a while are not
    news; that it stays away is. One connection serves all runs; it ends with the next event after
    the last of them.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self.api = api
        self.known: set[str] = set()
        self._ears: list[Ear] = []
        self._watching = False
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._stuck: tuple[list[dict[str, Any]], dict[str, str]] = ([], {})
        self._looking = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[Ear]:
        """Hear what happens to Jobs from now on."""
        ear = Ear()
        with self._lock:
            self._ears.append(ear)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._run, daemon=True, name="watch-jobs").start()
        try:
            yield ear
        finally:
            with self._lock:
                self._ears.remove(ear)

    def stuck(self, age_s: float) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Look for our Pods that have not started; asked for once in a while for all runs.

        Returns:
            The Pods that wait; uid of a Job → why its Pods could not be created.
        """
        with self._looking:
            if time.monotonic() - self._looked > age_s:
                self._stuck = self.api.pending_pods(), self.api.pods_refused()
                self._looked = time.monotonic()
            return self._stuck

    def _run(self) -> None:
        """Watch until nobody listens, or until an error that will not pass: all hear of it."""
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001  a dead watch must not look like a quiet one
            with self._lock:
                self._watching = False
                for ear in self._ears:
                    ear.told.put(error)

    def _over(self) -> bool:
        """Whether nobody listens; then the next one who does begins anew."""
        with self._lock:
            self._watching = bool(self._ears)
            return not self._watching

    def _watch(self) -> None:
        from urllib3.exceptions import HTTPError

        version, heard = "", False
        while not self._over():
            try:
                version = version or self._list()
                heard = False
                for kind, job in self.api.watch_jobs(version):
                    version, heard = job["metadata"].get("resourceVersion", version), True
                    if kind != "BOOKMARK":
                        self._tell(job, gone=kind == "DELETED")
                    if self._over():
                        return
            except WatchExpired:
                version = ""
            except (HTTPError, OSError, ValueError) as error:
                log.info("the watch was cut and goes on", extra={"why": str(error)[:200]})
                version = version if heard else ""  # a list waits for a server that is away
                time.sleep(0.2)
            except MienError as error:
                if not self._may_pass(error):
                    raise
                version = ""
                time.sleep(1.0)

    @staticmethod
    def _may_pass(error: MienError) -> bool:
        """Busy or away: listing again is patient, and gives up when it has been too long."""
        return error.reason == "CLUSTER_UNREACHABLE" and "given_up" not in error.details

    def _list(self) -> str:
        try:
            jobs, version = self.api.list_jobs()
        except MienError as error:
            error.details["given_up"] = "yes"  # this call has waited as long as we wait
            raise
        here = {j["metadata"]["name"] for j in jobs}
        for job in jobs:
            self._tell(job, gone=False)
        for name in self.known - here:
            self._tell({"metadata": {"name": name}}, gone=True)
        return version

    def _tell(self, job: dict[str, Any], *, gone: bool) -> None:
        name = job["metadata"]["name"]
        self.known.discard(name) if gone else self.known.add(name)
        with self._lock:
            for ear in self._ears:
                ear.told.put((job, gone))
