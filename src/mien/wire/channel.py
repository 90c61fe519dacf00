"""Channels to the services: encryption, token, limits, keepalive, retries, deadlines, ids."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from mien.core.errors import Invalid, NotFound, Unavailable
from mien.wire.call import CURRENT
from mien.wire.errors import error_of

MESSAGE_BYTES = 64 << 20
METADATA_BYTES = 64 << 10  # an error's details come as metadata; gRPC's own limit is 8 KiB
DEADLINE_S = 60.0  # of a call that is answered once; streams end when they end
AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
_SAFE = {MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT}
Request = TypeVar("Request")
Answer = TypeVar("Answer")


class ChannelSettings(Protocol):
    """What a channel reads of ``mien.settings.Settings``."""

    @property
    def token_file(self) -> Path | None:
        """File that holds the token."""
        ...

    @property
    def tls_ca_file(self) -> Path | None:
        """Authorities to trust; given = TLS."""
        ...

    @property
    def tls_cert_file(self) -> Path | None:
        """This client's certificate."""
        ...

    @property
    def tls_key_file(self) -> Path | None:
        """Its key."""
        ...


def open_channel(target: str, settings: ChannelSettings) -> grpc.Channel:
    """Open a channel; nothing is connected before the first call.

    Calls that change nothing, or the same whenever they are repeated (the protos say which), are
    tried four times while the service is unavailable. Every call carries the id of the call that
    is being served here, or a new one, waits no longer than that one's caller, and no longer
    than a minute where one answer is expected.

    Args:
        target: ``host:port``, ``unix:<path>`` or ``dns:///<name>:<port>``.
        settings: token and certificates.

    Raises:
        NotFound: ``CREDENTIALS_MISSING`` when a file that the settings name is not there.
        Invalid: ``TOKEN_IN_CLEAR`` for a token without TLS to another machine.
    """
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.enable_http_proxy", 0 if is_local(target) else 1),
        # Else a channel opened after a service was restarted waits out its predecessor's backoff.
        ("grpc.use_local_subchannel_pool", 1),
        # A service that comes back is met before the tries of a call are used up.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # New Pods are found when a connection breaks; gRPC would not ask again for half a minute.
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]
    if settings.tls_ca_file is not None:
        channel = grpc.secure_channel(target, _credentials(settings), options)
    elif settings.token_file is not None and not is_local(target):
        raise Invalid(
            "TOKEN_IN_CLEAR",
            f"the token would travel to {target} in clear",
            hint="set MIEN_TLS_CA_FILE, or unset MIEN_TOKEN_FILE",
        )
    else:
        channel = grpc.insecure_channel(target, options)
    return grpc.intercept_channel(channel, _Surround(settings.token_file))


def is_local(target: str) -> bool:
    """Tell whether a target is this machine: a loopback address, or a socket file."""
    if target.startswith("unix:"):
        return True
    host = target.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service_config() -> dict[str, Any]:
    """Return gRPC's service config: calls go round all replicas; which are tried again, and how."""
    safe = [
        {"service": service, "method": method.name}
        for service, method in methods()
        if method.GetOptions().idempotency_level in _SAFE
    ]
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {
        # A headless Service has an address a replica; gRPC's own choice stays with the first.
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": safe, "retryPolicy": retry}],
    }


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """List every RPC of our services with its service's full name."""
    for file in _files():
        for service in file.services_by_name.values():
            for method in service.methods:
                yield service.full_name, method


@contextmanager
def translated(*, late_is_unavailable: bool = False) -> Iterator[None]:
    """Turn a failed call inside into the domain error that the server raised.

    What has no domain error (cancelled, too late, internal) is raised on as it is.

    Args:
        late_is_unavailable: a call that ran into its deadline is ``Unavailable``: for those that
            look at long work again and again, and may well do so once more.
    """
    try:
        yield
    except grpc.RpcError as failed:
        error = error_of(failed)
        if error is None and late_is_unavailable and _is_late(failed):
            error = Unavailable("DEADLINE_EXCEEDED", "the service is too slow", hint="ask again")
        if error is None:
            raise
        raise error from None


def _is_late(failed: object) -> bool:
    return isinstance(failed, grpc.Call) and failed.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def _files() -> tuple[FileDescriptor, ...]:
    from mien.api.generation.v1 import generation_pb2
    from mien.api.registry.v1 import registry_pb2
    from mien.api.serving.v1 import serving_pb2
    from mien.api.training.v1 import training_pb2

    files = (generation_pb2, registry_pb2, serving_pb2, training_pb2)
    return tuple(file.DESCRIPTOR for file in files)


def _credentials(settings: ChannelSettings) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.tls_ca_file),
        private_key=_read(settings.tls_key_file),
        certificate_chain=_read(settings.tls_cert_file),
    )


def _read(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise NotFound(
            "CREDENTIALS_MISSING",
            f"{file} cannot be read: {error.strerror}",
            hint="see MIEN_TOKEN_FILE, MIEN_TLS_CA_FILE, MIEN_TLS_CERT_FILE, MIEN_TLS_KEY_FILE",
        ) from None


class _Details(NamedTuple):
    """A call's details with what was added; gRPC asks for these names and no class."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Surround(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds request id, token and deadline to every call.

    The token is read anew with each: a mounted secret may be replaced.
    """

    def __init__(self, token_file: Path | None) -> None:
        self._token_file = token_file

    def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Request], Answer],
        client_call_details: Any,
        request: Request,
    ) -> Answer:
        """Send with a deadline."""
        return continuation(self._with(client_call_details, DEADLINE_S), request)

    def intercept_unary_stream(
        self,
        continuation: Callable[[Any, Request], Answer],
        client_call_details: Any,
        request: Request,
    ) -> Answer:
        """Send; the answers may take their time."""
        return continuation(self._with(client_call_details, None), request)

    def intercept_stream_unary(
        self,
        continuation: Callable[[Any, Request], Answer],
        client_call_details: Any,
        request_iterator: Request,
    ) -> Answer:
        """Send; what is streamed may take its time."""
        return continuation(self._with(client_call_details, None), request_iterator)

    def intercept_stream_stream(
        self,
        continuation: Callable[[Any, Request], Answer],
        client_call_details: Any,
        request_iterator: Request,
    ) -> Answer:
        """Send; both sides may take their time."""
        return continuation(self._with(client_call_details, None), request_iterator)

    def _with(self, details: Any, deadline_s: float | None) -> _Details:
        serving = CURRENT.get()
        limits = [details.timeout if details.timeout is not None else deadline_s]
        if serving is not None and math.isfinite(serving.deadline):
            limits.append(serving.remaining_s())
        given: Mapping[str, str | bytes] = dict(details.metadata or ())
        added: dict[str, str | bytes] = {
            REQUEST_ID: uuid4().hex if serving is None else serving.request_id
        }
        token = _read(self._token_file)
        if token is not None:
            added[AUTHORIZATION] = f"Bearer {token.decode().strip()}"
        return _Details(
            details.method,
            min((limit for limit in limits if limit is not None), default=None),
            tuple((added | dict(given)).items()),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
