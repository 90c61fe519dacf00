"""What surrounds a call in progress, so that the calls it makes belong to it.

A server sets both while it serves a call; clients read them. In a plain program nothing is set.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from uuid import uuid4

REQUEST_ID = "x-request-id"  # metadata key, both ways

_request_id: ContextVar[str] = ContextVar("mien_request_id", default="")
_ends: ContextVar[float | None] = ContextVar("mien_call_ends", default=None)


def enter(request_id: str, seconds_left: float | None) -> None:
    """Say which call this context serves, and how long its caller waits (None = for ever)."""
    _request_id.set(request_id)
    _ends.set(None if seconds_left is None else time.monotonic() + seconds_left)


def current_request_id() -> str:
    """Return the id of the call being served; "" outside one."""
    return _request_id.get()


def request_id() -> str:
    """Return the id to send: of the call being served, or a new one."""
    return _request_id.get() or uuid4().hex


def seconds_left() -> float | None:
    """Return how long the caller of the call being served still waits; None = for ever."""
    ends = _ends.get()
    return None if ends is None else max(0.0, ends - time.monotonic())
