"""Downloads: checked, resumed, whole or absent; against a real local server that misbehaves."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from mien.adapters.assets import download
from mien.adapters.assets.download import fetch
from mien.core.errors import Corrupt, Exhausted, Interrupted, NotFound, Unavailable
from mien.core.hooks import never_cancelled

BODY = bytes(range(256)) * 5000
SENT, KEPT = 200_000, 3 * 65536  # whole pieces are kept of what was sent
RIGHT = hashlib.sha256(BODY).hexdigest()


class Upstream:
    """A server whose answers a test scripts; it remembers what was asked."""

    def __init__(self, server):
        self.url = f"http://127.0.0.1:{server.server_port}/file.bin"
        self.script = []
        self.ranges = []


@pytest.fixture
def upstream():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            behave = state.script.pop(0) if state.script else whole
            behave(self, int(asked[6:-1]) if asked else 0)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Upstream(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def answer(handler, code, body, headers=(), length=None):
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler, start):
    """Serve ranges properly."""
    if start >= len(BODY):
        answer(handler, 416, b"")
    elif start:
        where = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        answer(handler, 206, BODY[start:], [("Content-Range", where)])
    else:
        answer(handler, 200, BODY)


def truncated(handler, start):
    """Promise all, send a part, hang up."""
    answer(
        handler,
        200 if not start else 206,
        BODY[start : start + SENT],
        [("Content-Range", f"bytes {start}-")] if start else (),
        length=len(BODY) - start,
    )
    handler.close_connection = True


def without_ranges(handler, start):
    answer(handler, 200, BODY)


def other_range(handler, start):
    answer(handler, 206, BODY, [("Content-Range", f"bytes 0-{len(BODY) - 1}/{len(BODY)}")])


def changed(handler, start):
    answer(handler, 200, b"evil" + BODY[4:])


def status(code):
    return lambda handler, _start: answer(handler, code, b"")


def get(upstream, target, **options):
    options = {"sha256": RIGHT, "cancelled": never_cancelled, **options}
    waits = []
    with requests.Session() as session:
        found = fetch(session, upstream.url, target, sleep=waits.append, **options)
    return found, waits


@pytest.fixture
def target(tmp_path):
    return tmp_path / "deep" / "file.bin"


def nothing_left(target):
    return not target.exists() and not target.with_name("file.bin.part").exists()


def test_a_file_arrives(upstream, target):
    """The bytes are right, the digest is returned, nothing else lies about."""
    assert get(upstream, target) == (RIGHT, [])
    assert target.read_bytes() == BODY
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


def test_what_is_there_is_not_fetched_but_checked(upstream, target):
    """A complete file is not fetched again; a damaged one is thrown away."""
    get(upstream, target)
    get(upstream, target)
    assert len(upstream.ranges) == 1
    target.write_bytes(b"damaged")
    with pytest.raises(Corrupt):
        get(upstream, target)
    assert nothing_left(target)


def test_an_unknown_digest_is_returned(upstream, target):
    """Without a known digest the file is taken and its digest told."""
    assert get(upstream, target, sha256=None)[0] == RIGHT


def test_a_wrong_digest_leaves_nothing(upstream, target):
    """Changed content is an error that names both digests, and is not kept."""
    upstream.script = [changed]
    with pytest.raises(Corrupt) as caught:
        get(upstream, target)
    assert caught.value.reason == "DOWNLOAD_DIGEST"
    assert caught.value.details["expected"] == RIGHT
    assert nothing_left(target)


def test_a_truncated_body_is_resumed(upstream, target):
    """A connection cut short is taken up where it broke."""
    upstream.script = [truncated, truncated, whole]
    _, waits = get(upstream, target)
    assert target.read_bytes() == BODY
    assert upstream.ranges == [None, f"bytes={KEPT}-", f"bytes={2 * KEPT}-"]
    assert len(waits) == 2
    assert waits[1] > waits[0] > 0


def test_a_server_that_always_breaks_is_given_up(upstream, target):
    """After some tries: Unavailable; the part is kept for the next time, never the file."""
    upstream.script = [truncated] * 20
    with pytest.raises(Unavailable):
        get(upstream, target)
    assert len(upstream.ranges) == download.TRIES
    assert not target.exists()
    upstream.script = []
    get(upstream, target)
    assert target.read_bytes() == BODY
    assert upstream.ranges[-1] == f"bytes={KEPT * download.TRIES}-"


@pytest.mark.parametrize("second", [without_ranges, other_range, status(416)])
def test_a_server_that_cannot_resume_sends_all_again(upstream, target, second):
    """No ranges, another range, or none satisfiable: the part is discarded, the file right."""
    upstream.script = [truncated, second, whole]
    get(upstream, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_a_passing_error_is_tried_again(upstream, target, code):
    """Server errors and rate limits pass."""
    upstream.script = [status(code), whole]
    get(upstream, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("code", [404, 403, 401, 410])
def test_a_missing_file_is_not_tried_again(upstream, target, code):
    """404 and its like: NotFound at once, naming the address."""
    upstream.script = [status(code)]
    with pytest.raises(NotFound) as caught:
        get(upstream, target)
    assert upstream.url in caught.value.message
    assert len(upstream.ranges) == 1
    assert nothing_left(target)


def test_nobody_listens(target, upstream):
    """A refused connection is Unavailable."""
    upstream.url = "http://127.0.0.1:1/file.bin"
    with pytest.raises(Unavailable):
        get(upstream, target)


def test_an_endless_file_is_stopped(upstream, target, monkeypatch):
    """More than the limit is refused and removed."""
    monkeypatch.setattr(download, "LIMIT_BYTES", 100_000)
    with pytest.raises(Exhausted):
        get(upstream, target)
    assert nothing_left(target)


def test_cancelled_downloads_go_on_later(upstream, target):
    """Ctrl-C in the middle: no half file under the real name; the next call resumes."""
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        get(upstream, target, cancelled=lambda: next(asked))
    assert not target.exists()
    get(upstream, target)
    assert target.read_bytes() == BODY
    assert upstream.ranges[-1].startswith("bytes=")
