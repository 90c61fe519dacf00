"""The Deployment of Triton: which promoted models it runs, and how it is rolled over to others.

An annotation of the same Deployment holds the journal of the promotion that is under way. Models
and journal change in one step, or neither does; the API server refuses a step that was decided on
an older look, and so two promoters never both begin.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.adapters.kubernetes.errors import error_of
from mien.core.errors import Conflict, Forbidden, MienError, NotFound, Unavailable, WrongState

log = logging.getLogger(__name__)

MODELS = "MIEN_MODELS"  # environment of Triton: its repository
JOURNAL, ANSWERS = "mien/promotion", "mien/promotion-answers"
TRANSIENT = (0, 429, 500, 502, 503, 504)
_TIMEOUT_S = 15.0
_TRIES = 20  # changes of its status come between a look and a step


@dataclass(frozen=True, slots=True)
class Deployed:
    """A look at the Deployment.

    Attributes:
        version: of the object; a step is refused when there is a newer one.
        models: what Triton is told to serve from.
        journal: of the promotion that is under way, "" = none.
        answers: of earlier requests, JSON.
        replicas: that shall run.
        rolled: every replica runs what it shall, and is available; none of the older ones is left.
        failed: why the rollout cannot go on, "" = it can.
        told: how far it is, in words.
    """

    version: str
    models: str
    journal: str
    answers: str
    replicas: int
    rolled: bool
    failed: str
    told: str


class TritonRollout:
    """The one Deployment that promotions roll over."""

    def __init__(
        self,
        deployment: str,
        *,
        kubeconfig: Path | None = None,
        container: str = "triton",
        away_s: float = 60.0,
        interval_s: float = 1.0,
    ) -> None:
        """Prepare; nothing is contacted yet.

        Args:
            deployment: ``<namespace>/<name>``.
            kubeconfig: file; None = the Pod's own account, else ``KUBECONFIG``.
            container: that serves.
            away_s: how long the API server may be away before a call gives up.
            interval_s: between two looks at a rollout.

        Raises:
            NotFound: ``KUBECONFIG_MISSING``.
        """
        from kubernetes import client

        self.namespace, _, self.name = deployment.partition("/")
        self._container, self._away_s, self._interval_s = container, away_s, interval_s
        self._apps = client.AppsV1Api(client.ApiClient(_configuration(kubeconfig)))

    def look(self, away_s: float | None = None) -> Deployed:
        """Read the Deployment.

        Args:
            away_s: how long the API server may be away; None = as ever.

        Raises:
            NotFound: ``DEPLOYMENT_MISSING``, ``NAMESPACE_MISSING``.
            Forbidden: ``CLUSTER_FORBIDDEN``. Unavailable: ``CLUSTER_UNREACHABLE``.
        """
        read = self._apps.read_namespaced_deployment
        found = self._call(read, self.name, self.namespace, away_s=away_s)
        return _deployed(found, self._container)

    def change(
        self,
        expected: str,
        *,
        journal: str | None = None,
        models: str | None = None,
        answers: str | None = None,
    ) -> Deployed:
        """Take one step of a promotion, if the journal still says what it should.

        Args:
            expected: the journal as it must be now; "" = there must be none.
            journal: what it shall be; "" removes it. None = as it is.
            models: what Triton shall serve from; another value is a rollout.
            answers: to requests, JSON.

        Raises:
            Conflict: ``PROMOTION_RUNNING``. And what ``look`` raises.
        """
        values = {JOURNAL: journal, ANSWERS: answers}
        notes = {key: value or None for key, value in values.items() if value is not None}
        for _ in range(_TRIES):
            seen = self.look()
            if seen.journal != expected:
                if journal is not None and seen.journal == journal:
                    return seen  # the answer to this very step was lost
                raise Conflict(
                    "PROMOTION_RUNNING",
                    "another promotion or rollback is under way",
                    hint="wait for its end, and look who is champion",
                    details={"retry_after_s": "10"},
                )
            body: dict[str, Any] = {
                "metadata": {"resourceVersion": seen.version, "annotations": notes}
            }
            if models is not None:
                env = [{"name": MODELS, "value": models}]
                container = {"name": self._container, "env": env}
                body["spec"] = {"template": {"spec": {"containers": [container]}}}
            made = self._patch(body)
            if made is not None:
                return _deployed(made, self._container)
            time.sleep(random.uniform(0.02, 0.1))
        raise Unavailable(
            "CLUSTER_UNREACHABLE",
            f"the Deployment {self.name} changes faster than it can be written",
            hint="try again",
        )

    def wait(self, timeout_s: float, stop: Callable[[], None]) -> Deployed:
        """Wait until every replica runs what it shall.

        Args:
            timeout_s: at most; the Deployment's own ``progressDeadlineSeconds`` ends it sooner.
            stop: called at every look; raises to stop waiting.

        Raises:
            WrongState: ``ROLLOUT_FAILED``. And what ``look`` raises.
        """
        until = time.monotonic() + timeout_s
        while True:
            stop()
            seen = self.look()
            if seen.rolled:
                return seen
            if seen.failed or time.monotonic() > until:
                why = seen.failed or f"not done after {timeout_s:g} s"
                raise WrongState(
                    "ROLLOUT_FAILED",
                    f"Triton could not be rolled over to the new models: {why} ({seen.told})",
                    hint="the champion goes on serving; look into the log of the newest Pod of "
                    f"the Deployment {self.name}",
                )
            time.sleep(self._interval_s)

    def _patch(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Patch; None when the object has changed since it was looked at."""
        try:
            return self._call(
                self._apps.patch_namespaced_deployment,
                self.name,
                self.namespace,
                body,
                field_validation="Strict",
                _content_type="application/strategic-merge-patch+json",
            )
        except Conflict:
            return None

    def _call(
        self,
        function: Callable[..., Any],
        *args: Any,
        away_s: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Call; again while the server is busy or away."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        until = time.monotonic() + (self._away_s if away_s is None else away_s)
        for tries in range(1_000_000):
            try:
                answer = function(
                    *args, _preload_content=False, _request_timeout=_TIMEOUT_S, **options
                )
                code, body = int(answer.status), answer.data.decode(errors="replace")
            except ApiException as error:
                code, body = error.status or 0, str(error.body or error.reason)
            except (HTTPError, OSError) as error:
                code, body = 0, str(error)
            if 200 <= code < 300:
                found: dict[str, Any] = json.loads(body)
                return found
            if code not in TRANSIENT or time.monotonic() > until:
                raise self._error(code, body)
            time.sleep(min(5.0, 0.25 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    def _error(self, code: int, body: str) -> MienError:
        error = error_of(code, body)
        where = f"the Deployment {self.namespace}/{self.name}"
        if code == 409:
            return Conflict("DEPLOYMENT_CHANGED", f"{where} has changed", hint="look again")
        if code == 404 and error.reason != "NAMESPACE_MISSING":
            return NotFound(
                "DEPLOYMENT_MISSING",
                f"there is no {where}",
                hint="apply k8s/base, or correct MIEN_TRITON_ROLLOUT",
            )
        if isinstance(error, Forbidden):
            return Forbidden(
                error.reason,
                f"{where} may not be read or rolled over: {error.message}",
                hint="k8s/base/access.yaml has the role that is needed",
            )
        return error


def _deployed(found: Mapping[str, Any], container: str) -> Deployed:
    """Read what matters; a status that speaks of an older specification says nothing yet."""
    meta, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    notes = meta.get("annotations") or {}
    pods = spec["template"]["spec"]["containers"]
    env = next((c.get("env") or [] for c in pods if c["name"] == container), [])
    models = next((e.get("value", "") for e in env if e["name"] == MODELS), "")
    wanted = int(spec.get("replicas", 1))
    seen = int(status.get("observedGeneration", 0)) >= int(meta.get("generation", 1))
    now, updated, available = (
        int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")
    )
    failed = ""
    if spec.get("paused"):
        failed = "the Deployment is paused"
    for condition in (status.get("conditions") or ()) if seen else ():
        if condition["type"] == "Progressing" and condition["status"] == "False":
            failed = f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return Deployed(
        version=str(meta.get("resourceVersion", "")),
        models=models,
        journal=notes.get(JOURNAL, ""),
        answers=notes.get(ANSWERS, ""),
        replicas=wanted,
        rolled=seen and not failed and now == updated == wanted and available >= wanted,
        failed=failed,
        told=f"{updated} of {wanted} replicas updated, {available} available, {now} in all",
    )


def _configuration(kubeconfig: Path | None) -> Any:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            file = None if kubeconfig is None else str(kubeconfig)
            config.load_kube_config(file, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise NotFound(
            "KUBECONFIG_MISSING",
            f"no way to the cluster was found: {error}",
            hint="set KUBECONFIG, or run in a Pod that has a service account",
        ) from None
    configuration.retries = False  # ours is the only patience
    return configuration
