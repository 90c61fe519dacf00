"""A node of our own: Pods of Jobs are subprocesses of this machine.

It does what the API server and the controllers see of a kubelet: registers a Node with GPUs,
keeps its lease, takes Pods that the scheduler bound to it, runs their command, tells their phase
and exit codes, ends them with SIGTERM, grace and SIGKILL, serves their logs over HTTPS. It has no
images (a table takes their place), no volumes, no isolation, no devices, no network.
"""

import contextlib
import os
import re
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from urllib3.exceptions import HTTPError

from tests.contract.kube_rest import STRATEGIC, Refused, Rest

Image = Callable[[Sequence[str]], list[str]]
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MESSAGE_BYTES = 2048
_BEAT_S = 5.0
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def expand(text: str, known: Mapping[str, str]) -> str:
    """Fill in ``$(NAME)`` as a kubelet does: unknown names stay, ``$$`` is a dollar sign."""

    def one(found):
        if found.group(0) == "$$":
            return "$"
        return known.get(found.group(1), found.group(0))

    return _REFERENCE.sub(one, text)


class CannotStart(Exception):
    """The container waits; ``reason`` is what the kubelet would say."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass
class _Run:
    """One Pod on this node."""

    pod: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deleting: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    began: str = ""

    @property
    def path(self) -> str:
        at = self.pod["metadata"]
        return f"/api/v1/namespaces/{at['namespace']}/pods/{at['name']}"

    def signal(self, number: int) -> None:
        """Signal the container's first process; killed, all it started goes with it."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                return
            send = os.killpg if number == signal.SIGKILL else os.kill
            send(self.process.pid, number)


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
        self.api, self.folder, self.images = api, folder, dict[str, Any](images)
        self.name, self.gpus = name, gpus
        self.runs: dict[str, _Run] = {}
        self.counting = threading.Lock()
        self.running = 0
        self.most_running = 0
        self.closed = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self.server = _log_server(self, files, authority)

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
            run.signal(signal.SIGKILL)
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
                version = listed["metadata"]["resourceVersion"]
                for kind, pod in self.api.watch("/api/v1/pods", version, **mine):
                    if self.closed.is_set():
                        return
                    if kind in ("ADDED", "MODIFIED"):
                        self._look(pod)
            except (Refused, HTTPError, OSError, ValueError):
                self.closed.wait(0.5)  # cut off, or told to list again

    def _look(self, pod: dict[str, Any]) -> None:
        uid, meta = pod["metadata"]["uid"], pod["metadata"]
        run = self.runs.get(uid)
        if run is None and pod["spec"].get("restartPolicy") == "Never":
            if pod.get("status", {}).get("phase") != "Pending":
                return
            run = self.runs[uid] = _Run(pod, self.folder / f"{uid}.log")
            threading.Thread(target=self._live, args=(run,), daemon=True).start()
        if run is not None and meta.get("deletionTimestamp") and not run.deleting.is_set():
            run.deleting.set()
            grace_s = meta.get("deletionGracePeriodSeconds", 30)
            run.signal(signal.SIGTERM)
            killer = threading.Timer(grace_s, run.signal, args=(signal.SIGKILL,))
            killer.daemon = True
            killer.start()

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
        if not run.deleting.is_set():
            code = self._ran(run, argv, env)
        text = run.log.read_bytes() if run.log.exists() else b""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        ended |= {"startedAt": run.began or now(), "finishedAt": now()}
        if code and run.pod["spec"]["containers"][0].get("terminationMessagePolicy") != "File":
            ended["message"] = text[-MESSAGE_BYTES:].decode(errors="replace")
        if self.closed.is_set():
            return
        self._tell(run, "Failed" if code else "Succeeded", {"terminated": ended})
        if run.deleting.is_set():
            self._gone(run)

    def _ran(self, run: _Run, argv: list[str], env: Mapping[str, str]) -> int:
        """Run the command; returns its exit code, 128 + n for signal n."""
        with run.log.open("wb") as log, run.lock:
            try:
                run.process = subprocess.Popen(
                    argv,
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
            run.signal(signal.SIGTERM)
        self._tell(run, "Running", {"running": {"startedAt": run.began}})
        code = run.process.wait()
        self._count(-1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)  # what it left behind ends with it
        return 128 - code if code < 0 else code

    def _count(self, step: int) -> None:
        with self.counting:
            self.running += step
            self.most_running = max(self.most_running, self.running)

    def _tell(self, run: _Run, phase: str, state: dict[str, Any]) -> None:
        """Patch the Pod's status; conditions of others stay."""
        container = run.pod["spec"]["containers"][0]
        ready = "True" if "running" in state else "False"
        status = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "startTime": run.began or now(),
            "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": ready},
                {"type": "ContainersReady", "status": ready},
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready == "True",
                    "started": ready == "True",
                    "restartCount": 0,
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
        """Return argv and environment of the only container.

        Raises:
            CannotStart: what a kubelet would write into ``waiting``.
        """
        spec = run.pod["spec"]
        if len(spec["containers"]) != 1 or spec.get("initContainers"):
            raise CannotStart("CreateContainerError", "this node runs Pods of one container")
        container = spec["containers"][0]
        image = self.images.get(container["image"])
        if image is None:
            raise CannotStart("ErrImagePull", f"there is no image {container['image']}")
        env = self._environment(run.pod, container)
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        own = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        return image([expand(w, env) for w in words]), own | env

    def _environment(self, pod: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
        env: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            reference = source["configMapRef"]
            env |= self._config_map(pod, reference["name"], reference.get("optional", False))
        for each in container.get("env") or ():
            if "valueFrom" in each:
                env[each["name"]] = _field(pod, each["valueFrom"]["fieldRef"]["fieldPath"])
            else:
                env[each["name"]] = expand(each.get("value", ""), env)
        return env

    def _config_map(self, pod: dict[str, Any], name: str, optional: bool) -> dict[str, str]:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps/{name}"
        try:
            return dict(self.api.get(path).get("data") or {})
        except Refused as error:
            if optional and error.status == 404:
                return {}
            raise CannotStart("CreateContainerConfigError", str(error)) from None


def _field(pod: dict[str, Any], path: str) -> str:
    """Read ``metadata.name`` or ``metadata.annotations['a/b']``."""
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(pod["metadata"].get(found.group(1), {}).get(found.group(2), ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _log_server(kubelet: ProcessKubelet, files, authority) -> ThreadingHTTPServer:
    """Serve ``/containerLogs/<namespace>/<pod>/<container>`` to the API server alone."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            url = urlsplit(self.path)
            verb, namespace, name = ([*url.path.split("/"), "", "", ""])[1:4]
            for run in reversed(list(kubelet.runs.values())):
                at = run.pod["metadata"]
                if verb == "containerLogs" and (at["namespace"], at["name"]) == (namespace, name):
                    text = run.log.read_bytes() if run.log.exists() else b""
                    self._answer(200, _tail(text, parse_qs(url.query).get("tailLines")))
                    return
            self._answer(404, b"no such Pod on this node")

        def _answer(self, code, text):
            self.send_response(code)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A caller that hung up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, files))
    context.load_verify_locations(str(authority))
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _tail(text: bytes, lines: list[str] | None) -> bytes:
    return text if lines is None else b"".join(text.splitlines(keepends=True)[-int(lines[0]) :])
