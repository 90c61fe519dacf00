"""``MIEN_*`` environment variables: where things lie and run, never what the result is."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mien.core.errors import invalid_fields

PREFIX = "MIEN_"
_FILES = ("kubernetes", "token_file", "tls_ca_file", "tls_cert_file", "tls_key_file")
SERVER_PREFIX = "MIEN_SERVER_"  # of the services' own settings, in services/chassis
SECRETS_DIR = "MIEN_SECRETS_DIR"  # read by the services' own settings as well
TRACKING_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")


def cores() -> int:
    """Count the cores this process may use: affinity and container quota respected, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota_cores(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, min(allowed or 1, quota or math.inf).__ceil__())


def _quota_cores(file: Path) -> float | None:
    """Read a cgroup v2 quota ("<µs> <period>", or "max <period>") as a number of cores."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


class Settings(BaseSettings):
    """Where, not what. Relative paths start from the project folder.

    Attributes:
        assets: folder of open assets laid out as ``mien assets pull`` does; None = not given.
        cache: content-addressed results, logs and pulled assets; shared by projects.
        spool: what the tracker has not delivered yet.
        tracking_uri: ``sqlite:///…``, ``http(s)://…``, a database, or ``none``.
        register_models: whether `mien decide` registers its challenger; `mien retrain` does so
            itself, when the data is safe.
        workers: processes used at once.
        executor: ``persistent`` (long-lived workers), ``process`` (a fresh one a task),
            ``inline`` (this process, one at a time) or ``kubernetes`` (Jobs of a cluster).
        kubernetes: file with the profile of the cluster: namespace, image, resources.
        kubernetes_image: goes before the profile's image.
        kubernetes_queue: goes before the profile's queue.
        work_url: folder or URI that every machine reaches, ``s3://bucket/work``: trials and shards
            are carried there and their results back; "" = all machines see the same paths.
        retries: how often a failed task is started again.
        grace_s: seconds a stopped worker has to write its checkpoint.
        asset_mirror: base URL to pull assets from instead of their upstream.
        progress_file: where a worker keeps its latest progress for whoever started it.
        log_level: least level shown.
        log_format: ``auto`` is pretty on a terminal and JSON elsewhere.
        registry_target: ``host:port`` of the registry service; None = in this process.
        generation_target: of the generation service.
        training_target: of the training service.
        serving_target: of the serving service.
        token_file: holds the token sent with every call; never sent in clear to another machine.
        tls_ca_file: authorities to trust (PEM); given = TLS, with whichever service.
        tls_cert_file: this client's certificate (PEM), for services that ask for one.
        tls_key_file: its key (PEM).
        triton: ``wheel`` starts the one that ``make triton`` installed, ``none`` runs models in
            this process, ``host:port`` asks one that runs already and sees the same repository;
            with ``triton_rollout``, ``dns:///<headless service>:<port>`` of all replicas.
        triton_rollout: ``<namespace>/<Deployment>`` of Triton on a cluster, which promotions roll
            over; "" = one Triton that is told to load.
        triton_models: where promoted models lie for it: ``s3://bucket/prefix``, or a folder.
        triton_backend: ``python`` for Triton's wheel, ``onnxruntime`` for its full images.
        gate_sets: URI that preprocessed sets lie below, ``s3://bucket/preprocess``, for a serving
            service whose machine has no ``data/preprocess``; "" = it has.
        triton_home: where ``make triton`` installed it.
        triton_port: loopback port of its gRPC; 0 = a free one.
        triton_metrics_port: loopback port of its metrics; 0 = none.
        triton_instances: of each model, a processor thread each.
        triton_max_queue: faces that wait; more are refused at once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    assets: Path | None = None
    cache: Path = Field(default_factory=lambda: _cache_home() / "mien")
    spool: Path = Path("spool")
    tracking_uri: str = "sqlite:///mlflow.db"
    register_models: bool = True
    workers: int = Field(default_factory=cores, ge=1, le=4096)
    executor: Literal["persistent", "process", "inline", "kubernetes"] = "persistent"
    kubernetes: Path | None = None
    kubernetes_image: str = ""
    kubernetes_queue: str = ""
    work_url: str = ""
    retries: int = Field(2, ge=0, le=100)
    grace_s: float = Field(60.0, gt=0, le=3600)
    asset_mirror: str = ""
    progress_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "pretty", "json"] = "auto"
    registry_target: str | None = None
    generation_target: str | None = None
    training_target: str | None = None
    serving_target: str | None = None
    token_file: Path | None = None
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    triton: str = "wheel"
    triton_rollout: str = Field("", pattern=r"^([-a-z0-9]+/[-a-z0-9.]+)?$")
    triton_models: str = ""
    triton_backend: Literal["python", "onnxruntime"] = "python"
    gate_sets: str = ""
    triton_home: Path = Path(".triton")
    triton_port: int = Field(8001, ge=0, lt=65536)
    triton_metrics_port: int = Field(8002, ge=0, lt=65536)
    triton_instances: int = Field(default_factory=cores, ge=1, le=256)
    triton_max_queue: int = Field(256, ge=1, le=100_000)

    @field_validator("tracking_uri")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        scheme = value.partition("://")[0].partition("+")[0]
        if scheme not in (*TRACKING_SCHEMES, "none"):
            raise ValueError(
                f"{value!r} is neither `none` nor one of {', '.join(TRACKING_SCHEMES)}"
            )
        return value

    @field_validator("triton")
    @classmethod
    def _triton(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value not in ("wheel", "none") and not (host and port.isdecimal()):
            raise ValueError(f"{value!r} is neither `wheel` nor `none` nor host:port")
        return value

    @model_validator(mode="after")
    def _whole_rollout(self) -> Settings:
        if self.triton_rollout and (not self.triton_models or self.triton in ("wheel", "none")):
            raise ValueError(
                "MIEN_TRITON_ROLLOUT needs MIEN_TRITON, the address of all replicas, and "
                "MIEN_TRITON_MODELS, where promoted models lie"
            )
        return self

    @field_validator("asset_mirror")
    @classmethod
    def _http_only(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(f"{value!r} is not an http(s) address")
        return value.rstrip("/")

    @field_validator("registry_target", "generation_target", "training_target", "serving_target")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None or value.startswith(("unix:", "dns:///")):
            return value
        host, _, port = value.rpartition(":")
        if not host or "/" in value or not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{value!r} is no host:port")
        return value

    @property
    def assets_home(self) -> Path:
        """Where assets are pulled to: ``assets``, or ``<cache>/assets``."""
        return self.assets or self.cache / "assets"


def load_settings(project: Path) -> Settings:
    """Read the environment; paths and SQLite addresses come out absolute.

    Args:
        project: folder that relative paths start from.

    Raises:
        Invalid: ``SETTINGS`` naming each variable at fault.
    """
    try:
        raw = Settings()
    except ValidationError as error:
        wrong = {_variable(e["loc"]): e["msg"] for e in error.errors()}
        raise invalid_fields("SETTINGS", "the environment is wrong", wrong) from None
    project = project.resolve()
    cache = _absolute(raw.cache, project)
    pulled = cache / "assets"
    assets = raw.assets or (pulled if pulled.is_dir() else None)
    return raw.model_copy(
        update={
            "cache": cache,
            "assets": None if assets is None else _absolute(assets, project),
            "spool": _absolute(raw.spool, project),
            "triton_home": _absolute(raw.triton_home, project),
            "tracking_uri": _absolute_uri(raw.tracking_uri, project),
            "work_url": _absolute_place(raw.work_url, project),
            **{
                name: None if (file := getattr(raw, name)) is None else _absolute(file, project)
                for name in _FILES
            },
        }
    )


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find ``MIEN_*`` variables that nothing reads → the known name they resemble, or ""."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    known.append(SECRETS_DIR)
    given = os.environ if environ is None else environ
    ours = [n for n in given if n.startswith(PREFIX) and not n.startswith(SERVER_PREFIX)]
    unknown = [n for n in ours if n not in known]
    near = {name: difflib.get_close_matches(name, known, n=1) for name in sorted(unknown)}
    return {name: match[0] if match else "" for name, match in near.items()}


def _variable(loc: tuple[int | str, ...]) -> str:
    if not loc:
        return "the environment"  # what concerns several of them
    name = str(loc[0]).upper()
    return name if name.startswith(PREFIX) else PREFIX + name


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def _absolute(path: Path, project: Path) -> Path:
    return (project / path.expanduser()).resolve()


def _absolute_place(place: str, project: Path) -> str:
    """Anchor a relative folder; a URI stays, without a slash at its end."""
    if "://" in place or not place:
        return place.rstrip("/")
    return str(_absolute(Path(place), project))


def _absolute_uri(uri: str, project: Path) -> str:
    """Anchor a relative SQLite file: stages run elsewhere would otherwise lose it."""
    prefix = "sqlite:///"
    return (
        prefix + str(_absolute(Path(uri[len(prefix) :]), project))
        if uri.startswith(prefix)
        else uri
    )
