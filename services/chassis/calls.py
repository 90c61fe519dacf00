"""One call from its arrival to its line in the log.

Handlers are taken over as bytes in, bytes out: messages are parsed on a worker, not on the thread
that accepts calls; a malformed one is the caller's mistake; and every byte is counted.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.message import DecodeError
from structlog.contextvars import bind_contextvars

from mien.core.errors import Invalid, MienError
from mien.wire.call import CURRENT, CallInfo
from services.chassis.lanes import Lane
from services.chassis.metrics import Metrics
from services.chassis.patience import Patience
from services.chassis.refusal import CallerGone, Refusal, UnknownMethod, refusal_of

REQUEST_ID = "x-request-id"
DETAILS = "grpc-status-details-bin"
SILENT = "CALLER_SILENT"
FOR_EVER_S = 1e9  # gRPC tells a call without deadline that it has 300,000,000,000 years left
if TYPE_CHECKING:  # generic in its stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
log = logging.getLogger(__name__)


class RequestStream(Protocol):
    """What gRPC hands a handler: the messages of the caller, unparsed."""

    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...


@dataclass(slots=True)
class Account:
    """What is known of a call while it runs.

    Attributes:
        method: full name, or ``unknown``: the label of its metrics.
        request_id: given by the caller, or made.
        principal: who calls, or "".
        arrived: on the monotonic clock.
        waited_s: for a worker.
        messages_in: from the caller; ``bytes_in`` are theirs.
        messages_out: to the caller; ``bytes_out`` are theirs.
        code: how it ended.
        reason: why, UPPER_SNAKE, or "".
    """

    method: str
    request_id: str
    principal: str = ""
    arrived: float = field(default_factory=time.monotonic)
    waited_s: float = 0.0
    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    code: str = "OK"
    reason: str = ""

    def ended(self, code: grpc.StatusCode, reason: str = "") -> None:
        """Note how the call ended; a reason that is known already stays."""
        self.code = code.name
        self.reason = self.reason or reason or code.name


@dataclass(frozen=True, slots=True)
class Desk:
    """What all calls of a server share.

    Attributes:
        metrics: where they are counted.
        patience: what ends those whose caller stands still.
        patience_s: for a request that was announced.
        idle_s: for the next message of a stream, and for taking one off us.
        tls: whether a caller may have a certificate with a name.
    """

    metrics: Metrics
    patience: Patience
    patience_s: float
    idle_s: float
    tls: bool = False


def taken_over(handler: Handler, account: Account, lane: Lane, desk: Desk) -> Handler:
    """Wrap a handler for one call that has entered a lane."""
    behaviour = _behaviour(handler)

    def requests(raw: RequestStream, context: grpc.ServicerContext) -> Any:
        read = _messages(handler, raw, context, account, desk)
        return read if handler.request_streaming else _only(read)

    def answer(raw: RequestStream, context: grpc.ServicerContext) -> bytes:
        with _accounted(account, context, desk, lane):
            response = behaviour(requests(raw, context), context)
            return _sent(handler, response, account)

    def answers(raw: RequestStream, context: grpc.ServicerContext) -> Iterator[bytes]:
        with _accounted(account, context, desk, lane):
            responses = behaviour(requests(raw, context), context)
            try:
                for response in responses:
                    sent = _sent(handler, response, account)
                    with desk.patience.wait(desk.idle_s, _giving_up(account, context)):
                        yield sent
            finally:
                if hasattr(responses, "close"):
                    responses.close()

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_on(lane, answers))
    return grpc.stream_unary_rpc_method_handler(_on(lane, answer))


def turned_away(
    error: MienError | UnknownMethod, account: Account, lane: Lane, desk: Desk
) -> Handler:
    """Answer one call with an error; its request is not even read.

    Args:
        error: why.
        account: of the call.
        lane: whose threads say so; never one that works, for it may be full.
        desk: of the server.
    """
    desk.metrics.rejected(error.reason)

    def answer(_raw: RequestStream, context: grpc.ServicerContext) -> bytes:
        with _accounted(account, context, desk, None):
            raise error

    return grpc.stream_unary_rpc_method_handler(_on(lane, answer))


def probed(handler: Handler, account: Account, lane: Lane, desk: Desk) -> Handler:
    """Wrap a unary handler of probes: it has its own threads, and neither line nor count."""
    behaviour = _behaviour(handler)

    def answer(raw: RequestStream, context: grpc.ServicerContext) -> bytes:
        request = _only(_messages(handler, raw, context, account, desk))
        return _sent(handler, behaviour(request, context), account)

    return grpc.stream_unary_rpc_method_handler(_on(lane, answer))


def _behaviour(handler: Handler) -> Callable[..., Any]:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    found: Callable[..., Any] = next(kind for kind in kinds if kind is not None)
    return found


def _on(lane: Lane, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Let gRPC run this on the lane's own threads."""
    behaviour.experimental_thread_pool = lane.pool  # type: ignore[attr-defined]
    return behaviour


def _messages(
    handler: Handler,
    raw: RequestStream,
    context: grpc.ServicerContext,
    account: Account,
    desk: Desk,
) -> Iterator[Any]:
    """Parse the caller's messages one at a time.

    Raises:
        Invalid: ``MALFORMED_MESSAGE``.
    """
    parse = handler.request_deserializer
    most_s = desk.idle_s if handler.request_streaming else desk.patience_s
    while True:
        with desk.patience.wait(most_s, _giving_up(account, context)):
            data = next(raw, None)
        if account.reason == SILENT or not context.is_active():
            raise CallerGone  # this is not the end of what the caller had to say
        if data is None:
            return
        account.messages_in += 1
        account.bytes_in += len(data)
        try:
            message = parse(data) if parse is not None else data
        except (DecodeError, ValueError) as error:
            raise Invalid(
                "MALFORMED_MESSAGE",
                f"message {account.messages_in} is none of {account.method}: {error}",
                hint="is the client of another release?",
            ) from None
        yield message


def _giving_up(account: Account, context: grpc.ServicerContext) -> Callable[[], object]:
    def give_up() -> None:
        account.reason = SILENT
        context.cancel()

    return give_up


def _only(messages: Iterator[Any]) -> Any:
    """Return the one message of a unary request.

    Raises:
        Invalid: ``MALFORMED_MESSAGE`` when none came.
    """
    for message in messages:
        return message
    raise Invalid(
        "MALFORMED_MESSAGE", "the call brings no message", hint="send exactly one message"
    )


def _sent(handler: Handler, response: Any, account: Account) -> bytes:
    write = handler.response_serializer
    data: bytes = write(response) if write is not None else response
    account.messages_out += 1
    account.bytes_out += len(data)
    return data


@contextlib.contextmanager
def _accounted(
    account: Account, context: grpc.ServicerContext, desk: Desk, lane: Lane | None
) -> Iterator[None]:
    """Run one call: nothing but a status gets out, its place is given back, its line written."""
    began = lane.begin() if lane is not None else time.monotonic()
    account.waited_s = began - account.arrived
    context.set_trailing_metadata(((REQUEST_ID, account.request_id),))
    bind_contextvars(request_id=account.request_id)  # this call's context: gRPC gives each its own
    if desk.tls and not account.principal:
        account.principal = _certified(context)
    CURRENT.set(CallInfo(account.request_id, _deadline(context), account.principal))
    try:
        if (late := _gone(context)) is not None:  # nobody waits for it any more
            account.ended(late)
            context.abort(late, "the call was over before it began")
        yield
        if (late := _gone(context)) is not None:
            account.ended(late)
    except GeneratorExit:
        account.ended(_gone(context) or grpc.StatusCode.CANCELLED)
        raise
    except BaseException as error:
        if account.code != "OK":  # said so already
            raise
        if account.reason == SILENT:
            account.ended(grpc.StatusCode.CANCELLED)
            context.abort(grpc.StatusCode.CANCELLED, "the caller kept silent for too long")
        told = context.code()  # type: ignore[attr-defined]  # missing in the stubs only
        if told is not None:  # the servicer spoke gRPC's own words
            account.ended(told)
            context.abort(told, (context.details() or b"").decode(errors="replace"))  # type: ignore[attr-defined]
        _end(context, account, refusal_of(error, account.request_id, gone=_gone(context)), error)
    finally:
        if lane is not None:
            lane.leave(began)
        _write_line(account, context, desk)


def _end(
    context: grpc.ServicerContext, account: Account, refusal: Refusal, error: BaseException
) -> None:
    account.ended(refusal.code, refusal.reason)
    if refusal.unforeseen:
        log.error("unforeseen", exc_info=error)
    trailing: list[tuple[str, str | bytes]] = [(REQUEST_ID, account.request_id)]
    message = refusal.code.name
    if refusal.status is not None:
        trailing.append((DETAILS, refusal.status.SerializeToString()))
        message = refusal.status.message
    context.set_trailing_metadata(tuple(trailing))
    context.abort(refusal.code, message)


def _gone(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """Say how the caller went away, None while it listens."""
    if context.time_remaining() == 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return None if context.is_active() else grpc.StatusCode.CANCELLED


def _deadline(context: grpc.ServicerContext) -> float:
    left = context.time_remaining()
    return math.inf if left is None or left > FOR_EVER_S else time.monotonic() + left


def _certified(context: grpc.ServicerContext) -> str:
    """Return the name in the caller's certificate, or ""."""
    found: Mapping[str, Sequence[bytes]] = context.auth_context()  # type: ignore[assignment]
    return b"".join(found.get("x509_common_name", ())[:1]).decode(errors="replace")


def _write_line(account: Account, context: grpc.ServicerContext, desk: Desk) -> None:
    took = time.monotonic() - account.arrived
    desk.metrics.call_ended(account.method, account.code, took)
    line = {
        "method": account.method,
        "code": account.code,
        **({"reason": account.reason} if account.reason else {}),
        "duration_ms": round(took * 1e3, 3),
        "waited_ms": round(account.waited_s * 1e3, 3),
        "peer": context.peer(),
        "principal": account.principal,
        "request_id": account.request_id,
        "messages_in": account.messages_in,
        "bytes_in": account.bytes_in,
        "messages_out": account.messages_out,
        "bytes_out": account.bytes_out,
    }
    log.log(_LEVELS.get(account.code, logging.WARNING), "call", extra=line)


_LEVELS = {
    "OK": logging.INFO,
    "CANCELLED": logging.INFO,
    "NOT_FOUND": logging.INFO,
    "INTERNAL": logging.ERROR,
    "DATA_LOSS": logging.ERROR,
}
