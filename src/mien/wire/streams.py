"""Streams and pages of a client: errors at the call, nothing left open, everything asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from mien.wire.channel import translated

# A server sends this as soon as it has looked at a request and nothing is wrong with it. Else the
# caller only knows when the first answer comes.
ACCEPTED: tuple[tuple[str, str], ...] = (("x-accepted", "1"),)
In = TypeVar("In")
Out = TypeVar("Out")
Answer = TypeVar("Answer", bound="_Page")


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


def begun(call: Any, read: Callable[[Any], Out]) -> Iterator[Out]:
    """Read the answers of a stream; an error of the call itself is raised here, at once.

    Args:
        call: just started; cancelled when nobody wants the rest.
        read: turns a message into a domain word.
    """
    try:
        with translated():
            accepted = {str(key) for key, _ in call.initial_metadata() or ()}
            first = () if ACCEPTED[0][0] in accepted else tuple(_some(call, 1))
    except BaseException:
        call.cancel()
        raise
    return _rest(call, chain(first, call), read)


def _some(messages: Iterable[Any], count: int) -> Iterator[Any]:
    for _, message in zip(range(count), messages, strict=False):
        yield message


def _rest(call: Any, messages: Iterable[Any], read: Callable[[Any], Out]) -> Iterator[Out]:
    try:
        with translated():
            for message in messages:
                yield read(message)
    finally:
        call.cancel()


def pages(call: Callable[[Any], Answer], request: Any) -> Iterator[Answer]:
    """Ask for page after page, as far as they are wanted.

    Args:
        call: asks for one.
        request: for the first, with ``page_token``; changed.
    """
    while True:
        with translated():
            answer = call(request)
        yield answer
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


class Outgoing(Generic[In, Out]):
    """Messages made from what a caller gives, on gRPC's thread; the caller's errors come back.

    gRPC would only say "exception iterating requests". Here the stream just ends where the error
    is, and whoever waits for the answer raises it.

    Args:
        given: what is to be sent.
        write: turns it into messages.
    """

    def __init__(self, given: Iterable[In], write: Callable[[Iterator[In]], Iterator[Out]]) -> None:
        self._given = given
        self._write = write
        self._error: BaseException | None = None
        self._over = False

    def __iter__(self) -> Iterator[Out]:
        try:
            for message in self._write(iter(self._given)):
                if self._over:
                    return
                yield message
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  raised again by ``blame``
            self._error = error

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Raise the caller's own error instead of what the server made of its broken stream.

        When the block is left nothing more is read.
        """
        try:
            yield
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._over = True
        if self._error is not None:
            raise self._error
