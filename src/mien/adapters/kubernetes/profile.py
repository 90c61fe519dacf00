"""How Jobs look on a cluster: namespace, image, resources. Where, never what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.core.errors import NotFound, WrongState, invalid_fields
from mien.settings import Settings

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class Shape(BaseModel):
    """What one kind of work needs of a machine.

    Attributes:
        cpu: cores, ``"4"`` or ``"500m"``.
        memory: ``"8Gi"``.
        gpus: devices of one Pod; more than one means as many processes, started as by
            ``torchrun --standalone`` (``mien.cli.crew``).
        deadline_s: seconds after which the cluster ends the Job; None = never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str = "2"
    memory: str = "4Gi"
    gpus: int = Field(0, ge=0, le=64)
    deadline_s: int | None = Field(None, ge=1)


class KubernetesProfile(BaseModel):
    """A cluster as one project uses it; a YAML file named by ``MIEN_KUBERNETES``.

    Attributes:
        namespace: where Jobs are created; must exist.
        image: with the same release of mien, by digest.
        kubeconfig: file; None = ``KUBECONFIG``, ``~/.kube/config`` or the Pod's own account.
        context: of the kubeconfig; "" = its current one.
        slots: Jobs at once (and Pods of an Indexed Job); Kueue admits as many as have quota.
        retries: how often a failed Pod is started again; disruptions do not count.
        grace_s: seconds between SIGTERM and SIGKILL, to write a checkpoint.
        ttl_s: seconds a finished Job is kept for people to look at.
        queue: LocalQueue of Kueue; "" = Kueue is not used.
        service_account: of the workers; its token is never mounted.
        priority_class: "" = the default.
        gpu_resource: name of the device plugin's resource.
        node_selector: labels a node must have.
        tolerations: as in a Pod's spec.
        labels: on every Job and Pod, beside ours.
        env: plain environment of the workers.
        secrets: Secrets mounted as files under ``/run/secrets/<name>``.
        config_maps: ConfigMaps that become environment.
        claims: PersistentVolumeClaim → mount path.
        work: needs of every verb.
        verbs: needs of one verb, ``train-generator``, instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field(pattern=_NAME)
    image: str = Field(min_length=1)
    kubeconfig: Path | None = None
    context: str = ""
    slots: int = Field(8, ge=1, le=10_000)
    retries: int = Field(2, ge=0, le=100)
    grace_s: int = Field(60, ge=1, le=3600)
    ttl_s: int = Field(86_400, ge=0)
    queue: str = ""
    service_account: str = "mien-worker"
    priority_class: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = Field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    env: Mapping[str, str] = Field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    config_maps: tuple[str, ...] = ()
    claims: Mapping[str, str] = Field(default_factory=dict)
    work: Shape = Shape()
    verbs: Mapping[str, Shape] = Field(default_factory=dict)

    def shape(self, verb: str) -> Shape:
        """What a verb needs."""
        return self.verbs.get(verb, self.work)


def profile_of(settings: Settings) -> KubernetesProfile:
    """Read the profile that the settings name; image and queue of the settings go before it.

    Raises:
        WrongState: ``NO_PROFILE``. And what ``load_profile`` raises.
    """
    if settings.kubernetes is None:
        raise WrongState(
            "NO_PROFILE",
            "MIEN_EXECUTOR=kubernetes needs a profile of the cluster",
            hint="MIEN_KUBERNETES=<file>; docs/howto/cluster.md has one to start from",
        )
    before = {"image": settings.kubernetes_image, "queue": settings.kubernetes_queue}
    found = load_profile(settings.kubernetes)
    return found.model_copy(update={key: value for key, value in before.items() if value})


def load_profile(file: Path) -> KubernetesProfile:
    """Read a profile.

    Raises:
        NotFound: ``PROFILE_MISSING``.
        Invalid: ``PROFILE`` naming each key at fault.
    """
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            "PROFILE_MISSING",
            f"there is no cluster profile {file}",
            hint="MIEN_KUBERNETES names it; docs/howto/cluster.md has one to start from",
        ) from None
    except yaml.YAMLError as error:
        raise invalid_fields("PROFILE", f"{file} is no YAML", {"file": str(error)}) from None
    try:
        return KubernetesProfile.model_validate(given or {})
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])) or "file": e["msg"] for e in error.errors()}
        raise invalid_fields("PROFILE", f"{file} is wrong", wrong) from None
