"""The few calls to an API server that Jobs need: few a second, patient, errors translated."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mien.adapters.kubernetes.errors import error_of
from mien.adapters.kubernetes.jobs import JOB_NAME, SELECTOR
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.core.errors import AlreadyExists, Forbidden, MienError, NotFound, WrongState

log = logging.getLogger(__name__)

OLDEST = (1, 31)  # podFailurePolicy is stable there; backoffLimitPerIndex is on
LOG_LINES = 200
LOG_BYTES = 65_536
_TIMEOUT_S = 30.0
_WATCH_S = 240
_PAGE = 500
_JOBS_A_CALL = 50  # their names stand in the address
_LOOKED_AT = ("name", "uid", "resourceVersion", "annotations", "deletionTimestamp")
_TRANSIENT = (429, 500, 502, 503, 504)


class WatchExpired(Exception):
    """The server no longer knows that resource version: list again."""


class KubernetesApi:
    """Jobs, Pods and logs of one namespace.

    Args:
        profile: of the cluster.
        rate_per_s: calls in any second, at most.
        away_s: how long the API server may be away before calls give up.
        oldest: release of Kubernetes below which a cluster is refused.
    """

    def __init__(
        self,
        profile: KubernetesProfile,
        *,
        rate_per_s: float = 20.0,
        away_s: float = 120.0,
        oldest: tuple[int, int] = OLDEST,
    ) -> None:
        from kubernetes import client

        self.namespace = profile.namespace
        self.calls = 0
        self._away_s = away_s
        self._oldest = oldest
        self._pace = _Pace(rate_per_s)
        configuration = _configuration(profile)
        self._batch = client.BatchV1Api(client.ApiClient(configuration))
        self._core = client.CoreV1Api(client.ApiClient(configuration))
        self._version = client.VersionApi(client.ApiClient(configuration))

    def check(self, job: Mapping[str, Any]) -> None:
        """See that the cluster is there, new enough, and would take this Job; creates nothing.

        Raises:
            Unavailable: ``CLUSTER_UNREACHABLE``. WrongState: ``CLUSTER_TOO_OLD``.
            And what ``create_job`` raises.
        """
        found = self._call(self._version.get_code)
        version = (int(found.major), int("".join(filter(str.isdigit, found.minor))))
        if version < self._oldest:
            raise WrongState(
                "CLUSTER_TOO_OLD",
                f"the cluster runs Kubernetes {version[0]}.{version[1]}",
                hint="at least {}.{} is needed: older ones silently drop how failures of Pods "
                "are judged".format(*self._oldest),
            )
        try:
            self._create(job, dry_run="All")
        except AlreadyExists:
            return

    def create_job(self, job: Mapping[str, Any]) -> str:
        """Create a Job; returns its uid.

        Raises:
            AlreadyExists: ``JOB_EXISTS``. NotFound: ``NAMESPACE_MISSING``.
            Exhausted: ``QUOTA_EXCEEDED``. Invalid: ``JOB_REFUSED``.
            Forbidden: ``CLUSTER_FORBIDDEN``. Unauthenticated: ``CLUSTER_LOGIN``.
            Unavailable: ``CLUSTER_UNREACHABLE``.
        """
        return self._create(job)

    def _create(self, job: Mapping[str, Any], **options: Any) -> str:
        from kubernetes import client

        body = client.V1Job.from_dict(dict(job))
        made = self._json(
            self._batch.create_namespaced_job,
            self.namespace,
            body,
            field_validation="Strict",
            **options,
        )
        return str(made["metadata"].get("uid", ""))

    def get_job(self, name: str) -> dict[str, Any] | None:
        """Read a Job; None when there is none."""
        try:
            return self._json(self._batch.read_namespaced_job, name, self.namespace)
        except NotFound as error:
            if error.reason == "NAMESPACE_MISSING":
                raise
            return None

    def delete_job(self, name: str, grace_s: int | None = None) -> None:
        """Delete a Job after its Pods (foreground); they get SIGTERM and their grace first."""
        from kubernetes import client

        options = client.V1DeleteOptions(
            propagation_policy="Foreground", grace_period_seconds=grace_s
        )
        try:
            self._call(self._batch.delete_namespaced_job, name, self.namespace, body=options)
        except NotFound:
            log.debug("the Job has gone already", extra={"job": name})

    def list_jobs(self) -> tuple[list[dict[str, Any]], str]:
        """List our Jobs, page by page; returns them with the version to watch from."""
        found: list[dict[str, Any]] = []
        metadata: dict[str, Any] = {}
        for page in self._pages(self._batch.list_namespaced_job, label_selector=SELECTOR):
            found += [_slim(job) for job in page["items"]]
            metadata = page["metadata"]
        return found, str(metadata.get("resourceVersion", ""))

    def _pages(self, function: Callable[..., Any], **options: Any) -> Iterator[dict[str, Any]]:
        more: str | None = None
        while True:
            page = self._json(function, self.namespace, limit=_PAGE, _continue=more, **options)
            yield page
            more = page["metadata"].get("continue")
            if not more:
                return

    def watch_jobs(self, version: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Stream what happens to our Jobs after a version, for a few minutes at most.

        Raises:
            WatchExpired: the version is too old. MienError: as every call. Anything a cut
                connection raises.
        """
        response = self._open_watch(version)
        try:
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    if event["object"].get("code") == 410:
                        raise WatchExpired
                    raise error_of(event["object"].get("code", 500), json.dumps(event["object"]))
                yield event["type"], _slim(event["object"])
        finally:
            response.close()
            response.release_conn()

    def _open_watch(self, version: str) -> Any:
        from kubernetes.client.exceptions import ApiException

        self._pace.wait()
        self.calls += 1
        try:
            return self._batch.list_namespaced_job(
                self.namespace,
                label_selector=SELECTOR,
                resource_version=version,
                watch=True,
                allow_watch_bookmarks=True,
                timeout_seconds=_WATCH_S,
                _preload_content=False,
                _request_timeout=(_TIMEOUT_S, _WATCH_S + _TIMEOUT_S),
            )
        except ApiException as error:
            if error.status == 410:
                raise WatchExpired from None
            raise error_of(error.status or 0, str(error.body or error.reason)) from None

    def pods(self, *jobs: str) -> dict[str, list[dict[str, Any]]]:
        """List the Pods of Jobs, oldest first, some dozens of Jobs a call."""
        found: dict[str, list[dict[str, Any]]] = {job: [] for job in jobs}
        for first in range(0, len(jobs), _JOBS_A_CALL):
            some = ",".join(jobs[first : first + _JOBS_A_CALL])
            pages = self._pages(
                self._core.list_namespaced_pod, label_selector=f"{JOB_NAME} in ({some})"
            )
            for pod in (pod for page in pages for pod in page["items"]):
                found.setdefault(pod["metadata"]["labels"][JOB_NAME], []).append(pod)
        for pods in found.values():
            pods.sort(key=lambda p: str(p["metadata"].get("creationTimestamp", "")))
        return found

    def pending_pods(self) -> list[dict[str, Any]]:
        """List the Pods of our Jobs that have not started, whoever's."""
        pages = self._pages(
            self._core.list_namespaced_pod,
            label_selector=SELECTOR,
            field_selector="status.phase=Pending",
        )
        return [pod for page in pages for pod in page["items"]]

    def pods_refused(self) -> dict[str, str]:
        """Read why Pods of Jobs were not even created: uid of the Job → the last words about it."""
        pages = self._pages(
            self._core.list_namespaced_event,
            field_selector="reason=FailedCreate,involvedObject.kind=Job",
        )
        try:
            events = [event for page in pages for event in page["items"]]
        except Forbidden:
            log.warning("events may not be read: a Job without Pods will not be explained")
            return {}
        events.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
        return {e["involvedObject"].get("uid", ""): str(e.get("message", "")) for e in events}

    def log(self, pod: str) -> str:
        """Read the last lines a Pod wrote; "" when they are gone."""
        try:
            response = self._call(
                self._core.read_namespaced_pod_log,
                pod,
                self.namespace,
                tail_lines=LOG_LINES,
                _preload_content=False,
            )
        except MienError:
            return ""
        return _text(response)[-LOG_BYTES:]

    def _json(self, function: Callable[..., Any], *args: Any, **options: Any) -> dict[str, Any]:
        """Call without building models: a thousand of them would be most of the memory."""
        response = self._call(function, *args, _preload_content=False, **options)
        found: dict[str, Any] = json.loads(response.data)
        return found

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call, at our pace; again while the server is busy or away."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        until = time.monotonic() + self._away_s
        for tries in range(1_000_000):
            self._pace.wait()
            self.calls += 1
            wait_s = min(5.0, 0.25 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0)
            try:
                answer = function(*args, _request_timeout=_TIMEOUT_S, **options)
                status = getattr(answer, "status", 200)
                if not isinstance(status, int) or status < 300:
                    return answer
                code, body, after = status, _text(answer), _retry_after(answer.headers)
            except ApiException as error:
                said = str(error.body or error.reason)
                code, body, after = error.status or 0, said, _retry_after(error.headers)
            except (HTTPError, OSError) as error:
                code, body, after = 0, str(error), None
            if code not in (0, *_TRANSIENT) or time.monotonic() > until:
                raise error_of(code, body)
            time.sleep(wait_s if after is None else after + random.uniform(0.0, 0.2))
        raise AssertionError("unreachable")


class _Pace:
    """A token bucket: a burst and what is filled in a second are ``most`` together."""

    def __init__(self, most: float) -> None:
        self.rate = 0.8 * most
        self.burst = 0.2 * most
        self.tokens = self.burst
        self.last = time.monotonic()
        self.lock = threading.Lock()

    def wait(self) -> None:
        with self.lock:
            now = time.monotonic()
            self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate) - 1.0
            self.last = now
            wait_s = max(0.0, -self.tokens / self.rate)
        time.sleep(wait_s)


def _configuration(profile: KubernetesProfile) -> Any:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if profile.kubeconfig is None and not profile.context:
            config.load_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            file = None if profile.kubeconfig is None else str(profile.kubeconfig)
            config.load_kube_config(  # type: ignore[no-untyped-call]
                file, context=profile.context or None, client_configuration=configuration
            )
    except (config.ConfigException, OSError) as error:
        raise NotFound(
            "KUBECONFIG_MISSING",
            f"no way to the cluster was found: {error}",
            hint="set kubeconfig and context in the profile, or KUBECONFIG",
        ) from None
    configuration.retries = False  # ours is the only patience
    configuration.client_go_retries = False
    return configuration


def _slim(job: dict[str, Any]) -> dict[str, Any]:
    """Keep of a Job what is looked at: a thousand descriptions of Pods are most of a list."""
    spec = job.get("spec", {})
    return {
        "metadata": {k: v for k, v in job["metadata"].items() if k in _LOOKED_AT},
        "spec": {"suspend": spec.get("suspend", False)},
        "status": {
            k: v for k, v in job.get("status", {}).items() if k != "uncountedTerminatedPods"
        },
    }


def _lines(response: Any) -> Iterator[bytes]:
    """Split a stream into lines; a line cut off by a lost connection is dropped."""
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())


def _text(response: Any) -> str:
    text: str = response.data.decode(errors="replace")
    return text


def _retry_after(headers: Any) -> float | None:
    """Seconds the server asks us to wait; None = it does not say."""
    try:
        return min(60.0, max(0.0, float(headers["Retry-After"])))
    except (KeyError, TypeError, ValueError):
        return None
