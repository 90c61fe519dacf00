"""``MIEN_SERVER_*``: where a server listens, what it may touch, how much it takes on."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mien.core.errors import invalid_fields

PREFIX = "MIEN_SERVER_"
PORTS = {"registry": 7101, "generation": 7102, "training": 7103, "serving": 7104}
LOOPBACK = ("127.", "localhost", "[::1]", "::1")


class ServerSettings(BaseSettings):
    """What a server is told by its environment; it decides no result.

    Attributes:
        address: host:port of the service; port 0 = a free one; "" = loopback, its usual port.
        metrics_address: host:port of the metrics; "" = loopback, the usual port + 100;
            ``none`` = no metrics.
        health_address: host:port that answers health alone, in clear, for probes that speak no
            TLS; "" = only the service's own port does.
        data: folder for the state of all services; each keeps to a folder of its name there.
        database_url: SQLAlchemy URL of what it records; "" = SQLite in its folder.
        blobs_url: fsspec URL of the blobs; "" = a folder in its folder.
        import_roots: folders that versions may be imported from.
        work_roots: folders that plans and projects may lie in.
        work_urls: fsspec URIs that plans may lie below, such as ``s3://bucket/trials``.
        tls_cert_file: PEM chain; with ``tls_key_file`` switches TLS on.
        tls_key_file: PEM key.
        tls_client_ca_file: PEM; when given, only clients it vouches for may connect.
        tokens_file: who may call what; None = everybody who can connect may do everything.
        max_concurrent: short calls at work at once.
        queue: calls that may wait for that; the next one is told to come back later. As many
            as ``max_concurrent`` double the time a call takes on a full server.
        max_streams: streams at work at once.
        stream_queue: streams that may wait for that.
        max_watches: watchers at once.
        unready_s: seconds between SIGTERM, when it says that it is not ready, and the first call
            that is refused: time for a load balancer to look elsewhere.
        grace_s: seconds between SIGTERM and the end.
        patience_s: seconds a caller may take to send a request it has announced.
        idle_s: seconds a stream may stand still because of its caller.
        max_message_mb: largest message either way.
        drift: the serving service keeps sums of what it judges, to see drift by; no picture, no
            features of one face.
        drift_window_s: length of a window of that; each is looked at once.
        drift_windows: how many windows are kept.
        drift_alpha: how often a window is called drifted where nothing drifted, at most.
        drift_faces_per_person: how often the same person is seen in a window, where known.
        webhook_url: http(s) address that the registry tells of new versions and moved aliases.
        webhook_secret_file: signs what is told; receivers know the same secret.
        webhook_token_file: bearer token that the address asks for.
        log_level: least level shown.
        log_format: ``auto`` is pretty on a terminal and JSON elsewhere.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    address: str = ""
    metrics_address: str = ""
    health_address: str = ""
    data: Path = Path("server")
    database_url: str = ""
    blobs_url: str = ""
    import_roots: tuple[Path, ...] = ()
    work_roots: tuple[Path, ...] = ()
    work_urls: tuple[str, ...] = ()
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    tokens_file: Path | None = None
    max_concurrent: int = Field(16, ge=1, le=1024)
    queue: int = Field(8, ge=0, le=100_000)
    max_streams: int = Field(16, ge=1, le=1024)
    stream_queue: int = Field(128, ge=0, le=100_000)
    max_watches: int = Field(256, ge=1, le=4096)
    unready_s: float = Field(0.0, ge=0, le=600)
    grace_s: float = Field(30.0, ge=0, le=3600)
    patience_s: float = Field(20.0, gt=0, le=3600)
    idle_s: float = Field(300.0, gt=0, le=86_400)
    max_message_mb: float = Field(64.0, gt=0, le=1024)
    drift: bool = False
    drift_window_s: int = Field(86_400, ge=1, le=31 * 86_400)
    drift_windows: int = Field(90, ge=2, le=10_000)
    drift_alpha: float = Field(0.01, ge=0.003, lt=1)
    drift_faces_per_person: float = Field(1.0, ge=1, le=1e6)
    webhook_url: str = ""
    webhook_secret_file: Path | None = None
    webhook_token_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "pretty", "json"] = "auto"

    @field_validator("address", "metrics_address", "health_address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value not in ("", "none") and not (host and port.isdigit() and int(port) < 1 << 16):
            raise ValueError(f"{value!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _whole_tls(self) -> ServerSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file are given together or not at all")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        return self

    def address_of(self, name: str) -> str:
        """Host and port that the service of this name shall listen on."""
        return self.address or f"127.0.0.1:{PORTS.get(name, 0)}"

    def metrics_of(self, name: str) -> str | None:
        """Host and port of its metrics, or None for none."""
        usual = PORTS[name] + 100 if name in PORTS else 0
        found = self.metrics_address or f"127.0.0.1:{usual}"
        return None if found == "none" else found

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_cert_file is not None


def load_settings(**given: object) -> ServerSettings:
    """Read the environment; what is given here goes before it.

    Where ``MIEN_SECRETS_DIR`` names a folder, a file there called like a variable in lower case
    (``mien_server_database_url``) is read too: secrets come by file.

    Raises:
        Invalid: ``SERVER_SETTINGS`` naming each variable at fault.
    """
    try:
        secrets = os.environ.get("MIEN_SECRETS_DIR")
        return ServerSettings(_secrets_dir=secrets, **given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        wrong = {_variable(e["loc"]): e["msg"] for e in error.errors()}
        raise invalid_fields("SERVER_SETTINGS", "the server's settings are wrong", wrong) from None


def unread_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Find ``MIEN_SERVER_*`` variables that nothing reads → the known name they resemble, or ""."""
    known = [PREFIX + name.upper() for name in ServerSettings.model_fields]
    unread = sorted(n for n in environ if n.startswith(PREFIX) and n not in known)
    return {n: next(iter(difflib.get_close_matches(n, known, n=1)), "") for n in unread}


def _variable(loc: tuple[int | str, ...]) -> str:
    return PREFIX + str(loc[0] if loc else "TLS").upper().removeprefix(PREFIX)
