"""Pages of a list. A token says where the next one starts; it means nothing to the caller."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid

T = TypeVar("T")
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
        raw = b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        check, plain = raw[:_CHECK], raw[_CHECK:]
        if check == _check(listed, plain):
            return orjson.loads(plain)
    except ValueError:
        pass
    raise _refused()


def page_of(
    items: Sequence[T], name: Callable[[T], str], listed: str, size: int, token: str
) -> tuple[Sequence[T], str]:
    """Cut a page out of a list that is at hand; returns it with the next one's token, or "".

    Args:
        items: in the order of the list.
        name: of an item, unlike every other's.
        listed: as in ``write_token``.
        size: how many at most; 0 asks for the usual.
        token: from the page before; "" = from the start.

    Raises:
        Invalid: ``PAGE_SIZE``, ``PAGE_TOKEN``, also where the page before ended with an item
            that is gone.
    """
    most, last = page_size(size), read_token(listed, token, None)
    names = [name(i) for i in items]
    if last is not None and last not in names:
        raise _refused()
    start = 0 if last is None else names.index(last) + 1
    end = start + most
    return items[start:end], write_token(listed, names[end - 1]) if end < len(items) else ""


def _refused() -> Invalid:
    return Invalid(
        "PAGE_TOKEN",
        "the token comes from no answer to this question",
        hint="start again without a token, or ask with the same filters as before",
        details={"field:page_token": "of the answer before"},
    )


def _check(listed: str, plain: bytes) -> bytes:
    return digest_bytes(listed.encode() + b"\0" + plain)[:_CHECK].encode()
