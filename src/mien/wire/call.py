"""What a server knows of the call it is answering, for the calls that it makes itself."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The call that is being answered in this context.

    Attributes:
        request_id: named in logs on both sides.
        deadline: on the monotonic clock, seconds; infinite when the caller waits for ever.
        principal: who called, or "".
    """

    request_id: str
    deadline: float = math.inf
    principal: str = ""

    def remaining_s(self) -> float:
        """Seconds the caller still waits, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


CURRENT: ContextVar[CallInfo | None] = ContextVar("mien_call", default=None)
