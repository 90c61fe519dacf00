"""Long work as a resource: what is asked, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mien.core.errors import ERRORS, MienError

JobState = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"]
ENDED: frozenset[JobState] = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job ended without a result.

    Attributes:
        kind: class of the error, ``Invalid`` …; "" for an unforeseen one.
        reason: UPPER_SNAKE.
        message: what and where.
        hint: what to do.
        details: pairs for programs.
        exit_code: of the worker, where one ran.
    """

    kind: str
    reason: str
    message: str
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None

    @classmethod
    def of(cls, error: BaseException, *, exit_code: int | None = None) -> Failure:
        """Describe an error; of an unforeseen one only its class is told."""
        if isinstance(error, MienError):
            kind = type(error).__name__
            return cls(kind, error.reason, error.message, error.hint, error.details, exit_code)
        said = f"unforeseen: {type(error).__name__}"
        return cls("", "INTERNAL", said, "see the server's log", {}, exit_code)

    def error(self) -> MienError:
        """Return the error again, to be raised; ``Unavailable`` for an unforeseen one."""
        kinds = {kind.__name__: kind for kind in ERRORS}
        kind = kinds.get(self.kind)
        if kind is None:
            from mien.core.errors import Unavailable

            kind = Unavailable
        return kind(self.reason, self.message, hint=self.hint, details=self.details)


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of long work.

    Attributes:
        name: ``<kind>-<digest>``, unique.
        kind: what sort of work: ``generation``, ``trial``, ``sweep``, ``generator``.
        spec: what is asked, plain JSON values.
        parent: name of the job that started it, or "".
        request_id: what made its creation idempotent, or "".
        state: where it is in its life.
        done: work done, in ``unit``.
        total: work in all, in ``unit``; 0 = not known yet.
        unit: what is counted.
        message: what it does at present.
        metrics: figures of the moment.
        failure: set when FAILED.
        result: what came of it, plain JSON values; set when SUCCEEDED, may grow before.
        created: when it was created.
        started: when it first ran.
        ended: when it ended.
        tries: how often it was started, resumptions included.
        revision: raised by one with every change.
    """

    name: str
    kind: str
    spec: Mapping[str, Any]
    parent: str = ""
    request_id: str = ""
    state: JobState = "QUEUED"
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    tries: int = 0
    revision: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in ENDED
