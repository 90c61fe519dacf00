"""What goes wrong with a catalogue's database, in our words."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from mien.adapters.catalogue import tables as catalogue_tables
from mien.adapters.catalogue.catalogue import Catalogue
from mien.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from mien.core.manifest import Provenance, VersionInfo


def info(mark: str, **parents: str) -> VersionInfo:
    return VersionInfo("n", mark * 64, 1, Provenance("t", parents=parents), {}, {})


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'deep' / 'catalogue.db'}"


def test_a_database_that_stays_locked_is_a_conflict(tmp_path, url, monkeypatch):
    """Readers go on meanwhile; let go, the writer comes through."""
    monkeypatch.setattr(catalogue_tables, "_BUSY_MS", 50)
    catalogue = Catalogue(url)
    catalogue.record("n", info("a"), "here", "")
    other = sqlite3.connect(tmp_path / "deep" / "catalogue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Conflict) as caught:
        catalogue.record("n", info("b"), "here", "")
    assert caught.value.reason == "REGISTRY_LOCKED"
    assert catalogue.find("n").info.digest == "a" * 64
    other.execute("ROLLBACK")
    assert catalogue.record("n", info("b"), "here", "").sequence == 2


def test_a_damaged_file_is_said(tmp_path):
    """It is no catalogue at all, or was overwritten."""
    file = tmp_path / "catalogue.db"
    file.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Corrupt) as caught:
        Catalogue(f"sqlite:///{file}")
    assert caught.value.reason == "NAME_INDEX"


def test_a_newer_format_is_refused(tmp_path, url):
    """Rather than misread."""
    Catalogue(url).close()
    with sqlite3.connect(tmp_path / "deep" / "catalogue.db") as raw:
        raw.execute("UPDATE registry_head SET format = 2")
    raw.close()
    with pytest.raises(Invalid) as caught:
        Catalogue(url)
    assert caught.value.reason == "CATALOGUE_FORMAT"


@pytest.mark.parametrize("wrong", ["", "nonsense", "nosuch://x", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_address_is_refused(wrong):
    """Also a database in memory: two threads would see two of them."""
    with pytest.raises(Invalid) as caught:
        Catalogue(wrong)
    assert caught.value.reason == "DATABASE_URL"


def test_a_server_that_does_not_answer_is_unavailable(tmp_path):
    """With how long to wait before the next try."""
    pytest.importorskip("psycopg", reason="SKIPPED: psycopg is not installed")
    with pytest.raises(Unavailable) as caught:
        Catalogue(f"postgresql+psycopg://x@/x?host={tmp_path}")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert caught.value.details["retry_after_s"] == "2"


def test_opened_by_many_at_once_it_is_made_once(url):
    """Tables and the first line of the history."""
    opened, wrong = [], []

    def work() -> None:
        try:
            opened.append(Catalogue(url))
        except Exception as error:  # noqa: BLE001 - asserted below
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [
        c.record("n", info(m), "x", "").sequence for c, m in zip(opened, "abcdef01", strict=True)
    ] == list(range(1, 9))


def test_strange_references_are_not_found(url):
    """Whatever they hold, also what a database would choke on."""
    catalogue = Catalogue(url)
    catalogue.record("n", info("a"), "x", "")
    for reference in ("\0", "n\0", "n@\0", "é", "' OR 1=1 --", "n@" + "é", "%", "n" * 1000):
        with pytest.raises(NotFound):
            catalogue.find(reference)


def test_parents_that_no_database_takes_are_refused(url):
    """A NUL in a role; nothing is registered."""
    catalogue = Catalogue(url)
    with pytest.raises(Invalid) as caught:
        catalogue.record("n", info("a", **{"a\0": "b" * 64}), "x", "")
    assert caught.value.reason == "PROVENANCE_NOT_PLAIN"
    assert catalogue.history(None, 0, None) == []
