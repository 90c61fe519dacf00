"""Small projects on disk, and the command line run in them as a user would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from mien.cli.main import run
from mien.imaging.encode import encode_png

CLASSES = ("anger", "happiness")


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def picture(*names, size_px=24):
    """Noise that depends on the names: another picture for everybody."""
    seed = [ord(c) for c in "/".join(map(str, names))]
    return np.random.default_rng(seed).integers(0, 256, (size_px, size_px), dtype=np.uint8)


def write_faces(root, subjects=7, *, first=0, classes=CLASSES, images=1):
    """Write ``<class>/s<subject>_<n>.png``."""
    for label in classes:
        (root / label).mkdir(parents=True, exist_ok=True)
        for subject in range(first, first + subjects):
            for n in range(images):
                data = encode_png(picture(root.name, label, subject, n))
                (root / label / f"s{subject:03d}_{n}.png").write_bytes(data)
    return root


def tree(root, cache):
    """Name every file with its size: what a refused command must not change.

    Sets decoded into the cache are whole, named by digest and used by the next try; notes are
    of runs, not of results.
    """
    files = [p for folder in (root, cache) for p in sorted(folder.rglob("*")) if p.is_file()]
    kept = {cache / "arrays", root / "data/notes"}
    return {
        str(p): p.stat().st_size
        for p in files
        if not kept.intersection(p.parents) or any(part.startswith(".") for part in p.parts)
    }


class Project:
    """A project folder with its own cache; the current folder of the test."""

    def __init__(self, root: Path, cache: Path, capsys) -> None:
        self.root = root
        self.cache = cache
        self._capsys = capsys

    def params(self, **sections):
        """Write params.yaml: real faces under faces/, a synthetic pool under pool/."""
        value = {
            "experiment": "bad input",
            "expressions": list(CLASSES),
            "ingest": {
                "faces": _folder("faces", source="mine"),
                "pool": _folder("pool", source="made") | {"origin": "synthetic"},
            },
            "split": {"database": "faces", "counts": {"train": 3, "validation": 2, "test": 2}},
            "preprocess": {
                "size_px": 16,
                "sets": {"faces": "ingest/faces", "pool": "ingest/pool"},
            },
            "sweep": {
                "pools": ["pool"],
                "ratios": [1],
                "seeds": 2,
                "plain_baseline": False,
                "classifier": {"network": "small", "width": 0.25},
                "steps": {"kimg": 0.05, "batch": 8, "evaluations": 1},
            },
        }
        for name, section in sections.items():
            old = value.get(name)
            value[name] = {**old, **section} if isinstance(old, dict) else section
        (self.root / "params.yaml").write_text(yaml.safe_dump(value))
        return self

    def database(self, name, root, **changes):
        """Return a database of the reader folder, and a set of the same name."""
        return {name: _folder(root, source=name) | changes}

    def mien(self, *argv):
        """Run a command line in this process."""
        self._capsys.readouterr()
        code = run(["--quiet", *argv])
        return Said(code, *self._capsys.readouterr())

    def done(self, *argv):
        """Run a command that must succeed."""
        said = self.mien(*argv)
        assert said.code == 0, said.err
        return said

    def until(self, *verbs):
        """Run stages that must succeed."""
        for verb in verbs:
            self.done(*verb.split())
        return self

    def refused(self, *argv, code=2, says=()):
        """Run a command that must fail: one sentence, one hint, its code, nothing written."""
        before = tree(self.root, self.cache)
        said = self.mien(*argv)
        assert said.code == code, said.err
        assert "Traceback" not in said.err
        (error,) = [line for line in said.err.splitlines() if line.startswith("mien: error: ")]
        (hint,) = [line for line in said.err.splitlines() if line.startswith("mien: hint: ")]
        for word in says:
            assert word in error, error
        assert len(hint) > len("mien: hint: ") + 10
        assert tree(self.root, self.cache) == before, "a refused command left something behind"
        return said


def _folder(root, *, source):
    subject = r"(s\d+)_\d+\.png"
    return {"reader": "folder", "root": root, "params": {"source": source, "subject": subject}}


@pytest.fixture
def project(tmp_path, monkeypatch, capsys):
    """A project with seven people's faces and a pool of seven made ones, nothing ingested yet."""
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    root, cache = tmp_path / "project", tmp_path / "cache"
    root.mkdir()
    cache.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("MIEN_CACHE", str(cache))
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    monkeypatch.setenv("MIEN_EXECUTOR", "inline")
    monkeypatch.setenv("MIEN_WORKERS", "1")
    write_faces(root / "faces")
    write_faces(root / "pool")
    return Project(root, cache, capsys).params()
