"""A Deployment with its controller over real HTTP, and Pods that answer as Triton does.

It proves what goes over the wire, and in which order things happen; it does not prove what a real
control plane does. Pods have addresses of their own, 127.0.0.2 and on, and one port, as behind a
headless Service. A Pod is an inference server in this process, or Triton itself.
"""

import contextlib
import copy
import itertools
import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from mien.adapters.triton.client import TritonClient
from mien.adapters.triton.onnx_host import OnnxHost
from mien.adapters.triton.server import free_port
from mien.core.errors import MienError

MANIFEST = Path(__file__).resolve().parents[3] / "k8s" / "base" / "triton.yaml"
CODES = {"MODEL_NOT_LOADED": grpc.StatusCode.NOT_FOUND}


def always_ready(models):
    """Hold no Pod back."""
    return False


def triton_manifest():
    """The Deployment as it is applied."""
    documents = yaml.safe_load_all(MANIFEST.read_text())
    return next(d for d in documents if d["kind"] == "Deployment")


class TritonLike(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Speaks Triton's protocol; its models are those of a repository, on ONNX Runtime."""

    def __init__(self, repository, address, *, explicit=False):
        self.host = OnnxHost(Path(repository))
        self.explicit = explicit
        self.calls = 0
        self.wrong = ()  # models whose answers are not theirs
        if not explicit:
            for config in sorted(Path(repository).glob("*/config.pbtxt")):
                self.host.load(config.parent.name)
        self.server = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        assert self.server.add_insecure_port(address), address
        self.server.start()

    def ready(self):
        return True

    def stop(self):
        self.server.stop(0.2).wait()

    def ServerLive(self, request, context):
        return service_pb2.ServerLiveResponse(live=True)

    def RepositoryIndex(self, request, context):
        models = [{"name": n, "version": "1", "state": "READY"} for n in self.host.loaded()]
        return service_pb2.RepositoryIndexResponse(models=models)

    def RepositoryModelLoad(self, request, context):
        if not self.explicit:
            context.abort(grpc.StatusCode.UNAVAILABLE, "explicit model load is not allowed")
        self.host.load(request.model_name)
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request, context):
        self.host.unload(request.model_name)
        return service_pb2.RepositoryModelUnloadResponse()

    def ModelInfer(self, request, context):
        self.calls += 1
        given = request.inputs[0]
        images = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(given.shape)
        try:
            said = self.host.infer(request.model_name, images, timeout_s=1)
        except MienError as error:
            code = CODES.get(error.reason, grpc.StatusCode.INVALID_ARGUMENT)
            context.abort(code, error.message)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, values in said.items():
            out = values[::-1] if request.model_name in self.wrong else values
            answer.outputs.add(name=name, datatype="FP32", shape=values.shape)
            answer.raw_output_contents.append(np.ascontiguousarray(out).tobytes())
        return answer


class TritonPod:
    """Triton itself, as the manifest starts it, at an address of its own."""

    def __init__(self, home, repository, address, arguments, folder):
        host, port = address.split(":")
        place = home.distribution.resolve()
        known = ("--model-repository", "--model-control-mode", "--strict-readiness")
        command = [str(place / "bin" / "tritonserver")]
        command += [a for a in arguments if a.startswith(known)]
        command += [f"--backend-directory={place / 'backends'}", "--allow-http=false"]
        command += ["--allow-metrics=false", "--allow-gpu-metrics=false"]
        command += [f"--cache-directory={place / 'caches'}", "--exit-timeout-secs=5"]
        command += [f"--grpc-address={host}", f"--grpc-port={port}"]
        with (folder / f"triton-{host}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.client = TritonClient(address)
        self.repository = Path(repository)

    def ready(self):
        """What the readiness probe finds: every model of the repository is ready."""
        wanted = {p.parent.name for p in self.repository.glob("*/config.pbtxt")}
        try:
            return self.client.live(0.5) and set(self.client.loaded()) >= wanted
        except MienError:
            return False

    def stop(self):
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 15)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()


class Rollout:
    """The Deployment, its controller, its Pods; and the faults to commit.

    Args:
        replicas: that shall run.
        make: (repository, address, arguments) → a Pod.
    """

    def __init__(self, folder, *, replicas=3, make=None):
        self.make = make or (lambda repository, address, _: TritonLike(repository, address))
        self.object = triton_manifest()
        self.object["metadata"] |= {"namespace": "mien", "generation": 1, "resourceVersion": "1"}
        self.object["spec"]["replicas"] = replicas
        self.object["spec"]["progressDeadlineSeconds"] = 60
        self.object["status"] = {}
        self.pods = []  # [{"template", "pod", "address", "since"}]
        self.lock = threading.RLock()
        self.port = free_port()
        self.numbers = itertools.count()
        self.never_ready = always_ready
        self.forbidden, self.away, self.calls, self.moved = "", 0, [], time.monotonic()
        self.open = True
        handler = type("Bound", (Handler,), {"rollout": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.kubeconfig = folder / "kubeconfig.json"
        self.kubeconfig.write_text(json.dumps(kubeconfig(self.server.server_port)))
        self.threads = [
            threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self.control, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def container(self):
        (found,) = self.object["spec"]["template"]["spec"]["containers"]
        return found

    @property
    def models(self):
        env = self.container().get("env", ())
        return next((e["value"] for e in env if e["name"] == "MIEN_MODELS"), "")

    @property
    def journal(self):
        return self.object["metadata"].get("annotations", {}).get("mien/promotion", "")

    def addresses(self):
        """What the headless Service's name resolves to."""
        with self.lock:
            return [p["address"] for p in self.pods if p["ready"]]

    def settled(self):
        """Whether the controller has nothing to do."""
        with self.lock:
            status = self.object["status"]
            wanted = self.object["spec"]["replicas"]
            return (
                status.get("observedGeneration") == self.object["metadata"]["generation"]
                and status.get("replicas") == status.get("updatedReplicas") == wanted
                and status.get("availableReplicas") == wanted
            )

    # The controller

    def control(self):
        while self.open:
            with self.lock:
                self.sync()
            time.sleep(0.02)

    def sync(self):
        """One step of a rolling update with maxUnavailable 0 and maxSurge 1."""
        template = json.dumps(self.object["spec"]["template"], sort_keys=True)
        wanted = self.object["spec"]["replicas"]
        for each in self.pods:
            held = not each["models"] or self.never_ready(each["models"])
            if not each["ready"] and not held and each["pod"].ready():
                each["ready"], self.moved = True, time.monotonic()
        new = [p for p in self.pods if p["template"] == template]
        old = [p for p in self.pods if p["template"] != template]
        starting = [p for p in self.pods if not p["ready"]]
        for each in [p for p in old if not p["ready"]]:
            self.end(each)  # unhealthy ones of before go first
        if len(new) < wanted and len(self.pods) < wanted + 1 and not starting:
            self.start(template)
        elif old and sum(p["ready"] for p in self.pods) > wanted:
            self.end(next(p for p in old if p["ready"]))
        self.tell(template, wanted)

    def start(self, template):
        high, low = divmod(next(self.numbers), 200)
        address = f"127.0.{high}.{low + 2}:{self.port}"
        arguments = [a.replace("$(MIEN_MODELS)", self.models) for a in self.container()["args"]]
        # Without a repository it starts again and again; here it is not started at all.
        pod = self.make(self.models, address, arguments) if self.models else None
        made = {"template": template, "pod": pod, "address": address, "ready": False}
        self.pods.append(made | {"models": self.models})
        self.moved = time.monotonic()

    def end(self, each):
        self.pods.remove(each)
        self.moved = time.monotonic()
        if each["pod"] is not None:
            threading.Thread(target=each["pod"].stop, daemon=True).start()

    def tell(self, template, wanted):
        new = [p for p in self.pods if p["template"] == template]
        ready = sum(p["ready"] for p in self.pods)
        done = len(new) == len(self.pods) == ready == wanted
        deadline_s = self.object["spec"]["progressDeadlineSeconds"]
        late = not done and time.monotonic() - self.moved > deadline_s
        reason = "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"
        status = {
            "observedGeneration": self.object["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": len(new),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": [
                {
                    "type": "Progressing",
                    "status": "False" if late else "True",
                    "reason": "NewReplicaSetAvailable" if done else reason,
                    "message": "the newest Pod is not ready" if late else "",
                }
            ],
        }
        if status != self.object["status"]:
            self.object["status"] = status
            self.touch()

    def touch(self):
        meta = self.object["metadata"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)

    def patch(self, body):
        """Apply a strategic merge patch; returns an HTTP code with what is told."""
        with self.lock:
            meta = self.object["metadata"]
            asked = body.get("metadata", {})
            if asked.get("resourceVersion", meta["resourceVersion"]) != meta["resourceVersion"]:
                return 409, "the object has been modified; please apply your changes to the latest"
            if unknown := set(body) - {"metadata", "spec"}:
                return 400, f"unknown field {unknown}"
            notes = meta.setdefault("annotations", {})
            for key, value in asked.get("annotations", {}).items():
                notes.pop(key, None) if value is None else notes.update({key: value})
            before = copy.deepcopy(self.object["spec"])
            if "spec" in body:
                (given,) = body["spec"]["template"]["spec"]["containers"]
                assert given["name"] == self.container()["name"]
                env = {e["name"]: e for e in self.container().get("env", ())}
                for each in given["env"]:
                    env[each["name"]] = each
                self.container()["env"] = list(env.values())
            if self.object["spec"] != before:
                meta["generation"] += 1
                self.moved = time.monotonic()
            self.touch()
            return 200, self.object

    def close(self):
        self.open = False
        self.threads[1].join(10)
        self.server.shutdown()
        self.server.server_close()
        for each in self.pods:
            if each["pod"] is not None:
                each["pod"].stop()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(200, self.rollout.object)

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.headers["Content-Type"]
        assert kind == "application/strategic-merge-patch+json", kind
        self.answer(*self.rollout.patch(body), body=body)

    def answer(self, code, said, body=None):
        rollout, path = self.rollout, self.path.split("?")[0]
        rollout.calls.append((self.command, path, body))
        if rollout.away > 0:
            rollout.away -= 1
            code, said = 503, "the server is currently unable to handle the request"
        if rollout.forbidden:
            code, said = 403, rollout.forbidden
        if path != "/apis/apps/v1/namespaces/mien/deployments/triton":
            code, said = 404, 'deployments.apps "other" not found'
        if code != 200:
            said = {"kind": "Status", "status": "Failure", "message": said, "code": code}
        with rollout.lock:
            data = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def kubeconfig(port):
    """Lead a client to the stand-in."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
