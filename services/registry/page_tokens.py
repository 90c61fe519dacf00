"""Where the next page starts, as text that means nothing to the caller."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid

USUAL = 100
MOST = 1000
_CHECK = 8  # letters of a digest: a token that was altered or belongs to another list is refused


def page_size(asked: int) -> int:
    """Return how many a page holds; 0 asks for the usual.

    Raises:
        Invalid: ``PAGE_SIZE``.
    """
    if not 0 <= asked <= MOST:
        raise Invalid(
            "PAGE_SIZE",
            f"a page holds 1 to {MOST}, not {asked}",
            hint=f"0 asks for the usual {USUAL}",
            details={"field:page_size": f"0 to {MOST}"},
        )
    return asked or USUAL


def write_token(listed: str, after: Any) -> str:
    """Write a token.

    Args:
        listed: what is listed, filters included: the token is good for that only.
        after: plain value of the last one on this page.
    """
    plain = orjson.dumps(after)
    return urlsafe_b64encode(_check(listed, plain) + plain).decode().rstrip("=")


def read_token(listed: str, token: str, first: Any) -> Any:
    """Read a token of the same list; "" is ``first``.

    Raises:
        Invalid: ``PAGE_TOKEN``.
    """
    if not token:
        return first
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        check, plain = raw[:_CHECK], raw[_CHECK:]
        if check == _check(listed, plain):
            return orjson.loads(plain)
    except ValueError:
        pass
    raise Invalid(
        "PAGE_TOKEN",
        "the token comes from no answer to this question",
        hint="start again without a token, or ask with the same filters as before",
        details={"field:page_token": "of the answer before"},
    )


def _check(listed: str, plain: bytes) -> bytes:
    return digest_bytes(listed.encode() + b"\0" + plain)[:_CHECK].encode()
