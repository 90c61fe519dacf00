"""A cluster in small: Jobs, their controller, one node whose Pods are subprocesses.

It stands behind ``kube_stand_in``. It proves what our side does, not what a real one does.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FAKE = Path(__file__).with_name("fake_mien.py")


def now():
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass
class Cluster:
    """State, and the faults to commit.

    ``command`` takes the place of the image's own (``python -m mien``); the arguments are those
    of the Pod. Where it is ``instant``, nothing is run: after ``pod_s`` the marker is there.
    """

    namespace: str = "mien"
    version: tuple[str, str] = ("1", "36")
    slots: int = 4
    instant: bool = False
    pod_s: float = 0.0
    command: tuple[str, ...] = (sys.executable, str(FAKE))
    jobs: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, Any] = field(default_factory=dict)
    pods_of: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    forgotten: int = 0
    revision: int = 0
    running: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    busy: int = 0
    away_until: float = 0.0
    cut_after: int = 0
    forbidden: str = ""
    quota: int = 10**9
    bad_image: bool = False
    refuses_pods: str = ""
    calls: list[Any] = field(default_factory=list)
    created: int = 0
    most_running: int = 0
    most_jobs: int = 0
    timed: deque[Any] = field(default_factory=deque)
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

    def since(self, revision):
        """Events after a revision; the condition is held."""
        first = len(self.events)
        while first and self.events[first - 1][0] > revision:
            first -= 1
        return self.events[first:]

    # -- the Job controller ------------------------------------------------------------------

    def control(self):
        while self.open:
            with self.changed:
                while self.timed and self.timed[0][0] <= time.monotonic():
                    _, pod, marker = self.timed.popleft()
                    Path(marker).touch()
                    self.ended(pod, 0)
                open_jobs = [j for j in self.jobs.values() if unfinished(j)]
                self.most_jobs = max(self.most_jobs, len(open_jobs))
                for job in open_jobs:
                    self.sync(job)
            time.sleep(0.01)

    def sync(self, job):
        name, spec, status = job["metadata"]["name"], job["spec"], job["status"]
        if job["metadata"].get("deletionTimestamp"):
            self.finish_deletion(job)
            return
        if spec.get("suspend"):
            return
        status.setdefault("startTime", now())
        count = spec.get("completions", 1)
        for index in range(count):
            self.sync_index(job, index, [p for p in self.pods_of[name] if p["index"] == index])
        done, failed = status.get("_done", set()), status.get("_failed", {})
        if len(done) + len(failed) == count:
            why = {} if not failed else {"reason": "Failed", "message": str(failed)}
            kind = "Failed" if failed else "Complete"
            status["conditions"] = [
                {"type": kind, "status": "True", "lastTransitionTime": now(), **why}
            ]
            status["completionTime"] = now()
            self.touch(public(job))

    def sync_index(self, job, index, mine):
        status = job["status"]
        done, failed = status.setdefault("_done", set()), status.setdefault("_failed", {})
        if index in done or index in failed or any(p["phase"] in LIVE for p in mine):
            return
        if mine:
            self.judge(job, index, mine, done, failed)
            if index in done or index in failed:
                return
        most = job["spec"].get("parallelism", 1)
        live = sum(p["phase"] in LIVE for p in self.pods_of[job["metadata"]["name"]])
        if live < most and self.running < self.slots and not self.refuses_pods:
            self.start(job, index, len(mine))

    def judge(self, job, index, mine, done, failed):
        """Decide whether an index has ended with its last Pod."""
        status, code = job["status"], mine[-1]["code"]
        if code == 0:
            done.add(index)
        elif not mine[-1].get("disrupted") and self.final(job, code, mine):
            failed[index] = code
        else:
            return
        if job["spec"].get("completionMode") == "Indexed":
            status["completedIndexes"] = ",".join(map(str, sorted(done)))
            status["failedIndexes"] = ",".join(map(str, sorted(failed)))
        self.touch(public(job))

    def final(self, job, code, mine):
        rules = job["spec"]["podFailurePolicy"]["rules"]
        permanent = next(r for r in rules if "onExitCodes" in r)["onExitCodes"]["values"]
        limit = job["spec"].get("backoffLimitPerIndex", job["spec"]["backoffLimit"])
        counted = [p for p in mine if not p.get("disrupted")]
        return code in permanent or len(counted) > limit

    def finish_deletion(self, job):
        name = job["metadata"]["name"]
        if any(p["phase"] == "Running" for p in self.pods_of[name]):
            return
        for pod in self.pods_of.pop(name, []):
            del self.pods[pod["name"]]
        del self.jobs[name]
        self.touch(public(job), "DELETED")

    # -- the node ----------------------------------------------------------------------------

    def start(self, job, index, tries):
        name = f"{job['metadata']['name']}-{index}-{tries}"
        pod = {"name": name, "job": job["metadata"]["name"], "index": index, "phase": "Running"}
        pod |= {"code": None, "created": now(), "order": len(self.pods)}
        self.pods[name] = pod
        self.pods_of[pod["job"]].append(pod)
        if self.bad_image:
            pod["phase"] = "Pending"
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        container = job["spec"]["template"]["spec"]["containers"][0]
        if self.instant:
            self.timed.append((time.monotonic() + self.pod_s, pod, container["args"][1]))
            return
        environment = {e["name"]: e["value"] for e in container["env"]}
        arguments = [a.replace("$(JOB_COMPLETION_INDEX)", str(index)) for a in container["args"]]
        output = tempfile.TemporaryFile()  # noqa: SIM115  read while it is written
        self.outputs[name] = output
        process = subprocess.Popen(
            [*self.command, *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes[name] = process
        threading.Thread(target=self.wait, args=(pod, process), daemon=True).start()

    def wait(self, pod, process):
        code = process.wait()
        with self.changed:
            self.ended(pod, 128 - code if code < 0 else code)

    def ended(self, pod, code):
        self.running -= 1
        pod["phase"] = "Succeeded" if code == 0 else "Failed"
        pod["code"] = code

    def log(self, pod):
        """What a Pod has written so far."""
        output = self.outputs.get(pod)
        return "" if output is None else os.pread(output.fileno(), 1 << 20, 0).decode()

    def delete(self, job):
        """Ask a Job's Pods to stop, and kill them when their grace is over."""
        job["metadata"]["deletionTimestamp"] = now()
        grace_s = job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for pod in self.pods_of[job["metadata"]["name"]]:
            process = self.processes.get(pod["name"])
            if process and process.poll() is None:
                process.terminate()
                timer = threading.Timer(grace_s, kill, (process,))
                timer.daemon = True
                timer.start()
        self.touch(public(job))

    def disrupt(self, job):
        """Preempt a Job's running Pod, as a scheduler would: SIGTERM, and it does not count."""
        with self.changed:
            (pod,) = [p for p in self.pods_of[job] if p["phase"] == "Running"]
            pod["disrupted"] = True
            os.kill(self.processes[pod["name"]].pid, signal.SIGTERM)

    def close(self):
        self.open = False
        for process in self.processes.values():
            kill(process)
            process.wait()
        for output in self.outputs.values():
            output.close()
        with self.changed:
            self.changed.notify_all()


LIVE = ("Running", "Pending")


def unfinished(job):
    return bool(job["metadata"].get("deletionTimestamp") or not job["status"].get("conditions"))


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def public(job):
    return {
        **job,
        "status": {k: v for k, v in job["status"].items() if not k.startswith("_")},
    }
