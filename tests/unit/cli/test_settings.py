"""Settings say where; a wrong one is named."""

import os
import re
from pathlib import Path

import pytest

from mien.core.errors import Invalid
from mien.settings import Settings, _quota_cores, cores, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def test_defaults_lie_in_the_project_and_the_users_cache(tmp_path):
    """Tracking and spool in the project, results in the user's cache, all paths absolute."""
    settings = load_settings(tmp_path)
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.spool == tmp_path / "spool"
    assert settings.cache == tmp_path / "xdg" / "mien"
    assert settings.assets is None
    assert settings.assets_home == settings.cache / "assets"
    assert settings.workers == cores() >= 1


def test_pulled_assets_are_found(tmp_path):
    """What `mien assets pull` left in the cache is used without MIEN_ASSETS."""
    (tmp_path / "xdg/mien/assets").mkdir(parents=True)
    assert load_settings(tmp_path).assets == tmp_path / "xdg/mien/assets"


def test_relative_paths_start_from_the_project(tmp_path, monkeypatch):
    """Also the file of a SQLite address; `~` is the home folder."""
    monkeypatch.setenv("MIEN_ASSETS", "open")
    monkeypatch.setenv("MIEN_CACHE", "~/x")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("MIEN_TRACKING_URI", "sqlite:///db/runs.db")
    settings = load_settings(tmp_path)
    assert settings.assets == settings.assets_home == tmp_path / "open"
    assert settings.cache == tmp_path / "me" / "x"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/db/runs.db"


@pytest.mark.parametrize(
    "uri", ["none", "http://host:5000", "https://host", "postgresql+psycopg2://u@h/db"]
)
def test_tracking_addresses_pass(tmp_path, monkeypatch, uri):
    """Servers, databases and `none` are taken as they are."""
    monkeypatch.setenv("MIEN_TRACKING_URI", uri)
    assert load_settings(tmp_path).tracking_uri == uri


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIEN_WORKERS", "many"),
        ("MIEN_WORKERS", "0"),
        ("MIEN_TRACKING_URI", "mlruns"),
        ("MIEN_TRACKING_URI", "ftp://x"),
        ("MIEN_LOG_LEVEL", "loud"),
        ("MIEN_ASSET_MIRROR", "file:///etc"),
        ("MIEN_EXECUTOR", "cluster"),
        ("MIEN_GRACE_S", "-1"),
    ],
)
def test_a_wrong_value_names_its_variable(tmp_path, monkeypatch, name, value):
    """The error says which variable, and only that one."""
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid) as caught:
        load_settings(tmp_path)
    assert list(caught.value.violations) == [name]


def test_an_empty_variable_is_not_set(tmp_path, monkeypatch):
    """`MIEN_WORKERS=` means the default."""
    monkeypatch.setenv("MIEN_WORKERS", "")
    assert load_settings(tmp_path).workers == cores()


def test_unknown_variables_are_found():
    """A variable nothing reads is listed with the name it resembles."""
    given = {"MIEN_WORKRES": "2", "MIEN_XYZZY": "", "MIEN_CACHE": "/x", "OTHER": "1"}
    assert unknown_variables(given) == {"MIEN_WORKRES": "MIEN_WORKERS", "MIEN_XYZZY": ""}


def test_every_setting_is_described():
    """The docstring names each field."""
    for name in Settings.model_fields:
        assert f"        {name}: " in Settings.__doc__


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", None), ("150000 100000", 1.5), ("junk", None)]
)
def test_a_containers_quota_counts(tmp_path, text, expected):
    """A cgroup quota limits the cores, whatever the machine has."""
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert _quota_cores(file) == expected
    assert _quota_cores(tmp_path / "missing") is None


def test_every_setting_is_in_the_documentation():
    """The table for people lists exactly what is read."""
    page = (Path(__file__).resolve().parents[3] / "docs/howto/settings.md").read_text()
    listed = re.findall(r"^\| `MIEN_(\w+)`", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)
