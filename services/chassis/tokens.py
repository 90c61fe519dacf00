"""Bearer tokens: a file says which name has which role, by the token's hash.

A line is ``<name> <role> blake3:<64 hex>``; ``#`` begins a comment. Tokens are 256 random bits
(``python -m services.chassis.tokens NAME ROLE`` makes one), hence a plain hash holds them safely.
The file is read again when it changes; a damaged one lets in whom the last good one did.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from mien.core.errors import EXIT_USER, Forbidden, Invalid, MienError, Unauthenticated
from services.chassis.policy import RANK, Policy

LOOK_EVERY_S = 1.0
SCHEME = "Bearer "
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    name: str
    role: str


EVERYBODY = Principal("", "promoter")


class Tokens:
    """The token file, as it is now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp = _stamp(file)
        self._looked = time.monotonic()
        self._known = read_tokens(file)

    def principal(self, authorization: str | None) -> Principal:
        """Find who an ``authorization`` header belongs to.

        Raises:
            Unauthenticated: ``TOKEN_MISSING`` or ``TOKEN_UNKNOWN``; the token is in neither.
        """
        if not authorization or not authorization.startswith(SCHEME):
            raise Unauthenticated(
                "TOKEN_MISSING",
                "the call brings no bearer token",
                hint="set MIEN_TOKEN_FILE to a file that holds yours",
            )
        given = digest_of(authorization.removeprefix(SCHEME).strip())
        found: Principal | None = None
        for digest, principal in self._current():  # all of them: the time tells nothing
            if hmac.compare_digest(digest, given):
                found = principal
        if found is None:
            raise Unauthenticated(
                "TOKEN_UNKNOWN", "the token is not known here", hint="ask whoever runs the server"
            )
        return found

    def _current(self) -> list[tuple[str, Principal]]:
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK_EVERY_S:
                self._looked = now
                stamp = _stamp(self._file)
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._read_again()
            return self._known

    def _read_again(self) -> None:
        try:
            self._known = read_tokens(self._file)
            log.info("tokens", extra={"names": [p.name for _, p in self._known]})
        except MienError as error:
            log.error("tokens", extra={"reason": error.reason, "what": error.message})


def allow(principal: Principal, policy: Policy) -> None:
    """Let pass whoever has the role a policy asks for.

    Raises:
        Forbidden: ``ROLE`` naming both.
    """
    if RANK[principal.role] < RANK[policy.role]:
        raise Forbidden(
            "ROLE",
            f"{principal.name} is a {principal.role}; this takes a {policy.role}",
            hint=f"use the token of a {policy.role}",
            details={"role": principal.role, "needed": policy.role},
        )


def read_tokens(file: Path) -> list[tuple[str, Principal]]:
    """Read a token file: [(hash, who)].

    Raises:
        Invalid: ``TOKENS_FILE`` naming the line; no hash is told.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, f"cannot be read: {type(error).__name__}") from None
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[1] not in RANK or not _is_hash(words[2]):
            raise _unreadable(file, f"line {number} is not `<name> <role> blake3:<64 hex digits>`")
        found.append((words[2], Principal(words[0], words[1])))
    return found


def digest_of(token: str) -> str:
    """Hash a token as the file holds it."""
    return "blake3:" + blake3(token.encode()).hexdigest()


def _is_hash(word: str) -> bool:
    scheme, _, digits = word.partition(":")
    return scheme == "blake3" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _unreadable(file: Path, why: str) -> Invalid:
    hint = "make lines with `python -m services.chassis.tokens NAME ROLE`"
    return Invalid("TOKENS_FILE", f"{file}: {why}", hint=hint)


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def main(argv: list[str]) -> int:
    """Make a token: the line for the file on stdout, the token itself on stderr."""
    if len(argv) != 2 or argv[1] not in RANK or len(argv[0].split()) != 1 or "#" in argv[0]:
        roles = "|".join(RANK)
        sys.stderr.write(f"usage: python -m services.chassis.tokens NAME {roles} >> tokens\n")
        return EXIT_USER
    token = secrets.token_urlsafe(32)
    sys.stdout.write(f"{argv[0]} {argv[1]} {digest_of(token)}\n")
    sys.stderr.write(f"{token}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
