"""`mien run` on one's own folders."""

from __future__ import annotations

from mien.imaging.encode import encode_png

from .conftest import picture


def stamps(project):
    """When each output was written."""
    files = [p for p in (project.root / "data").rglob("*") if p.is_file()]
    return {str(p): p.stat().st_mtime_ns for p in files}


def test_run_notices_what_changed(project):
    """To a verdict; again, nothing; a photo exchanged, everything that depends on it."""
    said = project.done("run")
    assert "steps: " in said.out
    assert (project.root / "report/index.html").stat().st_size > 10_000
    before = stamps(project)
    project.done("run")
    assert stamps(project) == before
    (project.root / "faces/anger/s001_0.png").write_bytes(encode_png(picture("another")))
    project.done("run")
    after = stamps(project)
    for output in ("ingest/faces/version.json", "sweep/trials.json", "decide/decision.json"):
        path = str(project.root / "data" / output)
        assert after[path] != before[path]
