"""Plays the runner: a bare git remote, a folder for the data, clones, and `mien retrain` in them.

The pipeline is the project's own, without generators to train, and with parameters so small that
all of it takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from mien.adapters.mlflow.models import MlflowModels
from mien.core.serving import CHALLENGER, MODEL
from tests.integration.serving.tiny import SIDE, tiny_package

ROOT = Path(__file__).resolve().parents[3]
METRICS = ("data/metrics/summary.json", "data/metrics/decision.json", "data/plots/curve.csv")
LEFT_OUT = ("train_generator", "judge_generator")
PARAMS = {
    "experiment": "tiny",
    "expressions": ["anger", "disgust", "fear", "happiness", "sadness", "surprise"],
    "morphable": "builtin",
    "ingest": {
        "lab": {"reader": "demo_lab", "params": {"subjects": 24, "seed": 0}},
        "blind": {"reader": "demo_blind", "params": {"subjects": 8, "seed": 0}},
    },
    "split": {"database": "lab", "counts": {"train": 12, "validation": 6, "test": 6}, "seed": 0},
    "synthesise": {
        "invented": {
            "engine": "affect",
            "identities": "invented",
            "units": 1,
            "seed": 0,
            "params": {"size_px": 32},
        }
    },
    "preprocess": {
        "detector": "none",
        "size_px": SIDE,
        "channels": "gray",
        "eye_line": 0.36,
        "eye_distance": 0.4,
        "min_score": 0.5,
        "sets": {"lab": "ingest/lab", "blind": "ingest/blind", "invented": "synthesise/invented"},
    },
    "sweep": {
        "pools": ["invented"],
        "ratios": [1],
        "seeds": 2,
        "protocols": ["steps"],
        "mixed_test_identities": 0,
        "plain_baseline": False,
        "classifier": {"network": "small", "width": 0.25},
        "steps": {"kimg": 1.0, "batch": 32, "evaluations": 2},
    },
    "evaluate": {"blind": ["blind"], "development": []},
    "decide": {"select_on": "validation", "min_effect": 0.02},
    "report": {"title": "Tiny"},
    "gate": {"set": "blind", "margin": 0.9, "recall_drop": 1.0, "max_ece": 1.0},
}


def pipeline():
    """The project's ``dvc.yaml`` without the stages left out, and without what needs them."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in LEFT_OUT:
        del stages[name]
    for stage in stages.values():
        body = stage.get("do", stage)
        body["deps"] = [d for d in body["deps"] if not any(n in d for n in LEFT_OUT)]
    return {"stages": stages}


def one_stage():
    """The same work as one stage, ``mien run``: a process instead of twelve."""
    stages = pipeline()["stages"]
    outs = [o for s in stages.values() for o in _outs(s) if isinstance(o, str)]
    kept = [{o: {"cache": False}} for o in METRICS]
    run = {"cmd": "mien run", "params": [{"params.yaml": None}], "outs": [*outs, *kept]}
    return {"stages": {"run": run}}


def _outs(stage):
    """Outputs of a stage with its templates filled in."""
    body = stage.get("do", stage)
    names = [""]
    if "foreach" in stage:
        section = PARAMS
        for part in stage["foreach"].strip("${}").split("."):
            section = section[part]
        names = list(section)
    flat = [o if isinstance(o, str) else next(iter(o)) for o in body["outs"]]
    return [o.replace("${key}", name) for name in names for o in flat]


def git(folder, *argv):
    """Run git; returns what it says."""
    return subprocess.run(
        ["git", "-c", "user.name=A Person", "-c", "user.email=person@example.org", *argv],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@dataclass(frozen=True)
class Play:
    """The scene: who is where.

    Attributes:
        folder: everything lies below it.
    """

    folder: Path

    @property
    def origin(self):
        """The bare git remote."""
        return self.folder / "origin.git"

    @property
    def data(self):
        """The remote of the data."""
        return self.folder / "remote"

    def env(self, name="runner"):
        """What a runner's environment says; tracking is shared, caches are not."""
        return {
            **os.environ,
            "MIEN_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MIEN_CACHE": str(self.folder / f"{name}-cache"),
            "MIEN_EXECUTOR": "inline",
            "MIEN_WORKERS": "1",
            "MIEN_GRACE_S": "30",
            "OMP_NUM_THREADS": "1",
        }

    def clone(self, name="runner"):
        """A fresh clone, as a runner has it."""
        git(self.folder, "clone", "-q", str(self.origin), name)
        return self.folder / name

    def start(self, clone, *argv, before=(), env=None):
        """Start `mien retrain` in a clone."""
        return subprocess.Popen(
            [sys.executable, "-m", "mien", *before, "retrain", *argv],
            cwd=clone,
            env=self.env(clone.name) | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def retrain(self, clone, *argv, env=None):
        """Run `mien retrain` in a clone; returns (exit code, all it said)."""
        process = self.start(clone, *argv, env=env)
        out, err = process.communicate()
        return process.returncode, out + err

    @property
    def models(self):
        """The registry that all share."""
        return MlflowModels(f"sqlite:///{self.folder}/mlflow.db")

    def challenger(self):
        """Version of the challenger."""
        return self.models.pointed(MODEL, CHALLENGER)

    def weak_challenger(self):
        """Register a model that knows nothing, for the first one to be compared with."""
        return self.models.register(MODEL, tiny_package(self.folder / "weak", 1).folder)

    def tip(self, branch="retrain/main"):
        """Where a branch of the remote is; "" = nowhere."""
        said = git(self.folder, "ls-remote", str(self.origin), f"refs/heads/{branch}")
        return said.split("\t")[0]

    def shown(self, branch, path):
        """A file of a branch of the remote."""
        return git(self.origin, "show", f"{branch}:{path}")


def set_scene(folder, params=None, stages=None, files=None):
    """Make the remotes, with a project on ``main`` and further files in it."""
    play = Play(folder)
    git(folder, "init", "-q", "--bare", "-b", "main", str(play.origin))
    author = folder / "author"
    git(folder, "init", "-q", "-b", "main", str(author))
    play.data.mkdir()
    (author / ".dvc").mkdir()
    (author / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = storage\n"
        f"['remote \"storage\"']\n    url = {play.data}\n    verify = true\n"
    )
    (author / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (author / ".gitignore").write_text("/data/\n/runs/\n/report/\n/spool/\n/server/\n/registry/\n")
    (author / "params.yaml").write_text(yaml.safe_dump(params or PARAMS, sort_keys=False))
    (author / "dvc.yaml").write_text(yaml.safe_dump(stages or pipeline(), sort_keys=False))
    for name, text in (files or {}).items():
        (author / name).write_text(text)
    (author / "src").symlink_to(ROOT / "src")
    git(author, "add", "-A")
    git(author, "commit", "-q", "-m", "A project")
    git(author, "remote", "add", "origin", str(play.origin))
    git(author, "push", "-q", "origin", "main")
    return play
