"""Verbs started on behalf of another process: another folder, a marker, progress in a file."""

import json
from pathlib import Path

import pytest

from mien.cli.main import run
from mien.cli.progress import kept
from mien.core.hooks import Progress, no_progress

PARAMS = Path(__file__).parents[3] / "params" / "smoke.yaml"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Start in one folder while the project is another."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "params.yaml").write_text(PARAMS.read_text())
    start = tmp_path / "start"
    start.mkdir()
    monkeypatch.chdir(start)
    return start, project


def test_a_verb_works_in_another_folder(elsewhere, capsys):
    """--project is like starting there, and the next verb of this process starts here again."""
    start, project = elsewhere
    assert run(["--project", str(project), "params", "check"]) == 0
    assert "good" in capsys.readouterr().out
    assert Path.cwd() == start
    assert run(["params", "check"]) == 2


def test_success_leaves_the_marker(elsewhere):
    """--done leaves a file when the verb succeeded, and none when it failed."""
    start, project = elsewhere
    marker = start / "deep" / "done"
    assert run(["--done", str(marker), "params", "check"]) == 2
    assert not marker.exists()
    assert run(["--project", str(project), "--done", str(marker), "params", "check"]) == 0
    assert marker.exists()


def test_the_latest_progress_is_in_a_file(tmp_path):
    """The file holds a whole event, the last one in any case; nobody minds where it cannot be."""
    told = []
    file = tmp_path / "progress.json"
    hook = kept(told.append, file)
    for done in range(4):
        hook(Progress(done, 3.0, "kimg", "fit", {"loss": 0.5}))
    assert json.loads(file.read_text()) == {
        "done": 3,
        "total": 3.0,
        "unit": "kimg",
        "stage": "fit",
        "metrics": {"loss": 0.5},
    }
    assert len(told) == 4
    kept(told.append, tmp_path / "no" / "folder")(Progress(1))
    assert kept(no_progress, None) is no_progress
