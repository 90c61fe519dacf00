"""Plain calls to a real API server, for the harness that stands beside the code under test."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json"


class Refused(Exception):
    """The server's answer is an error."""

    def __init__(self, status: int, body: str):
        super().__init__(f"{status}: {body[:500]}")
        self.status = status


class Rest:
    """JSON in, JSON out; who we are is a certificate or a token.

    Args:
        server: ``https://127.0.0.1:6443``.
        authority: file of the server's certificate authority.
        files: our certificate and its key, or None.
        token: of a service account, or "".
    """

    def __init__(
        self,
        server: str,
        authority: Path,
        *,
        files: tuple[Path, Path] | None = None,
        token: str = "",
    ):
        cert, key = (None, None) if files is None else map(str, files)
        self.server = server
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.pool = urllib3.PoolManager(
            ca_certs=str(authority), cert_file=cert, key_file=key, maxsize=16, retries=False
        )

    def call(self, method, path, body=None, *, kind=JSON, **query):
        """Ask; returns the answer's object, or its text when it is no JSON.

        Raises:
            Refused: any status of 400 and more.
            urllib3.exceptions.HTTPError: there was no answer.
        """
        answer = self.pool.request(
            method,
            f"{self.server}{path}{'?' if query else ''}{urlencode(query)}",
            body=None if body is None else json.dumps(body),
            headers={**self.headers, "Content-Type": kind},
            timeout=30.0,
        )
        text = answer.data.decode(errors="replace")
        if answer.status >= 400:
            raise Refused(answer.status, text)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def get(self, path, **query):
        return self.call("GET", path, **query)

    def post(self, path, body, **query):
        return self.call("POST", path, body, **query)

    def ensure(self, path, body, **query):
        """Create what may be there already."""
        try:
            self.post(path, body, **query)
        except Refused as error:
            if error.status != 409:
                raise

    def watch(self, path, version, **query) -> Iterator[tuple[str, dict[str, Any]]]:
        """Stream what happens after a version, for a minute at most; ends when it is cut."""
        options = {**query, "watch": "1", "resourceVersion": version, "timeoutSeconds": "60"}
        response = self.pool.request(
            "GET",
            f"{self.server}{path}?{urlencode(options)}",
            headers=self.headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=10.0, read=90.0),
        )
        try:
            if response.status >= 400:
                raise Refused(response.status, response.data.decode(errors="replace"))
            rest = b""
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Refused(event["object"].get("code", 500), str(event["object"]))
                    yield event["type"], event["object"]
        finally:
            response.close()
            response.release_conn()


def until(condition, what: str, timeout_s: float = 120.0):
    """Wait for something; returns the first true answer."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.1)
    return found
