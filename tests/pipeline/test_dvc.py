"""The pipeline as DVC sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path):
    """A copy of what DVC reads, without the data."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    )
    (tmp_path / "src").symlink_to(ROOT / "src")
    return tmp_path


def dvc(project, *argv):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *argv],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_database_pool_and_set_is_a_stage_in_order(project):
    """The templated stages resolve, and each depends on what it reads."""
    stages = dvc(project, "stage", "list", "--name-only").split()
    assert stages[0].startswith("ingest@")
    assert stages[-1] == "report"
    assert {"split", "synthesise@stack", "preprocess@lab", "sweep", "evaluate", "decide"} <= set(
        stages
    )
    edges = dvc(project, "dag", "--dot").replace('"', "")
    for before, after in (
        ("ingest@lab", "split"),
        ("train_generator@identities", "synthesise@stack"),
        ("train_generator@expressions", "synthesise@stack"),
        ("split", "synthesise@stack"),
        ("synthesise@stack", "preprocess@stack"),
        ("preprocess@stack", "sweep"),
        ("sweep", "evaluate"),
        ("evaluate", "decide"),
        ("decide", "report"),
    ):
        assert f"{before} -> {after}" in edges, edges


def test_every_parameter_that_a_stage_depends_on_is_in_the_file(project):
    """DVC fails in the middle of a run for a parameter that the file leaves to its default."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for key in stage.get("do", stage).get("params", []):
            section = params
            for part in [p for p in key.split(".") if not p.startswith("${")]:
                assert part in section, key
                section = section[part]
