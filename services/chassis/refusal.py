"""From an exception to what the caller is told, and nothing about this machine with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import grpc
from google.rpc.status_pb2 import Status

from mien.core.errors import Interrupted, MienError, Unavailable
from mien.wire.errors import CODES, error_of, internal_status, status_of

STOPPING = Unavailable(
    "SERVER_STOPPING", "the server is stopping", hint="try again: another one takes over"
)
# An absolute path, wherever it stands in a sentence; not the path of an http address.
_PATH = re.compile(r"(?<![\w./:-])(?:file://|sqlite:///?)?/(?:[^\s'\"`,;:()\[\]/]+/)+")


class CallerGone(Exception):
    """The caller went away, or kept silent for too long, instead of ending its stream."""


class UnknownMethod(Exception):
    """A method that is not served here.

    gRPC has a code of its own for it, UNIMPLEMENTED, by which ``grpcurl`` finds out which
    reflection a server speaks; clients of ours read it as ``NotFound``.
    """

    reason = "UNKNOWN_METHOD"


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ends that was not answered.

    Attributes:
        code: of gRPC.
        reason: UPPER_SNAKE, for the log line.
        status: what the caller is told beside the code; None = no more than that.
        unforeseen: whether the log shall hold the traceback.
    """

    code: grpc.StatusCode
    reason: str
    status: Status | None = None
    unforeseen: bool = False


def refusal_of(error: BaseException, request_id: str, *, gone: grpc.StatusCode | None) -> Refusal:
    """Decide how a call ends.

    Args:
        error: what was raised.
        request_id: of the call.
        gone: CANCELLED or DEADLINE_EXCEEDED when the caller no longer listens, else None.
    """
    if gone is not None:
        foreseen = isinstance(error, MienError | grpc.RpcError | Interrupted | CallerGone)
        return Refusal(gone, gone.name, unforeseen=not foreseen)
    if isinstance(error, Interrupted):
        error = STOPPING
    if isinstance(error, grpc.RpcError):
        passed = _passed_on(error)
        if passed is not None:
            return passed
        error = error_of(error) or error
    if isinstance(error, MienError):
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        return Refusal(code, error.reason, status_of(without_paths(error), request_id))
    if isinstance(error, UnknownMethod):
        unimplemented = grpc.StatusCode.UNIMPLEMENTED
        told = Status(code=unimplemented.value[0], message=str(error))
        return Refusal(unimplemented, error.reason, told)
    internal = grpc.StatusCode.INTERNAL
    return Refusal(internal, "INTERNAL", internal_status(request_id), unforeseen=True)


def without_paths(error: MienError) -> MienError:
    """Return the error with the folders of absolute paths left out: ``…/faces.png``."""
    details = {key: hide_paths(value) for key, value in error.details.items()}
    message, hint = hide_paths(error.message), hide_paths(error.hint)
    return type(error)(error.reason, message, hint=hint, details=details)


def hide_paths(text: str) -> str:
    """Leave the folders of absolute paths out of a text."""
    return _PATH.sub("…/", text)


def _passed_on(error: grpc.RpcError) -> Refusal | None:
    """A call further down was cancelled or late: so is this one."""
    call: object = error  # every failed call of gRPC's is one as well; its stubs say it not
    code = call.code() if isinstance(call, grpc.Call) else None
    if code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Refusal(code, code.name)
    return None
