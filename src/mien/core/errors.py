"""Ten errors, named by what the caller should do about them.

Every error carries an UPPER_SNAKE ``reason``, a sentence (what and where), an optional ``hint``
(what to do) and string ``details``, so that it survives the wire unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError

EXIT_DONE = 0
EXIT_FAILED = 1  # anything unforeseen: may be retried
EXIT_USER = 2  # the user's mistake: never retried
EXIT_REFUSED = 3  # all work was done, and the gate says no: a retry says no again
EXIT_PERMANENT = 42  # will fail again: never retried
EXIT_INTERRUPTED = 130  # SIGINT, with a checkpoint
EXIT_TERMINATED = 143  # SIGTERM, with a checkpoint


class MienError(Exception):
    """Any foreseen failure.

    Attributes:
        reason: UPPER_SNAKE, stable, for programs.
        message: one sentence: what and where.
        hint: what to do about it, or "".
        details: string pairs for programs (file, row, subject …).
    """

    exit_code: ClassVar[int] = EXIT_USER

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        hint: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.details: dict[str, str] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep reason, hint and details when an error crosses a process boundary."""
        return _rebuild, (type(self), self.reason, self.message, self.hint, self.details)


def _rebuild(
    kind: type[MienError], reason: str, message: str, hint: str, details: dict[str, str]
) -> MienError:
    return kind(reason, message, hint=hint, details=details)


class Invalid(MienError):
    """The request or input is wrong in itself; change it.

    ``violations`` maps a field path to what is wrong with it.
    """

    @property
    def violations(self) -> dict[str, str]:
        """Field violations, kept in ``details`` under ``field:`` keys."""
        prefix = "field:"
        return {k[len(prefix) :]: v for k, v in self.details.items() if k.startswith(prefix)}


class NotFound(MienError):
    """Something named does not exist."""


class AlreadyExists(MienError):
    """Something of that name exists already, with other content."""


class WrongState(MienError):
    """The request is fine but not now; do something else first."""


class Conflict(MienError):
    """Somebody else was faster; read again and retry."""


class Exhausted(MienError):
    """A quota, disk or queue is full; free some or wait ``retry_after_s``."""

    exit_code = EXIT_FAILED


class Unavailable(MienError):
    """A dependency does not answer; retry after ``retry_after_s``."""

    exit_code = EXIT_FAILED


class Corrupt(MienError):
    """Stored bytes are not what was written; restore them from a good copy."""

    exit_code = EXIT_PERMANENT


class Unauthenticated(MienError):
    """No valid credentials were given."""


class Forbidden(MienError):
    """The caller, or this process, may not do that."""


class Interrupted(Exception):
    """Raised inside long work when ``cancelled()`` turned true, after its state was saved."""


ERRORS: tuple[type[MienError], ...] = (
    Invalid,
    NotFound,
    AlreadyExists,
    WrongState,
    Conflict,
    Exhausted,
    Unavailable,
    Corrupt,
    Unauthenticated,
    Forbidden,
)


def faults_of(error: ValidationError, whole: str = "params") -> dict[str, str]:
    """Return each field that pydantic refused, as a dotted path, with what is wrong with it.

    Args:
        error: as raised.
        whole: name of what was checked, for faults that are no single field's.
    """
    return {".".join(map(str, e["loc"])) or whole: e["msg"] for e in error.errors()}


def invalid_fields(
    reason: str,
    message: str,
    violations: Mapping[str, str],
    *,
    hint: str = "correct what is named; nothing else is wrong",
) -> Invalid:
    """Build an ``Invalid`` that names each field at fault and says what is wrong with it."""
    listed = "; ".join(f"{field}: {what}" for field, what in violations.items())
    details = {f"field:{field}": what for field, what in violations.items()}
    return Invalid(reason, f"{message}: {listed}", hint=hint, details=details)
