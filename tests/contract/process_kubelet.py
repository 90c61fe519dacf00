"""A node of our own: Pods are subprocesses of this machine.

It does what the API server and the controllers see of a kubelet: registers a Node with GPUs,
keeps its lease, takes Pods that the scheduler bound to it, runs their command, tells their phase
and exit codes, starts those of Deployments again, ends them with SIGTERM, grace and SIGKILL,
serves their logs over HTTPS. It has no images (a table takes their place), no probes (ready
is what says so), no volumes, no isolation, no devices, no network.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError

from mien.adapters.triton.bound_launch import bound
from tests.contract.kube_rest import STRATEGIC, Refused, Rest
from tests.contract.kubelet_container import (
    CannotStart,
    environment,
    only_container,
    words,
)
from tests.contract.kubelet_logs import log_server

Image = Callable[[Sequence[str]], list[str]]
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MESSAGE_BYTES = 2048
NOWHERE = "192.0.2.1"  # an address for documents: Pods of this node cannot be called
READY = b"ready\n"  # what a container with a readiness probe writes when it is
_BEAT_S = 5.0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass
class _Run:
    """One Pod on this node."""

    pod: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deleting: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    began: str = ""
    restarts: int = 0
    asked: bool = False

    @property
    def path(self) -> str:
        at = self.pod["metadata"]
        return f"/api/v1/namespaces/{at['namespace']}/pods/{at['name']}"

    def stop(self) -> None:
        """Ask the container's first process to end, once."""
        with self.lock:
            if self.process is not None and not self.asked and self.process.poll() is None:
                self.asked = True
                os.kill(self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the container's first process and all it started."""
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


class ProcessKubelet:
    """One Node.

    Args:
        api: as ``system:node:<name>``.
        folder: for logs.
        files: certificate and key that the log server shows.
        authority: who signs the API server's client certificate.
        images: name → how its command is run here; any other image cannot be pulled.
        name: of the node.
        gpus: of ``nvidia.com/gpu``.
    """

    def __init__(
        self,
        api: Rest,
        folder: Path,
        *,
        files: tuple[Path, Path],
        authority: Path,
        images: Mapping[str, Image],
        name: str = "node-1",
        gpus: int = 4,
    ):
        self.api, self.folder, self.images = api, folder, dict(images)
        self.name, self.gpus = name, gpus
        self.runs: dict[str, _Run] = {}
        self.counting = threading.Lock()
        self.running = 0
        self.most_running = 0
        self.closed = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self.server = log_server(self._log_of, files, authority)

    # -- the node ------------------------------------------------------------------------------

    def start(self) -> None:
        """Register and begin to take Pods."""
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"}
        node: dict[str, Any] = {"apiVersion": "v1", "kind": "Node"}
        node |= {"metadata": {"name": self.name, "labels": labels}}
        self.api.ensure("/api/v1/nodes", node)
        self._tell_status()
        for work in (self.server.serve_forever, self._beat, self._watch):
            threading.Thread(target=work, daemon=True, name=f"kubelet-{work.__name__}").start()

    def close(self) -> None:
        """End every Pod's process, and the threads with their next look."""
        self.closed.set()
        for run in list(self.runs.values()):
            run.kill()
        self.server.shutdown()
        self.server.server_close()

    def _tell_status(self) -> None:
        has = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        has["nvidia.com/gpu"] = str(self.gpus)
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}
        ready |= {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
        status = {
            "capacity": has,
            "allocatable": has,
            "conditions": [ready],
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": self.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.server.server_port}},
        }
        path = f"/api/v1/nodes/{self.name}/status"
        self.api.call("PATCH", path, {"status": status}, kind=STRATEGIC)

    def _beat(self) -> None:
        """Renew the lease by which the node controller knows that we live."""
        while not self.closed.is_set():
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40}
            spec["renewTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
            lease["metadata"] = {"name": self.name, "namespace": "kube-node-lease"}
            try:
                self.api.ensure(LEASES, lease)
                self.api.call("PATCH", f"{LEASES}/{self.name}", {"spec": spec}, kind=STRATEGIC)
                self._tell_status()
            except (Refused, HTTPError, OSError):
                pass  # the server is away; the next beat comes
            self.closed.wait(_BEAT_S)

    # -- Pods ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        mine = {"fieldSelector": f"spec.nodeName={self.name}"}
        while not self.closed.is_set():
            try:
                listed = self.api.get("/api/v1/pods", **mine)
                for pod in listed["items"]:
                    self._look(pod)
                here = {pod["metadata"]["uid"] for pod in listed["items"]}
                for uid in set(self.runs) - here:
                    self._forgotten(uid)
                version = listed["metadata"]["resourceVersion"]
                for kind, pod in self.api.watch("/api/v1/pods", version, **mine):
                    if self.closed.is_set():
                        return
                    if kind == "DELETED":
                        self._forgotten(pod["metadata"]["uid"])
                    elif kind in ("ADDED", "MODIFIED"):
                        self._look(pod)
            except (Refused, HTTPError, OSError, ValueError):
                self.closed.wait(0.5)  # cut off, or told to list again

    def _look(self, pod: dict[str, Any]) -> None:
        uid, meta = pod["metadata"]["uid"], pod["metadata"]
        run = self.runs.get(uid)
        if run is None:
            if pod.get("status", {}).get("phase") != "Pending":
                return
            run = self.runs[uid] = _Run(pod, self.folder / f"{uid}.log")
            threading.Thread(target=self._live, args=(run,), daemon=True).start()
        if run is not None and meta.get("deletionTimestamp") and not run.deleting.is_set():
            run.deleting.set()
            grace_s = meta.get("deletionGracePeriodSeconds", 30)
            run.stop()
            killer = threading.Timer(grace_s, run.kill)
            killer.daemon = True
            killer.start()

    def _forgotten(self, uid: str) -> None:
        """End what runs for a Pod that the API server has no longer."""
        if run := self.runs.get(uid):
            run.deleting.set()
            run.kill()

    def _live(self, run: _Run) -> None:
        """A Pod's whole life."""
        try:
            argv, env = self._prepared(run)
        except CannotStart as why:
            waiting = {"reason": why.reason, "message": str(why)}
            self._tell(run, "Pending", {"waiting": waiting})
            while not run.deleting.wait(0.2) and not self.closed.is_set():
                pass
            self._gone(run)
            return
        code = 137
        while not run.deleting.is_set() and not self.closed.is_set():
            code = self._ran(run, argv, env)
            if run.pod["spec"].get("restartPolicy") == "Never":
                break
            run.restarts += 1
            waiting = {"reason": "CrashLoopBackOff", "message": f"it ended with {code}"}
            self._tell(run, "Running", {"waiting": waiting})
            run.deleting.wait(1.0)
        self._tell_end(run, code)

    def _tell_end(self, run: _Run, code: int) -> None:
        """Tell how a Pod ended; one that was to be deleted is gone then."""
        if self.closed.is_set():
            return
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        ended |= {"startedAt": run.began or now(), "finishedAt": now()}
        if code and run.log.exists():
            ended["message"] = run.log.read_bytes()[-MESSAGE_BYTES:].decode(errors="replace")
        self._tell(run, "Failed" if code else "Succeeded", {"terminated": ended})
        if run.deleting.is_set():
            self._gone(run)

    def _ran(self, run: _Run, argv: list[str], env: Mapping[str, str]) -> int:
        """Run the command; returns its exit code, 128 + n for signal n."""
        with run.log.open("ab") as log, run.lock:
            try:
                run.process = subprocess.Popen(
                    bound(argv),  # by a thread that lives as long
                    env=dict(env),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return 128
        run.began = now()
        self._count(1)
        if run.deleting.is_set():
            run.stop()
        code = self._watched(run, run.process)
        self._count(-1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)  # what it left behind ends with it
        return 128 - code if code < 0 else code

    def _watched(self, run: _Run, process: subprocess.Popen[bytes]) -> int:
        """Tell that it runs, and that it is ready; returns its exit code."""
        running = {"running": {"startedAt": run.began}}
        probed = "readinessProbe" in run.pod["spec"]["containers"][0]
        self._tell(run, "Running", running, ready=not probed)
        while probed and process.poll() is None and not self.closed.is_set():
            if READY in run.log.read_bytes():
                self._tell(run, "Running", running)
                break
            self.closed.wait(0.1)
        return process.wait()

    def _count(self, step: int) -> None:
        with self.counting:
            self.running += step
            self.most_running = max(self.most_running, self.running)

    def _tell(
        self, run: _Run, phase: str, state: dict[str, Any], *, ready: bool | None = None
    ) -> None:
        """Patch the Pod's status; conditions of others stay."""
        container = run.pod["spec"]["containers"][0]
        is_ready = "running" in state if ready is None else ready
        word = "True" if is_ready else "False"
        status = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": NOWHERE,
            "podIPs": [{"ip": NOWHERE}],
            "startTime": run.began or now(),
            "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": word},
                {"type": "ContainersReady", "status": word},
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": is_ready,
                    "started": "running" in state,
                    "restartCount": run.restarts,
                    "state": state,
                }
            ],
        }
        self._ask(run, "PATCH", f"{run.path}/status", {"status": status}, STRATEGIC)

    def _gone(self, run: _Run) -> None:
        """Let the API server forget a Pod whose process has ended."""
        uid = {"preconditions": {"uid": run.pod["metadata"]["uid"]}}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, **uid}
        self._ask(run, "DELETE", run.path, body, "application/json")

    def _ask(self, run: _Run, method: str, path: str, body: dict[str, Any], kind: str) -> None:
        """Ask until there is an answer: what a Pod did must not be lost to an absent server."""
        while not self.closed.is_set():
            try:
                self.api.call(method, path, body, kind=kind)
                return
            except Refused as error:
                if error.status in (404, 409, 422):
                    return  # it has gone, or is another
            except (HTTPError, OSError):
                pass
            self.closed.wait(0.3)

    # -- what is run -------------------------------------------------------------------------------

    def _prepared(self, run: _Run) -> tuple[list[str], dict[str, str]]:
        """Return argv and environment.

        Raises:
            CannotStart: what a kubelet would write into ``waiting``.
        """
        container = only_container(run.pod)
        image = self.images.get(container["image"])
        if image is None:
            raise CannotStart("ErrImagePull", f"there is no image {container['image']}")
        namespace = run.pod["metadata"]["namespace"]
        env = environment(run.pod, container, lambda name: self._config_map(namespace, name))
        own = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        try:
            return image(words(container, env)), own | env
        except (LookupError, ValueError) as error:
            raise CannotStart("CreateContainerError", f"no such command: {error}") from None

    def _config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read one; None when there is none.

        The Node authorizer answers 403 for what no Pod of this node names: that is so of what is
        not there, and for a moment of what a Pod has only just named.
        """
        for _ in range(20):
            try:
                found = self.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
                return dict(found.get("data") or {})
            except Refused as error:
                if error.status == 404:
                    return None
            except (HTTPError, OSError):
                pass  # the server is away
            self.closed.wait(0.5)
        return None

    def _log_of(self, namespace: str, name: str) -> bytes | None:
        """What a Pod wrote; the newest one of that name."""
        for run in reversed(list(self.runs.values())):
            at = run.pod["metadata"]
            if (at["namespace"], at["name"]) == (namespace, name):
                return run.log.read_bytes() if run.log.exists() else b""
        return None
