"""Logs: JSON lines or pretty ones, and one canonical line a stage."""

import contextlib
import io
import json
import logging
import sys

import pytest

from mien.core.errors import Interrupted, NotFound
from mien.logs import canonical_line, configure


@pytest.fixture
def stream(capsys):
    """Reads what was written to stderr; gives the loggers back as they were."""
    root, ours = logging.getLogger(), logging.getLogger("mien")
    before = root.handlers[:], root.level, ours.level
    yield lambda: capsys.readouterr().err
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)


def lines(stream):
    return [json.loads(line) for line in stream().splitlines()]


def test_json_lines_carry_their_fields(stream):
    """One object a line: message, level, logger, time and what was given as extra."""
    configure("info", "json")
    logging.getLogger("mien.stages.x").info("read", extra={"rows": 3, "name_": "é"})
    (line,) = lines(stream)
    assert line["event"] == "read"
    assert (line["level"], line["logger"], line["rows"]) == ("info", "mien.stages.x", 3)
    assert line["timestamp"].endswith("Z")


def test_exceptions_stay_on_their_line(stream):
    """A traceback is a field, so that a line stays a line."""
    configure("info", "json")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("mien").exception("bad")
    (line,) = lines(stream)
    assert "ZeroDivisionError" in line["exception"]


def test_levels_are_ours_only(stream):
    """Our loggers follow the level; other libraries only warn."""
    configure("debug", "json")
    logging.getLogger("mien.x").debug("shown")
    logging.getLogger("other").info("hidden")
    logging.getLogger("other").warning("shown")
    assert [line["event"] for line in lines(stream)] == ["shown", "shown"]


def test_auto_is_json_when_nobody_watches(stream):
    """A file or pipe gets JSON, `pretty` forces the other."""
    configure("info", "auto")
    logging.getLogger("mien").warning("x")
    assert lines(stream)
    configure("info", "pretty")
    logging.getLogger("mien").warning("for people")
    last = stream().splitlines()[-1]
    assert "for people" in last
    assert not last.startswith("{")


def test_stderr_is_looked_up_when_writing(stream, monkeypatch):
    """A progress bar that takes over stderr gets the lines too."""
    configure("info", "json")
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    logging.getLogger("mien").info("x")
    assert stream() == ""
    assert "x" in later.getvalue()


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "level"),
    [
        (None, "done", None, "info"),
        (NotFound("GONE", "x"), "failed", "GONE", "warning"),
        (Interrupted("x"), "interrupted", None, "warning"),
        (KeyboardInterrupt(), "interrupted", None, "warning"),
        (ValueError("x"), "failed", "ValueError", "warning"),
    ],
)
def test_the_canonical_line_says_how_it_ended(stream, error, outcome, reason, level):
    """One line a stage with outcome, reason, times and memory, whatever happened."""
    configure("info", "json")
    with contextlib.suppress(BaseException), canonical_line("export", version="x"):
        if error:
            raise error
    (line,) = lines(stream)
    assert (line["stage"], line["outcome"], line["version"]) == ("export", outcome, "x")
    assert line.get("reason") == reason
    assert line["level"] == level
    assert line["wall_s"] >= 0
    assert line["peak_mb"] > 0
