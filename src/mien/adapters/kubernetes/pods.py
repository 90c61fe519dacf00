"""What the Pods of a Job say: how they ended, why they do not start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mien.adapters.kubernetes.jobs import CONTAINER, INDEX, JOB_NAME, condition
from mien.core.errors import EXIT_FAILED

_IMAGE = "see `image` in the cluster profile, and that nodes may pull it"
_CONFIG = "see `secrets`, `config_maps` and `claims` in the cluster profile"
_ORDINARY = ("Completed", "Error")
_WAITING = {  # reason of a container that waits → what to look at
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
    "ErrImageNeverPull": _IMAGE,
    "CreateContainerConfigError": _CONFIG,
    "CreateContainerError": _CONFIG,
}


def index_of(pod: Mapping[str, Any]) -> int | None:
    """Read which of an array a Pod is."""
    text = pod["metadata"].get("annotations", {}).get(INDEX)
    return None if text is None else int(text)


def exit_code(pods: Sequence[Mapping[str, Any]]) -> int:
    """Exit code of the last Pod that ended; 1 when none says."""
    for pod in reversed(pods):
        for status in pod.get("status", {}).get("containerStatuses") or ():
            ended = status.get("state", {}).get("terminated")
            if status.get("name") == CONTAINER and ended:
                return int(ended["exitCode"]) or EXIT_FAILED
    return EXIT_FAILED


def end_reason(pods: Sequence[Mapping[str, Any]]) -> str:
    """Say why the last Pod ended, where the cluster knows more than an exit code; "" else.

    ``OOMKilled``: it needed more memory than its shape allows. ``Evicted``: its node was short.
    """
    if not pods:
        return ""
    status = pods[-1].get("status", {})
    words = [f"{status['reason']}: {status.get('message', '')}"] if status.get("reason") else []
    for container in status.get("containerStatuses") or ():
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("reason", "Error") not in _ORDINARY:
            hint = " (memory of its shape in the profile)" if ended["reason"] == "OOMKilled" else ""
            words.append(f"{ended['reason']}: {ended.get('message', '')}{hint}")
    return "; ".join(words)


def why_not_started(pods: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Say of Pods that wait for what will not come why: Job → the cluster's words.

    Args:
        pods: of any Jobs, that have not started.
    """
    found: dict[str, str] = {}
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            waiting = status.get("state", {}).get("waiting") or {}
            if reason := _WAITING.get(waiting.get("reason", "")):
                job = str(pod["metadata"].get("labels", {}).get(JOB_NAME, ""))
                found[job] = f"{waiting['reason']}: {waiting.get('message', '')} ({reason})"
    return found


def waits(job: Mapping[str, Any]) -> bool:
    """Whether a Job that may run has no Pod that has started."""
    status = job.get("status", {})
    return not job["spec"].get("suspend") and not (status.get("ready") or status.get("succeeded"))


def seconds(job: Mapping[str, Any]) -> float:
    """Say how long a Job that has ended took."""
    status = job.get("status", {})
    ended = status.get("completionTime") or (condition(job, "Failed") or {}).get(
        "lastTransitionTime"
    )
    if not status.get("startTime") or not ended:
        return 0.0
    began = datetime.fromisoformat(status["startTime"])
    return max(0.0, (datetime.fromisoformat(ended) - began).total_seconds())
