"""What the verb does around a retraining: the comment, the outputs of a step, the registration."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien.adapters.retrain.branch import RetrainBranch
from mien.cli.retrain_verb import _comment, _tell
from mien.compose import make_context
from mien.core.errors import Invalid, Unauthenticated
from mien.params.project import parse_params
from mien.stages.retrain_doors import Outcome
from tests.integration.retrain.listener import listening
from tests.integration.retrain.runner import PARAMS, git

REPORT = "# Report\n\n![accuracy](curve.png)\n"
PULLS = "/repos/us/it/pulls"


@pytest.fixture
def doors(tmp_path):
    """A clone whose retraining branch nobody has pushed yet."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "-q", "-b", "main")
    (clone / "params.yaml").write_text("a: 1\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "first")
    return SimpleNamespace(branch=RetrainBranch(clone))


def test_the_report_goes_to_the_pull_request_of_the_branch(doors, tmp_path, monkeypatch):
    """Opened where there is none; its pictures are those of the commit; the token comes by file."""
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    monkeypatch.setenv("GITHUB_REPOSITORY", "us/it")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://forge.example")
    with listening() as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        assert _comment(doors, "auto", REPORT, token) == ""  # nothing was pushed: nobody to tell
        file = doors.branch.project / "params.yaml"
        made = doors.branch.publish({"params.yaml": file}, "Retrain", key="k", tip="")
        server.answers[("GET", PULLS)] = []
        server.answers[("POST", PULLS)] = 422
        assert _comment(doors, "auto", REPORT, token) == ""  # nothing to merge
        server.answers[("POST", PULLS)] = {"number": 7}
        server.answers[("GET", "/repos/us/it/issues/7/comments")] = []
        server.answers[("POST", "/repos/us/it/issues/7/comments")] = {"html_url": "there"}
        for asked in ("auto", "7"):
            assert _comment(doors, asked, REPORT, token) == "there"
        *_, (_, _, headers, body) = server.requests
    assert headers["Authorization"] == "Bearer t0ken"
    written = json.loads(body)["body"]
    assert written.startswith("<!-- mien-retrain retrain/main -->")
    place = f"https://forge.example/us/it/raw/{made.commit}/data/metrics/retrain/curve.png"
    assert f"![accuracy]({place})" in written


def test_what_a_comment_needs_is_said(doors, tmp_path, monkeypatch):
    """The repository and a token; an empty file is none."""
    for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Invalid, match="NO_REPOSITORY"):
        _comment(doors, "7", REPORT, None)
    monkeypatch.setenv("GITHUB_REPOSITORY", "us/it")
    (tmp_path / "empty").touch()
    for file in (None, tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(Unauthenticated, match="NO_TOKEN"):
            _comment(doors, "7", REPORT, file)


def test_the_next_step_of_a_workflow_hears_what_came_of_it(tmp_path, capsys):
    """Lines of key and value, behind what others wrote."""
    file = tmp_path / "outputs"
    file.write_text("other=1\n")
    _tell(Outcome("promoted", Path("report.md"), "expression/7", "abc"), file)
    assert file.read_text() == (
        "other=1\nstate=promoted\nmodel=expression/7\ncommit=abc\nreport=report.md\n"
    )
    _tell(Outcome("refused", Path("report.md"), why="recall: worse"), None)
    assert "refused by the gate: recall: worse" in capsys.readouterr().out


def test_the_pipeline_of_a_retraining_registers_nobody(tmp_path, monkeypatch):
    """A challenger that `decide` moved would be one whose data was never pushed."""
    monkeypatch.chdir(tmp_path)
    params = parse_params(PARAMS)
    monkeypatch.setenv("MIEN_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert make_context(params).models is not None
    monkeypatch.setenv("MIEN_REGISTER_MODELS", "false")
    assert make_context(params).models is None
