"""A task as a ``batch/v1`` Job: one Pod, or one Pod an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.digest import digest_of
from mien.core.errors import EXIT_PERMANENT, EXIT_USER
from mien.core.tasks import Task, verb_of

MANAGED_BY = "app.kubernetes.io/managed-by"
SELECTOR = f"{MANAGED_BY}=mien"
WORK = "mien/work"  # annotation: digest of what the Job does
QUEUE = "kueue.x-k8s.io/queue-name"
INDEX = "batch.kubernetes.io/job-completion-index"
JOB_NAME = "mien/job"  # label of Pods; the controller's own has had two names
CONTAINER = "worker"
_INDEX_ARGUMENT = "$(JOB_COMPLETION_INDEX)"  # the controller sets it, the kubelet fills it in


def job_name(tasks: Sequence[Task]) -> str:
    """Name the Job of a task, or of an array of them, by what it does and where it leaves it.

    The same work has the same name, so a second submission is answered 409 and joins the first.
    """
    first = tasks[0]
    what = [first.key, first.done] if first.index is None else list(_stem(first))
    verb = "".join(c if c.isalnum() else "-" for c in verb_of(first.argv).lower()).strip("-")[:20]
    return f"mien-{verb or 'task'}-{digest_of(what)[:32]}"


def work_digest(tasks: Sequence[Task], profile: KubernetesProfile) -> str:
    """Name everything that decides what the Job's Pods do."""
    first = tasks[0]
    argv = first.argv if first.index is None else _stem(first)
    return digest_of([list(argv), dict(first.env), profile.image])


def render_job(tasks: Sequence[Task], profile: KubernetesProfile) -> dict[str, Any]:
    """Describe the Job of a task, or of an array of tasks that differ in their index only.

    Exit codes 2 and 42 end the Job (or the index) at once; a disruption (eviction, preemption,
    a node that goes away) starts the Pod again without counting; anything else counts.

    Args:
        tasks: one task, or an array, each with its ``index``.
        profile: of the cluster.
    """
    first = tasks[0]
    shape = profile.shape(verb_of(first.argv))
    labels = {
        **profile.labels,
        MANAGED_BY: "mien",
        "app.kubernetes.io/component": verb_of(first.argv),
        **({QUEUE: profile.queue} if profile.queue else {}),
    }
    spec: dict[str, Any] = {
        "ttlSecondsAfterFinished": profile.ttl_s,
        "podReplacementPolicy": "Failed",  # never two Pods at one checkpoint
        "podFailurePolicy": {"rules": _failure_rules("FailJob")},
        "backoffLimit": profile.retries,
        "template": {
            "metadata": {"labels": {**labels, JOB_NAME: job_name(tasks)}},
            "spec": _pod(tasks, profile),
        },
    }
    if profile.queue:
        spec["suspend"] = True  # Kueue starts it when there is quota
    if shape.deadline_s is not None:
        spec["activeDeadlineSeconds"] = shape.deadline_s
    if first.index is not None:
        spec |= _array(tasks, profile)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(tasks),
            "namespace": profile.namespace,
            "labels": labels,
            "annotations": {WORK: work_digest(tasks, profile), "mien/key": first.key},
        },
        "spec": spec,
    }


def _array(tasks: Sequence[Task], profile: KubernetesProfile) -> dict[str, Any]:
    count = 1 + max(t.index for t in tasks if t.index is not None)
    return {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": min(profile.slots, count),
        "backoffLimitPerIndex": profile.retries,
        "backoffLimit": 2**31 - 1,  # indexes fail each for itself
        "podFailurePolicy": {"rules": _failure_rules("FailIndex")},
    }


def _failure_rules(action: str) -> list[dict[str, Any]]:
    """Order matters, the first match decides: a disrupted Pod may have exited with anything."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": action,
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": [EXIT_USER, EXIT_PERMANENT],
            },
        },
    ]


def _pod(tasks: Sequence[Task], profile: KubernetesProfile) -> dict[str, Any]:
    mounts, volumes = _volumes(profile)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": profile.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": profile.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(tasks[0], profile, mounts)],
        "volumes": volumes,
    }
    if profile.priority_class:
        pod["priorityClassName"] = profile.priority_class
    if profile.node_selector:
        pod["nodeSelector"] = dict(profile.node_selector)
    if profile.tolerations:
        pod["tolerations"] = [dict(t) for t in profile.tolerations]
    return pod


def _container(
    task: Task, profile: KubernetesProfile, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    shape = profile.shape(verb_of(task.argv))
    needs = {"cpu": shape.cpu, "memory": shape.memory}
    gpus = {profile.gpu_resource: str(shape.gpus)} if shape.gpus else {}
    env = {**profile.env, **task.env}
    return {
        "name": CONTAINER,
        "image": profile.image,
        "command": _command(shape.gpus),
        "args": list(task.argv if task.index is None else (*_stem(task), _INDEX_ARGUMENT)),
        "env": [{"name": k, "value": v} for k, v in sorted(env.items())],
        "envFrom": [{"configMapRef": {"name": n}} for n in profile.config_maps],
        "resources": {"requests": needs | gpus, "limits": needs | gpus},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _command(gpus: int) -> list[str]:
    if gpus > 1:
        return ["python", "-m", "mien.cli.crew", str(gpus)]  # torchrun, its exit codes kept
    return ["python", "-m", "mien"]


def _volumes(profile: KubernetesProfile) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    for secret in profile.secrets:
        mounts.append({"name": secret, "mountPath": f"/run/secrets/{secret}", "readOnly": True})
        volumes.append({"name": secret, "secret": {"secretName": secret, "defaultMode": 0o440}})
    for claim, path in profile.claims.items():
        mounts.append({"name": claim, "mountPath": path})
        volumes.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
    return mounts, volumes


def _stem(task: Task) -> tuple[str, ...]:
    return task.argv[:-1]


def parse_indexes(text: str) -> set[int]:
    """Read ``completedIndexes`` or ``failedIndexes``: ``"0-3,7"`` → {0, 1, 2, 3, 7}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def condition(job: Mapping[str, Any], *types: str) -> Mapping[str, Any] | None:
    """Return the first condition of these types that is true, or None."""
    for found in job.get("status", {}).get("conditions") or ():
        if found.get("type") in types and found.get("status") == "True":
            return dict(found)
    return None
