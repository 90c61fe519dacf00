"""One small project, run once, looked at by many tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from mien.adapters.executors.local import InlineExecutor
from mien.compose import trial_here
from mien.core.hooks import never_cancelled, no_progress
from mien.params.project import parse_params
from mien.stages.context import Context
from mien.stages.pipeline import run_all

ROOT = Path(__file__).resolve().parents[2]


class Notes:
    """A tracker that remembers what it was told."""

    def __init__(self):
        self.runs = {}

    def start(self, experiment, name, *, parent=None):
        self.runs[f"run{len(self.runs)}"] = {"name": name, "parent": parent}
        return f"run{len(self.runs) - 1}"

    def update(self, run, images_seen, metrics):
        self.runs[run].setdefault("live", []).append((images_seen, metrics))

    def finish(self, run, data, *, status="FINISHED"):
        files = sorted(p.name for p in data.artifacts.iterdir()) if data.artifacts else []
        self.runs[run] |= {"data": data, "status": status, "files": files}


def make_context(root, cache, params, **changes):
    given = {
        "root": root,
        "base": ROOT,
        "params": parse_params(params),
        "cache": cache,
        "assets": None,
        "workers": 1,
        "tracker": Notes(),
        "executor": InlineExecutor(trial_here, cache / "logs"),
        "progress": no_progress,
        "cancelled": never_cancelled,
    }
    return Context(**(given | changes))


@pytest.fixture(scope="session")
def smoke_params():
    return yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text())


@pytest.fixture(scope="session")
def done(tmp_path_factory, smoke_params):
    """The smoke pipeline, run to its end."""
    folder = tmp_path_factory.mktemp("smoke")
    context = make_context(folder / "project", folder / "cache", smoke_params)
    run_all(context)
    return context


@pytest.fixture
def copy(done, tmp_path):
    """A copy of the finished project to change; the trial cache is shared with the original."""
    shutil.copytree(done.root, tmp_path / "project")
    return tmp_path / "project", done.cache
