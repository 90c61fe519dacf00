"""The doctor: every finding, the bad ones too, on a machine arranged by the test."""

import os
import shutil
import sqlite3
from collections import namedtuple

import pytest

from mien.adapters.mlflow.spool import Spool
from mien.cli import doctor
from mien.cli.doctor import examine, print_checks
from mien.settings import load_settings


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only(look, project):
    """Ask one question."""
    found = getattr(doctor, f"_{look}")(load_settings(project))
    return {c.name: c for c in (found if isinstance(found, list) else [found])}


def test_everything_is_looked_at(project, monkeypatch, capsys):
    """A whole examination on this machine: nothing broken, a readable table."""
    monkeypatch.setattr(doctor, "_tools", lambda _: [])
    checks = examine(project)
    assert {c.name for c in checks} >= {"gpu", "processor", "disk: cache", "asset ict"}
    assert [c for c in checks if c.state == "broken"] == []
    print_checks(checks, as_json=False)
    assert "everything required works" in capsys.readouterr().out


def test_a_check_that_fails_itself_is_a_finding(project, monkeypatch):
    """A sick machine does not stop the doctor."""

    def _memory(_):
        raise OSError("no /proc")

    looks = ("accelerator", "tools", "cascades", "libraries")
    for name in looks:
        monkeypatch.setattr(doctor, f"_{name}", lambda _: [])
    monkeypatch.setattr(doctor, "_memory", _memory)
    found = {c.name: c for c in examine(project)}["memory"]
    assert (found.state, found.found) == ("broken", "OSError: no /proc")


def test_bad_settings_are_the_first_finding(project, monkeypatch):
    """Nothing else makes sense before they are mended."""
    monkeypatch.setenv("MIEN_GRACE_S", "soon")
    (found,) = examine(project)
    assert found.state == "broken"
    assert "MIEN_GRACE_S" in found.found


def test_unknown_variables_are_missing_something(project, monkeypatch):
    """A typo in a variable's name is pointed out with what was meant."""
    monkeypatch.setenv("MIEN_ASETS", "/x")
    found = only("settings", project)["MIEN_ASETS"]
    assert found.state == "missing"
    assert "MIEN_ASSETS" in found.hint


def test_little_disk_and_no_right_to_write(project, monkeypatch):
    """Little space is pointed out; a folder that cannot be written to is broken."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9))
    assert only("disk", project)["disk: project"].state == "missing"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert only("disk", project)["disk: cache"].state == "broken"


def test_libraries_that_are_missing_or_of_another_release(project, monkeypatch):
    """Both are broken, and named."""
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda _: ["numpy<0.1", "no-such-library", "pytest>=1", 'ruff; extra == "dev"'],
    )
    found = only("libraries", project)["libraries"]
    assert found.state == "broken"
    assert "missing: no-such-library" in found.found
    assert "another release: numpy" in found.found
    assert "ruff" not in found.found


def test_tools_that_are_missing(project, monkeypatch):
    """Without git and make there is a hint, not a failure."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(doctor.sys, "executable", "/nonexistent/python")
    assert {c.state for c in only("tools", project).values()} == {"missing"}


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "postgresql://127.0.0.1:1/x"])
def test_a_tracking_server_that_does_not_answer(project, monkeypatch, uri):
    """Not broken: runs are kept; how many wait is said."""
    monkeypatch.setenv("MIEN_TRACKING_URI", uri)
    Spool(project / "spool").start("e", "n", None)
    found = only("tracking", project)["tracking"]
    assert found.state == "missing"
    assert "1 runs wait" in found.found


def test_tracking_switched_off(project, monkeypatch):
    """`none` is a choice, and said."""
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    assert "switched off" in only("tracking", project)["tracking"].found


def test_a_tracking_file_is_looked_into(project):
    """Absent is fine, a tracking database too; another database or junk is not."""
    assert only("tracking", project)["tracking"].state == "ok"
    file = project / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("create table other (x)")
    assert "not a tracking database" in only("tracking", project)["tracking"].found
    with sqlite3.connect(file) as database:
        database.execute("create table runs (x)")
    assert only("tracking", project)["tracking"].state == "ok"
    file.write_bytes(b"junk" * 1000)
    assert only("tracking", project)["tracking"].state == "missing"


def test_assets_present_missing_and_damaged(project, monkeypatch):
    """The detector's digest is known: other bytes under its name are damage."""
    home = project / "open"
    (home / "yunet").mkdir(parents=True)
    (home / "yunet/face_detection_yunet_2023mar.onnx").write_bytes(b"other")
    (home / "ict_facekit").mkdir()
    (home / "ict_facekit/ict_facekit.npz").write_bytes(b"x")
    monkeypatch.setenv("MIEN_ASSETS", str(home))
    found = only("assets", project)
    assert [found[f"asset {n}"].state for n in ("ict", "yunet", "london")] == [
        "ok",
        "missing",
        "missing",
    ]
    assert "damaged" in found["asset yunet"].found
    assert "mien assets pull london" in found["asset london"].hint
