"""The report as a comment, over real HTTP."""

from __future__ import annotations

import json

import pytest

from mien.adapters.retrain.pull_request import LIMIT, PullRequests
from mien.core.errors import NotFound, Unauthenticated, Unavailable
from tests.integration.retrain.listener import listening

COMMENTS = "/repos/us/it/issues/7/comments"


@pytest.fixture
def server():
    """A server that answers as GitHub does."""
    with listening() as heard:
        yield heard


def test_the_first_comment_is_written_and_then_written_anew(server):
    """One comment a branch, found by what is hidden in it; the token goes along."""
    ours = PullRequests(server.url, "us/it", "secret")
    server.answers[("GET", COMMENTS)] = []
    server.answers[("POST", COMMENTS)] = {"html_url": "there"}
    assert ours.comment(7, "mien-retrain retrain/main", "# Report") == "there"
    *_, (method, path, headers, body) = server.requests
    assert (method, path, headers["Authorization"]) == ("POST", COMMENTS, "Bearer secret")
    written = json.loads(body)["body"]
    assert written.endswith("# Report")
    others = [{"id": 1, "body": "hello"}, {"id": 2, "body": written}]
    server.answers[("GET", COMMENTS)] = others
    server.answers[("PATCH", "/repos/us/it/issues/comments/2")] = {"html_url": "again"}
    assert ours.comment(7, "mien-retrain retrain/main", "x" * 2 * LIMIT) == "again"
    assert len(json.loads(server.requests[-1][3])["body"]) == LIMIT


def test_the_branch_has_one_pull_request(server):
    """The open one, or a new one."""
    ours = PullRequests(server.url, "us/it", "secret")
    server.answers[("GET", "/repos/us/it/pulls")] = [{"number": 3}]
    assert ours.of_branch("retrain/main", "main", "Retraining") == 3
    assert "head=us%3Aretrain%2Fmain" in server.requests[-1][1]
    server.answers[("GET", "/repos/us/it/pulls")] = []
    server.answers[("POST", "/repos/us/it/pulls")] = {"number": 4}
    assert ours.of_branch("retrain/main", "main", "Retraining") == 4


def test_what_fails_is_said(server):
    """A server in trouble is asked again; a wrong token or number is not."""
    ours = PullRequests(server.url, "us/it", "secret")
    server.answers[("GET", COMMENTS)] = [(503,), (503,), ([],)]
    server.answers[("POST", COMMENTS)] = {"html_url": "there"}
    assert ours.comment(7, "m", "text") == "there"
    for status, kind in ((401, Unauthenticated), (403, Unauthenticated), (404, NotFound)):
        server.answers[("GET", COMMENTS)] = status
        with pytest.raises(kind):
            ours.comment(7, "m", "text")
    server.answers[("GET", COMMENTS)] = 500
    with pytest.raises(Unavailable, match="status 500"):
        ours.comment(7, "m", "text")
    with pytest.raises(Unavailable, match="PULL_REQUEST_SERVER"):
        PullRequests("http://127.0.0.1:9", "us/it", "secret").comment(7, "m", "text")
