"""A small stand-in for an API server, over real HTTP; the cluster behind is ``kube_cluster``.

It proves what goes over the wire and how faults of it are taken; it does not prove what a real
control plane does. ``python -m tests.contract.kube_stand_in FOLDER [FIELD=JSON ...]`` runs one in
a process of its own, until its standard input ends; every line there is answered by its counters.
"""

import json
import socket
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mien.adapters.kubernetes.jobs import JOB_NAME
from tests.contract.kube_cluster import Cluster, now, public


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
                    cluster.created += 1
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
            cluster.delete(job)
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
            self.answer(200, cluster.log(url.path.split("/")[-2]))
        elif url.path.endswith("/pods"):
            self.list_pods(query)
        elif url.path.endswith("/events"):
            self.list_events()
        elif url.path.endswith("/jobs"):
            self.watch(query) if query.get("watch") else self.list_jobs(query)
        else:
            with cluster.changed:
                job = cluster.jobs.get(self.name())
                body = None if job is None else public(job)
            self.fail(404, "jobs.batch not found") if body is None else self.answer(200, body)

    def list_jobs(self, query):
        """Answer a page: ``continue`` is how many came before."""
        first, limit = int(query.get("continue") or 0), int(query.get("limit") or 10**9)
        with self.cluster.changed:
            jobs = list(self.cluster.jobs.values())
            items = [public(j) for j in jobs[first : first + limit]]
            metadata = {"resourceVersion": str(self.cluster.revision)}
        if first + limit < len(jobs):
            metadata["continue"] = str(first + limit)
        self.answer(200, {"items": items, "metadata": metadata})

    def list_pods(self, query):
        """Answer the Pods of one Job, or all of ours; of one phase where asked."""
        selector = query["labelSelector"]
        label, _, wanted = selector.partition("=")
        several = set()
        if " in (" in selector:  # set-based, as several Jobs are asked for
            label, _, wanted = selector.partition(" in (")
            several = set(wanted.rstrip(")").split(","))
        phase = query.get("fieldSelector", "").partition("=")[2]
        with self.cluster.changed:
            pods = list(self.cluster.pods.values())
            if label == JOB_NAME:
                pods = [p for job in several or {wanted} for p in self.cluster.pods_of[job]]
        pods = [p for p in pods if not phase or p["phase"] == phase]
        items = [self.pod(p) for p in sorted(pods, key=lambda p: p["order"])]
        self.answer(200, {"items": items, "metadata": {}})

    def list_events(self):
        """Answer why no Pod of a Job was created."""
        words, cluster = self.cluster.refuses_pods, self.cluster
        with cluster.changed:
            uids = [job["metadata"]["uid"] for job in cluster.jobs.values() if words]
        about = [{"kind": "Job", "uid": uid} for uid in uids]
        said = {"reason": "FailedCreate", "message": words, "lastTimestamp": now()}
        self.answer(200, {"items": [{**said, "involvedObject": a} for a in about], "metadata": {}})

    def pod(self, pod):
        state = {"running": {}}
        if pod["code"] is not None:
            state = {"terminated": {"exitCode": pod["code"]}}
        elif self.cluster.bad_image:
            state = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        return {
            "metadata": {
                "name": pod["name"],
                "creationTimestamp": pod["created"],
                "annotations": {"batch.kubernetes.io/job-completion-index": str(pod["index"])},
                "labels": {JOB_NAME: pod["job"]},
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
                new = cluster.since(seen)
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


def main():
    """Run one until the standard input ends."""
    folder, *given = sys.argv[1:]
    options = {k: json.loads(v) for k, _, v in (each.partition("=") for each in given)}
    server = StandIn(Path(folder), **options)
    say(str(server.kubeconfig))
    for _ in sys.stdin:
        cluster = server.cluster
        times = [at for at, _, _ in cluster.calls]
        said = {
            "calls": len(times),
            "times": times,
            "kinds": [[command, urlsplit(path).path] for _, command, path in cluster.calls],
            "created": cluster.created,
            "most_jobs": cluster.most_jobs,
        }
        say(json.dumps(said))
    server.close()


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
