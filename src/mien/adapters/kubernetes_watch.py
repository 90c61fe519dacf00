"""What happens to our Jobs, heard on one connection."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

from mien.adapters.kubernetes_api import KubernetesApi, WatchExpired
from mien.core.errors import MienError

log = logging.getLogger(__name__)


class JobWatcher(threading.Thread):
    """Lists our Jobs, then watches them; lists again when the server has forgotten where we were.

    Disconnects, expired versions (410) and a server that is busy or away for a while are not
    news; that it stays away is.
    """

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__(daemon=True, name="watch-jobs")
        self.api = api
        self.told: queue.Queue[tuple[dict[str, Any], bool] | Exception] = queue.Queue()
        self.known: set[str] = set()
        self.stopped = threading.Event()

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

    def stop(self) -> None:
        """Ask it to end; it does so with the next event."""
        self.stopped.set()

    def run(self) -> None:
        """Watch until stopped, or until an error that will not pass: the launcher hears of it."""
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001  a dead watch must not look like a quiet one
            self.told.put(error)

    def _watch(self) -> None:
        from urllib3.exceptions import HTTPError

        version, heard = "", False
        while not self.stopped.is_set():
            try:
                version = version or self._list()
                heard = False
                for kind, job in self.api.watch_jobs(version):
                    version, heard = job["metadata"].get("resourceVersion", version), True
                    if self.stopped.is_set():
                        return
                    if kind != "BOOKMARK":
                        self._tell(job, gone=kind == "DELETED")
            except WatchExpired:
                version = ""
            except (HTTPError, OSError, ValueError) as error:
                log.info("the watch was cut and goes on", extra={"why": str(error)[:200]})
                version = version if heard else ""  # a list waits for a server that is away
                self.stopped.wait(0.2)
            except MienError as error:
                if not self._may_pass(error):
                    raise
                version = ""
                self.stopped.wait(1.0)

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
        self.told.put((job, gone))
