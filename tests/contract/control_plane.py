"""A real control plane on loopback, for one test session.

``KUBEBUILDER_ASSETS`` names a folder with ``etcd kube-apiserver kube-controller-manager
kube-scheduler``. They run with certificates of their own, RBAC and the Node authorizer, Pod
Security where the release has it; the node is ``process_kubelet``. What the release is too old for
is skipped with the reason (``needs``), never passed.
"""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from mien.adapters.kubernetes.api import OLDEST, KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.adapters.triton.bound_launch import bound
from tests.contract.cluster_certificates import Certificates
from tests.contract.kube_rest import Refused, Rest, until
from tests.contract.process_kubelet import ProcessKubelet

VARIABLE = "KUBEBUILDER_ASSETS"
PREFIX = "no real control plane: "
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
FAKE = Path(__file__).with_name("fake_mien.py")

# Where a feature is on without being asked for.
SINCE = {
    "completionMode": (1, 24),
    "suspend": (1, 24),
    "PodSecurity": (1, 25),
    "grpcProbes": (1, 27),
    "backoffLimitPerIndex": (1, 29),
    "podFailurePolicy": (1, 31),
}

# Tests of the executor contract that an older server would fail for a feature it lacks.
NEEDS = {
    "test_permanent_failure_is_not_tried_again": ("podFailurePolicy",),
    "test_the_log_of_a_failure_is_told": ("podFailurePolicy",),
    "test_interrupted_is_cancelled": ("podFailurePolicy",),
}


def missing() -> str:
    """Why there is no control plane, or ""."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return f"{VARIABLE} is not set: it names a folder with {' '.join(BINARIES)}"
    lacks = [b for b in BINARIES if not os.access(Path(folder) / b, os.X_OK)]
    return f"{VARIABLE}={folder} lacks {' '.join(lacks)}" if lacks else ""


def fake_image(words: Sequence[str]) -> list[str]:
    """``python -m mien …``, with the tiny verbs of the contract; of a crew only one process."""
    return [sys.executable, str(FAKE), *words[4 if words[2] == "mien.cli.crew" else 3 :]]


# Ready after a moment, until it is told to end; models called bad cannot be loaded.
_SERVER = """
import signal, sys, time
time.sleep(0.2)
if "bad" in " ".join(sys.argv):
    sys.exit("no such model")
print("ready", flush=True)
signal.pause()
"""


def serving_image(words: Sequence[str]) -> list[str]:
    """A server that becomes ready, in Triton's place."""
    return [sys.executable, "-c", _SERVER, *words]


def real_image(words: Sequence[str]) -> list[str]:
    """The image with this checkout's mien in it."""
    return [sys.executable, *words[1:]]


class ControlPlane:
    """etcd, API server, controllers, scheduler and one node with four GPUs.

    Args:
        assets: folder of the binaries.
        folder: for certificates, data and logs.
    """

    def __init__(self, assets: Path, folder: Path):
        self.assets, self.folder = assets, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.certificates = Certificates(folder / "pki")
        self.tokens_key = self.certificates.signing_key()
        self.ports = dict(zip(("etcd", "peer", "api"), _free_ports(3), strict=True))
        self.server = f"https://127.0.0.1:{self.ports['api']}"
        self._api_files = self.certificates.issue("kube-apiserver", "system:masters")
        self.rest = self._as("admin", "system:masters")
        self._ending = ExitStack()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._start_etcd()
        self.start_api()
        found = self.rest.get("/version")
        self.version = (int(found["major"]), int("".join(filter(str.isdigit, found["minor"]))))
        self.git_version = found["gitVersion"]
        admin = self.write_kubeconfig(self.certificates.issue("admin", "system:masters"))
        self._start_controllers(admin)
        self.kubelet = ProcessKubelet(
            self._as("system:node:node-1", "system:nodes"),
            self.folder / "node",
            files=self.certificates.issue("node-1"),
            authority=self.certificates.authority,
            images={"mien-services": fake_image, "mien": real_image, "server": serving_image},
        )
        self.kubelet.start()
        self._ending.callback(self.kubelet.close)
        until(self._node_is_ready, "the node is ready")
        self.kubeconfig = admin
        self.namespace = self.make_namespace()

    def _as(self, name: str, *groups: str) -> Rest:
        files = self.certificates.issue(name, *groups)
        return Rest(self.server, self.certificates.authority, files=files)

    # -- the processes -----------------------------------------------------------------------------

    def _run(self, name: str, *flags: str) -> None:
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                bound((str(self.assets / name), *flags)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running[name] = process

    def _start_etcd(self) -> None:
        here, peer = (f"http://127.0.0.1:{self.ports[p]}" for p in ("etcd", "peer"))
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={here}",
            f"--advertise-client-urls={here}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def start_api(self) -> None:
        """Start the API server and wait until it is ready; again after ``stop_api``."""
        cert, key = self._api_files
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports['api']}",
            f"--tls-cert-file={cert}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.certificates.authority}",
            f"--kubelet-certificate-authority={self.certificates.authority}",
            f"--kubelet-client-certificate={cert}",
            f"--kubelet-client-key={key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.tokens_key}",
            f"--service-account-signing-key-file={self.tokens_key}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'api'}",
        )
        until(lambda: self._answers("/readyz"), "the API server is ready")

    def stop_api(self) -> None:
        """Let the API server go away at once, as when its machine does."""
        self._kill("kube-apiserver")

    def _start_controllers(self, admin: Path) -> None:
        ports = _free_ports(2)
        common = [f"--kubeconfig={admin}", "--leader-elect=false", "--bind-address=127.0.0.1"]
        if self.version < (1, 24):
            common.append("--port=0")  # else every cluster would listen on the same one, in clear
        self._run(
            "kube-controller-manager",
            *common,
            f"--secure-port={ports[0]}",
            f"--cert-dir={self.folder / 'controllers'}",
            f"--root-ca-file={self.certificates.authority}",
            f"--service-account-private-key-file={self.tokens_key}",
        )
        self._run(
            "kube-scheduler",
            *common,
            f"--secure-port={ports[1]}",
            f"--cert-dir={self.folder / 'scheduler'}",
        )

    def _answers(self, path: str) -> bool:
        for name, process in self.running.items():
            if process.poll() is not None:
                text = (self.folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{text[-2000:]}")
        try:
            return bool(self.rest.get(path) == "ok")
        except (Refused, HTTPError, OSError):
            return False

    def _node_is_ready(self) -> bool:
        self._answers("/readyz")
        node = self.rest.get("/api/v1/nodes/node-1")
        ready = [c for c in node["status"].get("conditions", ()) if c["type"] == "Ready"]
        return bool(ready) and ready[0]["status"] == "True" and not node["spec"].get("taints")

    def _kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End everything, the node's Pods first, etcd last; nobody needs its data any more."""
        self._ending.close()
        for name in reversed(list(self.running)):
            self._kill(name)

    # -- what tests ask for ------------------------------------------------------------------------

    def needs(self, *features: str) -> None:
        """Skip the test when the server does not have a feature."""
        for feature in features:
            if self.version < SINCE[feature]:
                since = ".".join(map(str, SINCE[feature]))
                pytest.skip(f"{PREFIX}Kubernetes {self.git_version} has no {feature}: {since} has")

    def admit(self, test: str) -> None:
        """Skip a test of the executor contract that this server is too old for."""
        self.needs(*NEEDS.get(test, ()))

    @property
    def oldest(self) -> tuple[int, int]:
        """What the executor may be told to take: its own limit, or this server if it is older.

        On an older server the contract runs in so far as the server has what a test needs.
        """
        return min(OLDEST, self.version)

    def make_namespace(self, **labels: str) -> str:
        """Make a namespace under Pod Security "restricted", with the workers' account."""
        name = f"t-{uuid.uuid4().hex[:10]}"
        enforce = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        body = {"apiVersion": "v1", "kind": "Namespace"}
        self.rest.post("/api/v1/namespaces", body | {"metadata": {"name": name, "labels": enforce}})
        self.account(name, "mien-worker")
        return name

    def executor(
        self,
        namespace: str,
        *,
        kubeconfig: Path | None = None,
        stuck_s: float = 120.0,
        **options: Any,
    ) -> KubernetesJobExecutor:
        """Make an executor in a namespace; options go into its profile."""
        given = {"image": "mien-services", "grace_s": 20, "retries": 1, "slots": 8, **options}
        way_in = kubeconfig or self.kubeconfig
        profile = KubernetesProfile(kubeconfig=way_in, namespace=namespace, **given)
        api = KubernetesApi(profile, away_s=60.0, oldest=self.oldest)
        return KubernetesJobExecutor(profile, api, stuck_s=stuck_s)

    def account(self, namespace: str, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.rest.ensure(f"/api/v1/namespaces/{namespace}/serviceaccounts", body)

    def token(self, namespace: str, account: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.rest.post(path, body)["status"]["token"])

    def write_kubeconfig(self, files: tuple[Path, Path] | None = None, token: str = "") -> Path:
        """Write the way in for a certificate or a token; returns the file."""
        user: Mapping[str, str] = {"token": token}
        if files is not None:
            user = {"client-certificate": str(files[0]), "client-key": str(files[1])}
        cluster = {
            "server": self.server,
            "certificate-authority": str(self.certificates.authority),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        file = self.folder / f"kubeconfig-{uuid.uuid4().hex[:8]}.yaml"
        file.write_text(json.dumps(config))
        return file

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        return list(self.rest.get(f"/api/v1/namespaces/{namespace}/pods")["items"])

    def jobs(self, namespace: str) -> list[dict[str, Any]]:
        return list(self.rest.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"])

    def evict(self, pod: dict[str, Any]) -> None:
        """Disrupt a Pod as a drained node does."""
        at = pod["metadata"]
        release = "policy/v1beta1" if self.version < (1, 22) else "policy/v1"
        body = {"apiVersion": release, "kind": "Eviction", "metadata": {"name": at["name"]}}
        path = f"/api/v1/namespaces/{at['namespace']}/pods/{at['name']}/eviction"
        self.rest.post(path, body)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory):
    """A control plane and one node with four GPUs; skipped where the binaries are not."""
    if why := missing():
        pytest.skip(f"{PREFIX}{why}")
    folder = tmp_path_factory.mktemp("control-plane")
    try:
        plane = ControlPlane(Path(os.environ[VARIABLE]), folder / "first")
    except RuntimeError:  # a free port was taken in the meantime
        plane = ControlPlane(Path(os.environ[VARIABLE]), folder / "second")
    yield plane
    plane.close()


@pytest.fixture
def namespace(control_plane):
    """A namespace of one test, under Pod Security "restricted"."""
    return control_plane.make_namespace()


def pytest_terminal_summary(terminalreporter):
    """Say loudly what no real control plane was asked."""
    whys = [str(r.longrepr[2]) for r in terminalreporter.stats.get("skipped", [])]
    ours = [why for why in whys if PREFIX in why]
    for why in sorted(set(ours)):
        text = f"{ours.count(why)} tests SKIPPED: {why.removeprefix('Skipped: ')}"
        terminalreporter.write_line(text, yellow=True)
