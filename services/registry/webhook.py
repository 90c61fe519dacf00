"""Tell an address, in the background, that a version was committed or an alias moved.

The body is what GitHub's ``repository_dispatch`` takes, so the registry can start a retraining
without anything in between; whoever else listens checks the signature.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mien.core.errors import Invalid, NotFound

log = logging.getLogger(__name__)

EVENT = "mien-registry"
SIGNATURE = "X-Mien-Signature-256"
WAITING = 1000  # events; more are dropped, aloud
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)  # between tries
TIMEOUT_S = 10.0
CLOSE_S = 5.0  # at most, of the time that a server has to end


@dataclass(frozen=True, slots=True)
class Event:
    """What happened.

    Attributes:
        kind: ``version`` was committed, ``alias`` was moved.
        name: of the version.
        digest: of the version.
        alias: that was moved, or "".
    """

    kind: Literal["version", "alias"]
    name: str
    digest: str
    alias: str = ""

    def body(self) -> bytes:
        """The JSON that is sent; ``dataset`` is what ``mien retrain --dataset`` takes."""
        payload = {
            "kind": self.kind,
            "name": self.name,
            "digest": self.digest,
            "alias": self.alias,
            "dataset": f"{self.name}={self.name}@{self.digest}",
        }
        return json.dumps({"event_type": EVENT, "client_payload": payload}).encode()


def nobody(_event: Event) -> None:
    """Tell nobody."""


class Webhook:
    """Posts events to one address, in order, one at a time; never in the way of a call.

    What is still waiting when the process ends is lost: the next event, or the schedule, starts
    the retraining that this one would have.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes = b"",
        token: str = "",
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """Start the thread that posts.

        Args:
            url: http(s) address.
            secret: signs the body (HMAC-SHA256); b"" = no signature.
            token: sent as bearer; "" = none.
            pauses_s: before each further try.

        Raises:
            Invalid: ``WEBHOOK_URL``.
        """
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise Invalid("WEBHOOK_URL", f"{url!r} is no http(s) address", hint="correct it")
        self.url, self._secret, self._token, self._pauses_s = url, secret, token, pauses_s
        self._events: queue.Queue[Event | None] = queue.Queue(WAITING)
        self._stopping, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Have an event posted; returns at once."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            log.warning("webhook", extra={"what": "dropped: too many wait", "of": event.name})

    def close(self, within_s: float) -> None:
        """Post what waits, each once more at most, and end; what is left by then is dropped."""
        until = time.monotonic() + within_s
        self._stopping.set()
        with suppress(queue.Full):
            self._events.put(None, timeout=max(within_s, 0.0))
        self._thread.join(max(until - time.monotonic(), 0.0))
        self._over.set()
        if self._thread.is_alive():
            log.warning("webhook", extra={"what": "dropped at the end", "n": self._events.qsize()})

    def headers(self, body: bytes) -> dict[str, str]:
        """Say what is sent with a body."""
        found = {"Content-Type": "application/json", "User-Agent": "mien-registry"}
        if self._secret:
            found[SIGNATURE] = signature(self._secret, body)
        if self._token:
            found["Authorization"] = f"Bearer {self._token}"
        return found

    def _work(self) -> None:
        while (event := self._events.get()) is not None and not self._over.is_set():
            self._post(event)

    def _post(self, event: Event) -> None:
        body = event.body()
        headers = self.headers(body)
        for pause_s in (0.0, *self._pauses_s):
            if pause_s and self._stopping.wait(pause_s):
                break
            problem = _try(self.url, body, headers)
            if problem is None:
                log.info("webhook", extra={"what": "told", "of": event.name, "kind": event.kind})
                return
            log.warning("webhook", extra={"what": problem, "of": event.name})
        log.error("webhook", extra={"what": "given up", "of": event.name, "digest": event.digest})


def signature(secret: bytes, body: bytes) -> str:
    """Sign a body as ``sha256=<hex>``; receivers compare with ``hmac.compare_digest``."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def open_webhook(
    url: str, secret_file: Path | None, token_file: Path | None
) -> tuple[Callable[[Event], None], Callable[[float], None]]:
    """Return what to tell events to, and what ends it; nobody is told where no address is given.

    Raises:
        NotFound: ``WEBHOOK_FILE``. Invalid: ``WEBHOOK_URL``.
    """
    if not url:
        return nobody, lambda _within_s: None
    hook = Webhook(url, secret=_read(secret_file), token=_read(token_file).decode())
    return hook.tell, lambda within_s: hook.close(min(within_s, CLOSE_S))


def _read(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise NotFound(
            "WEBHOOK_FILE",
            f"{file} cannot be read: {error.strerror}",
            hint="MIEN_SERVER_WEBHOOK_SECRET_FILE and …_TOKEN_FILE name files with one line",
        ) from None


def _try(url: str, body: bytes, headers: Mapping[str, str]) -> str | None:
    """Post once; returns what went wrong, or None. An address that moved is not followed."""
    import requests

    try:
        said = requests.post(
            url, data=body, headers=dict(headers), timeout=TIMEOUT_S, allow_redirects=False
        )
    except requests.RequestException as error:
        return type(error).__name__  # never the address: it may hold a secret
    return None if said.status_code < 300 else f"status {said.status_code}"
