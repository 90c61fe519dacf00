"""The door: who calls, whether they may, and whether there is room; decided without a worker."""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping

import grpc

from mien.core.errors import MienError
from services.chassis.calls import (
    REQUEST_ID,
    Account,
    Desk,
    Handler,
    probed,
    taken_over,
    turned_away,
)
from services.chassis.lanes import Lane
from services.chassis.policy import HEALTH_CHECK, HEALTH_PREFIX, POLICIES
from services.chassis.refusal import STOPPING, UnknownMethod
from services.chassis.tokens import EVERYBODY, Principal, Tokens, allow

UNKNOWN = "unknown"
_ID = re.compile(r"[\w.:/-]{1,64}")
log = logging.getLogger(__name__)


class Door(grpc.ServerInterceptor):
    """Runs on the thread that accepts calls, hence quickly: it never waits."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        quick: Lane,
        desk: Desk,
        tokens: Tokens | None,
        stopping: threading.Event,
    ) -> None:
        self._lanes = lanes
        self._quick = quick
        self._desk = desk
        self._tokens = tokens
        self._stopping = stopping

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Hand out what shall answer this call."""
        method = str(handler_call_details.method)
        handler = continuation(handler_call_details)
        if method.startswith(HEALTH_PREFIX) and handler is not None:
            return self._health(method, handler)
        metadata = {str(k): v for k, v in handler_call_details.invocation_metadata or ()}
        account = Account(method if handler is not None else UNKNOWN, _request_id(metadata))
        try:
            lane = self._admit(method, handler is not None, account, metadata)
        except (MienError, UnknownMethod) as error:
            return turned_away(error, account, self._quick, self._desk)
        assert handler is not None  # noqa: S101  _admit raises otherwise
        return taken_over(handler, account, lane, self._desk)

    def _admit(
        self, method: str, known: bool, account: Account, metadata: Mapping[str, object]
    ) -> Lane:
        """Find the lane of a call and take a place in it, or raise why not."""
        if self._stopping.is_set():
            raise STOPPING
        principal = self._principal(metadata)
        account.principal = principal.name
        policy = POLICIES.get(method)
        if not known or policy is None:
            raise UnknownMethod(f"there is no {method[:200]!r} here")
        allow(principal, policy)
        lane = self._lanes[policy.lane]
        if (busy := lane.enter()) is not None:
            raise busy
        return lane

    def _principal(self, metadata: Mapping[str, object]) -> Principal:
        if self._tokens is None:
            return EVERYBODY
        given = metadata.get("authorization")
        return self._tokens.principal(given if isinstance(given, str) else None)

    def _health(self, method: str, handler: Handler) -> Handler:
        """Let probes by: without token, line or limit, on threads that do nothing else."""
        if method != HEALTH_CHECK:
            return handler  # Watch holds no thread
        return probed(handler, Account(method, ""), self._quick, self._desk)


def _request_id(metadata: Mapping[str, object]) -> str:
    """Take the caller's id when it is a plain one: it goes into logs and headers."""
    given = metadata.get(REQUEST_ID)
    if isinstance(given, str) and _ID.fullmatch(given):
        return given
    return secrets.token_hex(8)
