"""Ask a service whether it is ready, and why not."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from mien.core.errors import MienError
from mien.wire.channel import ChannelSettings, open_channel

WHY_NOT = "x-why-not"  # trailing metadata of a probe that is answered NOT_SERVING


@dataclass(frozen=True, slots=True)
class Health:
    """What a service says of itself.

    Attributes:
        reached: whether anybody answered.
        ready: whether it serves.
        why: why not, or "".
    """

    reached: bool
    ready: bool
    why: str = ""


def probe(
    target: str, settings: ChannelSettings, *, timeout_s: float = 3.0, service: str = ""
) -> Health:
    """Probe a service once; whatever is wrong is in the answer.

    Args:
        target: ``host:port``.
        settings: of the channel.
        timeout_s: seconds to wait for the answer.
        service: by its full name; "" is the server as a whole.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        with open_channel(target, settings) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            answer, call = check.with_call(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
    except MienError as error:
        return Health(reached=False, ready=False, why=str(error))
    except grpc.RpcError as error:
        return Health(reached=False, ready=False, why=_said(error))
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Health(reached=True, ready=True)
    told = {str(key): str(value) for key, value in call.trailing_metadata() or ()}
    return Health(reached=True, ready=False, why=told.get(WHY_NOT, "it does not say why"))


def _said(error: grpc.RpcError) -> str:
    call: object = error  # every failed call of gRPC's is one as well; its stubs say it not
    if not isinstance(call, grpc.Call):
        return type(error).__name__
    if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    details = call.details() or call.code().name
    return "nothing listens there" if "Connection refused" in details else details
