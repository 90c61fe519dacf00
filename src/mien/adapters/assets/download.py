"""Fetch files over HTTP: checked, resumed where it was interrupted, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import requests

from mien.core.errors import Corrupt, Exhausted, Interrupted, MienError, NotFound, Unavailable
from mien.core.hooks import Cancelled

log = logging.getLogger(__name__)

CONNECT_S, READ_S = 10.0, 60.0
TRIES = 4
LIMIT_BYTES = 64 << 20  # no file of ours is larger; an endless answer must not fill the disk
_PIECE = 1 << 16


def fetch(
    session: requests.Session,
    url: str,
    target: Path,
    *,
    sha256: str | None,
    cancelled: Cancelled,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Download a file unless it is there; returns its SHA-256.

    Args:
        session: connections to reuse.
        url: of the file.
        target: appears only when complete and right.
        sha256: what it must be, or None when that is not known.
        cancelled: asked between pieces.
        sleep: waits between tries.

    Raises:
        NotFound: ``DOWNLOAD_NOT_FOUND``.
        Unavailable: ``DOWNLOAD_FAILED`` after several tries.
        Exhausted: ``DOWNLOAD_TOO_LARGE``.
        Corrupt: ``DOWNLOAD_DIGEST``; nothing of it is kept.
        Interrupted: when cancelled; a later call goes on where this one stopped.
    """
    if not target.exists():
        part = target.with_name(target.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch_part(session, url, part, cancelled, sleep)
        _check(part, url, sha256)
        part.replace(target)
    return _check(target, url, sha256)


def _fetch_part(
    session: requests.Session,
    url: str,
    part: Path,
    cancelled: Cancelled,
    sleep: Callable[[float], None],
) -> None:
    last: Exception | None = None
    for attempt in range(TRIES):
        if attempt:
            sleep(0.5 * 2**attempt)
        try:
            _append(session, url, part, cancelled)
        except (requests.RequestException, _Again) as error:
            last = error
            log.info("download interrupted, going on: %s", error)
        else:
            return
    raise Unavailable(
        "DOWNLOAD_FAILED",
        f"{url} could not be fetched in {TRIES} tries: {last}",
        hint="try again later, it goes on where it stopped; or set MIEN_ASSET_MIRROR",
    )


class _Again(Exception):
    """The server may answer better next time."""


def _append(session: requests.Session, url: str, part: Path, cancelled: Cancelled) -> None:
    """Ask for what is missing and append it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as answer:
        if answer.status_code == 416:  # there is nothing beyond what we have, or it is not ours
            part.unlink()
            raise _Again("the server has no such range")
        _check_status(answer, url)
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise _Again("the server sent another range")
        with part.open("ab" if resumed else "wb") as file:
            for piece in answer.iter_content(_PIECE):
                file.write(piece)
                _check_size(file.tell(), url, part)
                if cancelled():
                    raise Interrupted("download stopped")


def _check_status(answer: requests.Response, url: str) -> None:
    code = answer.status_code
    if code in (408, 429) or code >= 500:
        raise _Again(f"the server answered {code}")
    if code not in (200, 206):
        raise NotFound(
            "DOWNLOAD_NOT_FOUND",
            f"{url}: the server answered {code} {answer.reason}",
            hint="the upstream or mirror does not have it; set MIEN_ASSET_MIRROR to one that does",
        )


def _check_size(size: int, url: str, part: Path) -> None:
    if size > LIMIT_BYTES:
        part.unlink()
        raise Exhausted(
            "DOWNLOAD_TOO_LARGE",
            f"{url} is larger than {LIMIT_BYTES >> 20} MB",
            hint="check the address and MIEN_ASSET_MIRROR: no asset is that large",
        )


def _check(path: Path, url: str, sha256: str | None) -> str:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256:
        path.unlink()
        raise _wrong(url, sha256, found)
    return found


def _wrong(url: str, wanted: str, found: str) -> MienError:
    return Corrupt(
        "DOWNLOAD_DIGEST",
        f"{url} has SHA-256 {found[:16]}…, expected {wanted[:16]}…; it was thrown away",
        hint="somebody changed it on the way: use another mirror or network",
        details={"expected": wanted, "found": found},
    )
