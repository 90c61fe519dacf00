"""A small stand-in for an API server with its Job controller and one node, over real HTTP.

It runs a Pod's command as a subprocess. It proves what goes over the wire and how faults of it
are taken; it does not prove what a real control plane does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

FAKE = Path(__file__).with_name("fake_mien.py")


def now():
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass
class Cluster:
    """State, and the faults to commit."""

    namespace: str = "mien"
    version: tuple[str, str] = ("1", "36")
    slots: int = 4
    instant: bool = False
    jobs: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    forgotten: int = 0
    revision: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    busy: int = 0
    away_until: float = 0.0
    cut_after: int = 0
    forbidden: str = ""
    quota: int = 10**9
    bad_image: bool = False
    calls: list[Any] = field(default_factory=list)
    most_running: int = 0
    open: bool = True

    def touch(self, job, kind="MODIFIED"):
        """Note a change; the condition is held."""
        self.revision += 1
        job["metadata"]["resourceVersion"] = str(self.revision)
        self.events.append((self.revision, kind, json.loads(json.dumps(job))))
        self.changed.notify_all()

    def forget(self):
        """Drop the history: older watches get 410."""
        with self.changed:
            self.forgotten = self.revision
            self.events.clear()
            self.changed.notify_all()

    # -- the Job controller and the node -----------------------------------------------------

    def control(self):
        while self.open:
            with self.changed:
                for job in list(self.jobs.values()):
                    self.sync(job)
            time.sleep(0.002 if self.instant else 0.01)

    def sync(self, job):
        name, spec, status = job["metadata"]["name"], job["spec"], job["status"]
        mine = [p for p in self.pods.values() if p["job"] == name]
        if job["metadata"].get("deletionTimestamp"):
            self.finish_deletion(job, mine)
            return
        if spec.get("suspend") or status.get("conditions"):
            return
        status.setdefault("startTime", now())
        count = spec.get("completions", 1)
        for index in range(count):
            self.sync_index(job, index, [p for p in mine if p["index"] == index])
        done, failed = status.get("_done", set()), status.get("_failed", {})
        if len(done) + len(failed) == count:
            why = {} if not failed else {"reason": "Failed", "message": str(failed)}
            status["conditions"] = [
                {
                    "type": "Failed" if failed else "Complete",
                    "status": "True",
                    "lastTransitionTime": now(),
                    **why,
                }
            ]
            status["completionTime"] = now()
            self.touch(public(job))

    def sync_index(self, job, index, mine):
        status = job["status"]
        done, failed = status.setdefault("_done", set()), status.setdefault("_failed", {})
        if index in done or index in failed or any(p["phase"] == "Running" for p in mine):
            return
        indexed = job["spec"].get("completionMode") == "Indexed"
        if mine:
            code = mine[-1]["code"]
            if code == 0:
                done.add(index)
            elif not mine[-1].get("disrupted") and self.final(job, code, mine):
                failed[index] = code
            if index in done or index in failed:
                if indexed:
                    status["completedIndexes"] = ",".join(map(str, sorted(done)))
                    status["failedIndexes"] = ",".join(map(str, sorted(failed)))
                self.touch(public(job))
                return
        if sum(p["phase"] == "Running" for p in self.pods.values()) < self.slots:
            self.start(job, index, len(mine))

    def final(self, job, code, mine):
        rules = job["spec"]["podFailurePolicy"]["rules"]
        permanent = next(r for r in rules if "onExitCodes" in r)["onExitCodes"]["values"]
        limit = job["spec"].get("backoffLimitPerIndex", job["spec"]["backoffLimit"])
        counted = [p for p in mine if not p.get("disrupted")]
        return code in permanent or len(counted) > limit

    def start(self, job, index, tries):
        name = f"{job['metadata']['name']}-{index}-{tries}"
        pod = {"name": name, "job": job["metadata"]["name"], "index": index, "phase": "Running"}
        pod |= {"code": None, "created": now(), "order": len(self.pods)}
        self.pods[name] = pod
        job["status"]["ready"] = 0 if self.bad_image else 1
        if self.bad_image:
            return
        running = sum(p["phase"] == "Running" for p in self.pods.values())
        self.most_running = max(self.most_running, running)
        container = job["spec"]["template"]["spec"]["containers"][0]
        if self.instant:
            Path(container["args"][1]).touch()
            self.ended(pod, 0, "")
            return
        environment = {e["name"]: e["value"] for e in container["env"]}
        arguments = [a.replace("$(JOB_COMPLETION_INDEX)", str(index)) for a in container["args"]]
        process = subprocess.Popen(
            [sys.executable, str(FAKE), *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes[name] = process
        threading.Thread(target=self.wait, args=(pod, process), daemon=True).start()

    def wait(self, pod, process):
        text = process.communicate()[0].decode(errors="replace")
        code = process.returncode
        with self.changed:
            self.ended(pod, 128 - code if code < 0 else code, text)

    def ended(self, pod, code, text):
        pod["phase"] = "Succeeded" if code == 0 else "Failed"
        pod["code"] = code
        self.logs[pod["name"]] = text

    def disrupt(self, job):
        """Preempt a Job's running Pod, as a scheduler would: SIGTERM, and it does not count."""
        with self.changed:
            (pod,) = [p for p in self.pods.values() if p["job"] == job and p["phase"] == "Running"]
            pod["disrupted"] = True
            os.kill(self.processes[pod["name"]].pid, signal.SIGTERM)

    def finish_deletion(self, job, mine):
        name = job["metadata"]["name"]
        if any(p["phase"] == "Running" and p["name"] in self.processes for p in mine):
            return
        for pod in mine:
            del self.pods[pod["name"]]
        del self.jobs[name]
        self.touch(public(job), "DELETED")

    def close(self):
        self.open = False
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        with self.changed:
            self.changed.notify_all()


def public(job):
    return {
        **job,
        "status": {k: v for k, v in job["status"].items() if not k.startswith("_")},
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *args):
        pass

    def answer(self, code, body, **headers):
        data = json.dumps(body).encode() if not isinstance(body, str) else body.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, code, message, **headers):
        body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
        self.answer(code, body, **headers)

    def faulty(self):
        cluster = self.cluster
        cluster.calls.append((time.monotonic(), self.command, self.path))
        if time.monotonic() < cluster.away_until:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return True
        if cluster.busy > 0:
            cluster.busy -= 1
            self.fail(429, "too many requests", Retry_After="0")
            return True
        parts = urlsplit(self.path).path.split("/")
        if "namespaces" in parts:
            asked = parts[parts.index("namespaces") + 1]
            if asked != cluster.namespace:
                self.fail(404, f'namespaces "{asked}" not found')
                return True
        if cluster.forbidden and self.command == "POST":
            self.fail(403, cluster.forbidden)
            return True
        return False

    def name(self):
        return urlsplit(self.path).path.rstrip("/").split("/")[-1]

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.faulty():
            return
        cluster, dry = self.cluster, "dryRun=All" in self.path
        with cluster.changed:
            name = body["metadata"]["name"]
            if name in cluster.jobs:
                self.fail(409, f'jobs.batch "{name}" already exists')
            elif len(cluster.jobs) >= cluster.quota:
                self.fail(403, f'jobs.batch "{name}" is forbidden: exceeded quota: jobs')
            else:
                job = {**body, "status": {}}
                job["metadata"] |= {"creationTimestamp": now(), "uid": str(uuid.uuid4())}
                if not dry:
                    cluster.jobs[name] = job
                    cluster.touch(public(job), "ADDED")
                self.answer(201, public(job))

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.faulty():
            return
        cluster = self.cluster
        with cluster.changed:
            job = cluster.jobs.get(self.name())
            if job is None:
                self.fail(404, f'jobs.batch "{self.name()}" not found')
                return
            job["metadata"]["deletionTimestamp"] = now()
            for pod in cluster.pods.values():
                process = cluster.processes.get(pod["name"])
                if pod["job"] == self.name() and process and process.poll() is None:
                    process.terminate()
            cluster.touch(public(job))
            self.answer(200, public(job))

    def do_GET(self):
        if self.faulty():
            return
        cluster, url = self.cluster, urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path.rstrip("/") == "/version":
            keys = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion")
            keys += ("compiler", "platform")
            major, minor = cluster.version
            self.answer(200, {"major": major, "minor": minor, **dict.fromkeys(keys, "x")})
        elif url.path.endswith("/log"):
            self.answer(200, cluster.logs.get(url.path.split("/")[-2], ""))
        elif url.path.endswith("/pods"):
            self.list_pods(query["labelSelector"].split("=", 1)[1])
        elif url.path.endswith("/jobs"):
            self.watch(query) if query.get("watch") else self.list_jobs()
        else:
            with cluster.changed:
                job = cluster.jobs.get(self.name())
                body = None if job is None else public(job)
            self.fail(404, "jobs.batch not found") if body is None else self.answer(200, body)

    def list_jobs(self):
        with self.cluster.changed:
            items = [public(j) for j in self.cluster.jobs.values()]
            version = {"resourceVersion": str(self.cluster.revision)}
        self.answer(200, {"items": items, "metadata": version})

    def list_pods(self, job):
        with self.cluster.changed:
            pods = [p for p in self.cluster.pods.values() if p["job"] == job]
        self.answer(200, {"items": [self.pod(p) for p in sorted(pods, key=lambda p: p["order"])]})

    def pod(self, pod):
        state = {"running": {}}
        if pod["code"] is not None:
            state = {"terminated": {"exitCode": pod["code"]}}
        elif self.cluster.bad_image:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        return {
            "metadata": {
                "name": pod["name"],
                "creationTimestamp": pod["created"],
                "annotations": {"batch.kubernetes.io/job-completion-index": str(pod["index"])},
            },
            "status": {
                "phase": pod["phase"],
                "containerStatuses": [{"name": "worker", "state": state}],
            },
        }

    def watch(self, query):
        cluster, seen = self.cluster, int(query["resourceVersion"])
        if seen < cluster.forgotten:
            self.fail(410, "too old resource version")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while cluster.open and time.monotonic() >= cluster.away_until:
            with cluster.changed:
                if seen < cluster.forgotten:
                    gone = {"code": 410, "message": "too old", "reason": "Expired"}
                    self.chunk({"type": "ERROR", "object": gone})
                    break
                new = [e for e in cluster.events if e[0] > seen]
                if not new:
                    cluster.changed.wait(0.5)
            for revision, kind, job in new:
                self.chunk({"type": kind, "object": job})
                seen, sent = revision, sent + 1
                if cluster.cut_after and sent >= cluster.cut_after:
                    self.wfile.write(b"10\r\n{half an event")  # and the line goes dead
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def chunk(self, event):
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that has gone is no news."""


class StandIn:
    """A running stand-in; ``kubeconfig`` leads to it."""

    def __init__(self, folder, **options):
        self.cluster = Cluster(**options)
        handler = type("Bound", (Handler,), {"cluster": self.cluster})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.kubeconfig = folder / "kubeconfig.yaml"
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"},
                        }
                    ],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        threading.Thread(target=self.cluster.control, daemon=True).start()

    def close(self):
        self.cluster.close()
        self.server.shutdown()
        self.server.server_close()
