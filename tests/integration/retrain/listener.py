"""A small HTTP server that keeps what it is told and answers as it is bidden."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WITHIN_S = 60.0


@dataclass
class Listener:
    """What came, and what is answered.

    Attributes:
        url: of the server.
        requests: (method, path with query, headers, body) in order.
        answers: (method, path without query) → value, or a status; asked in turn when a list.
    """

    url: str = ""
    requests: list[Any] = field(default_factory=list)
    answers: dict[Any, Any] = field(default_factory=dict)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def answer(self, method, path):
        """Status and value of the next answer."""
        found = self.answers.get((method, path.partition("?")[0]), 404)
        if isinstance(found, list) and found and isinstance(found[0], tuple):
            found = found.pop(0)[0] if len(found) > 1 else found[0][0]
        return (found, {}) if isinstance(found, int) else (200, found)

    def wait_for(self, count):
        """Wait until so many requests have come; returns them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, WITHIN_S)
            return list(self.requests)


@contextmanager
def listening():
    """Serve on a free loopback port."""
    heard = Listener()

    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, value = heard.answer(self.command, self.path)
            with heard.arrived:
                heard.requests.append((self.command, self.path, dict(self.headers), body))
                heard.arrived.notify_all()
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _any  # noqa: N815  as the library calls them

        def log_message(self, *_given):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    heard.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
