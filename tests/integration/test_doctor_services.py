"""What `mien doctor` says of services that a setting names."""

from __future__ import annotations

import pytest

from mien.cli.doctor_services import look
from mien.settings import Settings
from services.chassis.testing import framed
from tests.integration.chassis.fake_registry import SERVICE, mounting


def test_a_service_that_is_asked_for_and_down_is_told(tmp_path):
    """Where, why, what to do, and that work can be done without it."""
    (found,) = look(Settings(registry_target="127.0.0.1:1"), tmp_path)
    assert (found.name, found.good, found.asked_for) == ("registry", False, True)
    assert "nothing listens there" in found.what
    assert "services.registry" in found.hint
    assert "MIEN_REGISTRY_TARGET" in found.hint


def test_a_service_that_is_not_ready_says_why(tmp_path):
    """In its own words."""
    with framed("registry", mounting()) as frame:
        settings = Settings(registry_target=frame.target)
        (found,) = look(settings, tmp_path)
        assert found.good
        frame.ready(lambda: "the database is away", service=SERVICE)
        frame._readiness.look()
        (found,) = look(settings, tmp_path)
    assert not found.good
    assert "the database is away" in found.what


@pytest.mark.parametrize("note", ["", "[]", '{"parts": 7}', "{"])
def test_a_damaged_note_is_as_good_as_none(tmp_path, note):
    """Doctor never fails on what it looks at."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "up.json").write_text(note)
    assert look(Settings(), tmp_path) == []
