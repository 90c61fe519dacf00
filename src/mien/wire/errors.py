"""The ten errors on the wire: one table, used both ways.

A status carries the message, ``google.rpc.ErrorInfo`` (reason, details), the hint as
``google.rpc.Help``, field violations as ``BadRequest`` and a wait as ``RetryInfo``. What gRPC
itself says about cancelled and late calls passes through; anything else is INTERNAL.
"""

from __future__ import annotations

import math
import re

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as parts
from google.rpc.status_pb2 import Status

from mien.core.errors import (
    ERRORS,
    AlreadyExists,
    Conflict,
    Corrupt,
    Exhausted,
    Forbidden,
    Invalid,
    MienError,
    NotFound,
    Unauthenticated,
    Unavailable,
    WrongState,
)

DOMAIN = "mien"
RETRY_AFTER = "retry_after_s"  # key of the details that becomes RetryInfo
CODES: dict[type[MienError], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    Conflict: grpc.StatusCode.ABORTED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Corrupt: grpc.StatusCode.DATA_LOSS,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
}
_KINDS = {code: kind for kind, code in CODES.items()}
_FOREIGN: dict[
    grpc.StatusCode, type[MienError]
] = {  # what only gRPC itself or somebody between us says
    **_KINDS,
    grpc.StatusCode.OUT_OF_RANGE: Invalid,
    grpc.StatusCode.UNIMPLEMENTED: NotFound,
}
_FOREIGN_HINTS = {
    grpc.StatusCode.UNAVAILABLE: "is the service running, and is this its address?",
    grpc.StatusCode.UNIMPLEMENTED: "is this the address of another service, or an older one?",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "send less at a time, or wait",
    grpc.StatusCode.UNAUTHENTICATED: "set MIEN_TOKEN_FILE",
}
_WAIT_S = 1.0  # told with Exhausted and Unavailable that name no wait of their own
_FIELD = "field:"
_TRAILER = "grpc-status-details-bin"
# Trailers travel in one header block: many clients refuse more than 8 KiB of it.
_MESSAGE_BYTES = 800
_HINT_BYTES = 500
_DETAIL_BYTES = 300
_DETAILS = 12


def status_of(error: MienError, request_id: str = "") -> Status:
    """Describe an error as a status; very long texts are cut, ends told by "…"."""
    message = _cut(error.message, _MESSAGE_BYTES)
    status = Status(code=CODES[_kind(error)].value[0], message=message)
    kept = dict(list(error.details.items())[:_DETAILS])
    violations = error.violations if isinstance(error, Invalid) else {}
    plain = {k: v for k, v in kept.items() if not (violations and k.startswith(_FIELD))}
    info = parts.ErrorInfo(reason=_cut(error.reason, 63), domain=DOMAIN)
    for key, value in plain.items():
        info.metadata[_cut(str(key), 64)] = _cut(str(value), _DETAIL_BYTES)
    _add(status, info)
    if violations:
        _add(status, _bad_request({k: v for k, v in kept.items() if k not in plain}))
    if error.hint:
        links = [parts.Help.Link(description=_cut(error.hint, _HINT_BYTES))]
        _add(status, parts.Help(links=links))
    if isinstance(error, Exhausted | Unavailable):
        _add(status, parts.RetryInfo(retry_delay=_duration(_wait_s(error))))
    if request_id:
        _add(status, parts.RequestInfo(request_id=_cut(request_id, 100)))
    return status


def internal_status(request_id: str) -> Status:
    """Describe an unforeseen error: nothing of it is told but where to look it up."""
    status = Status(
        code=grpc.StatusCode.INTERNAL.value[0],
        message=f"internal error (request {_cut(request_id, 100)})",
    )
    _add(status, parts.RequestInfo(request_id=_cut(request_id, 100)))
    return status


def error_of(failed: grpc.RpcError) -> MienError | None:
    """Return the domain error that a failed call stands for.

    None for CANCELLED, DEADLINE_EXCEEDED and for what nobody foresaw: raise those on as they are.
    """
    call: object = failed  # every failed call of gRPC's is one as well; its stubs say it not
    if not isinstance(call, grpc.Call):
        return None
    code = call.code()
    kind = _FOREIGN.get(code)
    if kind is None:
        return None
    status = _status(call)
    told = None if status is None else _read(status, kind)
    if told is not None:
        return told
    wait = _retry_info(status)
    return kind(
        code.name,
        call.details() or code.name,
        hint=_FOREIGN_HINTS.get(code, ""),
        details={} if wait is None else {RETRY_AFTER: wait},
    )


def last_words(failed: grpc.RpcError) -> MienError:
    """Return an error for people, whatever a call failed of: late, cancelled and internal too."""
    error = error_of(failed)
    if error is not None:
        return error
    call: object = failed
    if not isinstance(call, grpc.Call):
        return Unavailable("RPC", f"a call failed: {failed}", hint="try again")
    code = call.code()
    hint = "the service's log says more" if code == grpc.StatusCode.INTERNAL else "try again"
    return Unavailable(code.name, f"the service said: {call.details()}", hint=hint)


def retry_after_s(error: MienError) -> float | None:
    """Read how long to wait before trying again; None when nothing is said."""
    try:
        wait = float(error.details[RETRY_AFTER])
    except (KeyError, ValueError):
        return None
    return wait if math.isfinite(wait) and wait >= 0 else None


def _kind(error: MienError) -> type[MienError]:
    return next(kind for kind in ERRORS if isinstance(error, kind))


def _read(status: Status, kind: type[MienError]) -> MienError | None:
    """Rebuild our own error; None when the status is somebody else's."""
    info, bad, helped = parts.ErrorInfo(), parts.BadRequest(), parts.Help()
    for packed in status.details:
        for part in (info, bad, helped):
            if packed.Is(part.DESCRIPTOR):
                packed.Unpack(part)
    if info.domain != DOMAIN:
        return None
    details = dict(info.metadata)
    details |= {_FIELD + v.field: v.description for v in bad.field_violations}
    hint = helped.links[0].description if helped.links else ""
    return kind(info.reason, status.message, hint=hint, details=details)


def _status(call: grpc.Call) -> Status | None:
    for key, value in call.trailing_metadata() or ():
        if key == _TRAILER and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _retry_info(status: Status | None) -> str | None:
    for packed in status.details if status is not None else ():
        told = parts.RetryInfo()
        if packed.Is(told.DESCRIPTOR):
            packed.Unpack(told)
            delay = told.retry_delay
            return f"{delay.seconds + delay.nanos / 1e9:g}"
    return None


def _bad_request(fields: dict[str, str]) -> parts.BadRequest:
    return parts.BadRequest(
        field_violations=[
            parts.BadRequest.FieldViolation(
                field=_cut(key[len(_FIELD) :], 200), description=_cut(what, _DETAIL_BYTES)
            )
            for key, what in fields.items()
        ]
    )


def _wait_s(error: MienError) -> float:
    wait = retry_after_s(error)
    return _WAIT_S if wait is None else min(wait, 86_400.0)


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _add(
    status: Status,
    part: parts.ErrorInfo | parts.BadRequest | parts.Help | parts.RetryInfo | parts.RequestInfo,
) -> None:
    packed = Packed()
    packed.Pack(part)
    status.details.append(packed)


_UNSENDABLE = re.compile(r"[\ud800-\udfff]")  # of file names that are no UTF-8


def _cut(text: str, most: int) -> str:
    """Return text that protobuf accepts, of at most so many UTF-8 bytes."""
    text = _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    raw = text.encode()
    if len(raw) <= most:
        return text
    return raw[: most - 3].decode(errors="ignore") + "…"
