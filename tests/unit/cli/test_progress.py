"""Progress: bars on a terminal, a line now and then elsewhere."""

import io
import sys

import pytest

from mien.cli.progress import Lines, clock_of, line_of, shown
from mien.core.hooks import Progress


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self):
        return True


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_lines_are_rare_and_the_last_is_never_missing():
    """At most one line every ten seconds, and one when all is done."""
    clock, written = Clock(), []
    lines = Lines(written.append, every_s=10.0, clock=clock)
    for done in range(1, 101):
        clock.now += 0.25
        lines.on_progress(Progress(done, 100, unit="images", stage="ingest"))
    assert len(written) == 3
    assert "100/100 images" in written[-1]


def test_a_new_stage_starts_its_own_clock():
    """The rate of a stage counts from when it was first heard of, resumed work apart."""
    clock, written = Clock(), []
    lines = Lines(written.append, every_s=1.0, clock=clock)
    lines.on_progress(Progress(500, 1000, unit="kimg", stage="fit"))  # goes on from a checkpoint
    clock.now = 10.0
    lines.on_progress(Progress(600, 1000, unit="kimg", stage="fit"))
    assert written == ["fit: 600/1000 kimg, 10/s, 0:40 left"]
    clock.now = 11.0
    lines.on_progress(Progress(1, None, unit="faces", stage="other"))
    assert len(written) == 1


def test_a_line_says_metrics_and_does_without_a_total():
    """Figures come at the end; nothing is invented when the total is unknown."""
    line = line_of(Progress(3, None, metrics={"loss": 0.123456}), 0.0, 3)
    assert line == "work: 3, loss 0.1235"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")]
)
def test_durations(seconds, text):
    """Minutes and seconds, hours when there are any."""
    assert clock_of(seconds) == text


def test_a_terminal_gets_bars(monkeypatch):
    """On a terminal each stage has a bar with count, rate and time left."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown() as progress:
        progress(Progress(1, 4, unit="trials", stage="sweep"))
        progress(Progress(4, 4, unit="trials", stage="sweep", metrics={"loss": 0.5}))
        progress(Progress(2, None, unit="images", stage="report"))
    text = terminal.getvalue()
    assert "sweep" in text
    assert "4/4 trials" in text
    assert "2 images" in text
    assert "loss 0.5" in text
    assert "report" in text


def test_no_terminal_gets_lines(monkeypatch):
    """Elsewhere plain lines go to stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown() as progress:
        progress(Progress(4, 4, unit="trials", stage="sweep"))
    assert stream.getvalue().startswith("sweep: 4/4 trials")


def test_quiet_gets_nothing(monkeypatch):
    """--quiet shows no progress at all."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown(quiet=True) as progress:
        progress(Progress(4, 4, unit="trials", stage="sweep"))
    assert stream.getvalue() == ""
