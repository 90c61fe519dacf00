"""The entry point: sentences instead of tracebacks, exit codes, signals, start-up."""

import errno
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

import mien
from mien.cli import main as entry
from mien.cli.signals import ASKS_REGULARLY_S, STOP, Stop
from mien.core.errors import ERRORS, Interrupted


@pytest.fixture
def raising(monkeypatch):
    """Make the command line raise something."""

    def arrange(error):
        def app(**_):
            raise error

        monkeypatch.setattr("mien.cli.app.app", app)

    return arrange


@pytest.mark.parametrize("kind", ERRORS)
def test_domain_errors_become_a_sentence_and_their_code(raising, capsys, kind):
    """Message, reason and hint on stderr; the exit code is the class's; no traceback."""
    raising(kind("SOME_REASON", "what and where", hint="what to do"))
    assert entry.run(["sweep"]) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "mien: error: what and where [SOME_REASON]\nmien: hint: what to do\n"


def test_debug_shows_where(raising, capsys):
    """--debug adds the traceback, to foreseen and unforeseen errors."""
    for error in (ERRORS[0]("R", "foreseen"), ZeroDivisionError("unforeseen")):
        raising(error)
        entry.run(["--debug", "sweep"])
        assert "Traceback" in capsys.readouterr().err


def test_the_unforeseen_is_one_line(raising, capsys):
    """A bug is an internal error with exit code 1, so that an executor may try again."""
    raising(KeyError("x"))
    assert entry.run(["sweep"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mien: internal error: KeyError")


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.ENOSPC, 1, "DISK_FULL"),
        (errno.EDQUOT, 1, "DISK_FULL"),
        (errno.EMFILE, 1, "OPEN_FILES"),
        (errno.ENOTDIR, 2, "BAD_PATH"),
        (errno.EISDIR, 2, "BAD_PATH"),
        (errno.EACCES, 2, "NO_PERMISSION"),
        (errno.EROFS, 2, "NO_PERMISSION"),
    ],
)
def test_what_the_disk_refuses_is_said(raising, capsys, number, code, word):
    """Disk full and no permission name the file and what to do."""
    raising(OSError(number, os.strerror(number), "/data/x"))
    assert entry.run(["sweep"]) == code
    shown = capsys.readouterr().err
    assert word in shown
    assert "/data/x" in shown
    assert "hint" in shown


def test_memory_is_said(raising, capsys):
    """Out of memory is a sentence too, and may be tried again."""
    raising(MemoryError())
    assert entry.run(["sweep"]) == 1
    assert "OUT_OF_MEMORY" in capsys.readouterr().err


@pytest.mark.parametrize("error", [Interrupted("x"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (0, 130)]
)
def test_interruption_has_its_code(raising, monkeypatch, error, number, code):
    """143 after SIGTERM, 130 otherwise."""
    monkeypatch.setattr(STOP, "number", int(number))
    raising(error)
    assert entry.run(["sweep"]) == code


@pytest.mark.parametrize(
    "argv",
    [["swep"], ["sweep", "--no-such"], ["trial"], ["train", "--train", "x"], ["--params"]],
)
def test_usage_errors_are_the_users(argv, capsys):
    """Unknown verbs and options, missing arguments: exit code 2 and what is wrong."""
    assert entry.run(argv) == 2
    assert "Error: " in capsys.readouterr().err


def test_help_lists_every_verb(capsys):
    """--help ends with 0 and lists what there is; the hidden worker is not shown."""
    assert entry.run(["--help"]) == 0
    shown = capsys.readouterr().out
    verbs = (
        "run ingest split synthesise preprocess sweep trial evaluate decide report train "
        "recognise export verify doctor ui assets params"
    )
    for verb in verbs.split():
        assert f"\n  {verb} " in shown
        assert entry.run([verb, "--help"]) == 0
    assert "\n  worker" not in shown


def test_help_says_what_stands_before_the_verb(capsys):
    """--help says what mien is for, the main path, and how --params, --root and --set are used."""
    assert entry.run(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "How much synthetic face data to add" in shown
    assert "The main path: ingest, split" in shown
    assert "mien --set sweep.seeds=5 --root elsewhere sweep --plan" in shown


def test_version(capsys):
    """--version names the package as it is installed."""
    assert entry.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mien {version('mien')}\n"
    with pytest.raises(AttributeError, match="nothing"):
        mien.nothing  # noqa: B018


def test_help_imports_nothing_heavy():
    """Answering --help loads no numeric, tracking or drawing library."""
    heavy = "numpy torch mlflow cv2 pandas pyarrow matplotlib sklearn pydantic structlog rich dvc"
    heavy += " importlib.metadata"
    code = (
        "import sys; from mien.cli.main import run; run(['--help']);"
        f"print([m for m in {heavy.split()!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"


def test_a_broken_pipe_is_silent():
    """`mien --help | head -1`: no complaint when the reader goes away."""
    command = f"{sys.executable} -m mien --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_first_signal_asks_the_second_ends():
    """Work that asks regularly is asked; at the second signal it is ended."""
    stop = Stop()
    assert not stop.cancelled()
    stop.on_signal(signal.SIGTERM, None)
    assert stop.cancelled()
    assert stop.exit_code == 143
    with pytest.raises(KeyboardInterrupt):
        stop.on_signal(signal.SIGINT, None)
    assert stop.exit_code == 130


def test_work_that_never_asks_is_ended_at_once(monkeypatch):
    """Nobody asked lately whether to stop: there is nothing to wait for."""
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop.on_signal(signal.SIGINT, None)
    late = Stop()
    late.cancelled()
    long_after = time.monotonic() + ASKS_REGULARLY_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: long_after)
    with pytest.raises(KeyboardInterrupt):
        late.on_signal(signal.SIGINT, None)


SCRIPT = """
import sys, time
import mien.cli.app
from mien.cli.main import main
from mien.cli.signals import STOP
from mien.core.errors import Interrupted

def asks(**_):
    for _ in range(1000):
        stopped = STOP.cancelled()
        print("at work", flush=True)
        time.sleep(0.01)
        if stopped:
            print("saved", flush=True)
            raise Interrupted("stopped")

def deaf(**_):
    print("at work", flush=True)
    time.sleep(60)

mien.cli.app.app = {"asks": asks, "deaf": deaf}[sys.argv.pop()]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["asks", "deaf"])
def test_a_real_process_ends_with_the_signals_code(number, how):
    """Ctrl-C gives 130, SIGTERM 143; work that asks saves its state first."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert ("saved" in out) == (how == "asks")
    assert "Traceback" not in err
    assert "interrupted" in err


EARLY_OR_LATE = """
import atexit, os, signal, sys
from mien.cli.main import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "mien.cli.app":
            os.kill(os.getpid(), signal.{number})

if sys.argv.pop() == "early":
    sys.meta_path.insert(0, Finder())
else:
    atexit.register(os.kill, os.getpid(), signal.{number})
main()
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_the_verbs_are_imported(number, code):
    """Signals are heard before anything slow is imported: a sentence and the signal's code."""
    argv = [sys.executable, "-c", EARLY_OR_LATE.format(number=number), "--version", "early"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert done.stderr == "mien: interrupted; the same command goes on where it can\n"


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_work_changes_nothing(number):
    """What is done is done: its output and its code stay, no traceback is shown."""
    argv = [sys.executable, "-c", EARLY_OR_LATE.format(number=number), "--version", "late"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mien ")


INSIDE_A_STRING = """
import mien.cli.app
from mien.cli.main import main

def deaf(**_):
    exec("import os, signal, time; os.kill(os.getpid(), signal.{number}); time.sleep(60)")

mien.cli.app.app = deaf
main()
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_inside_code_made_from_a_string(tmp_path, number, code):
    """As in the middle of an import that makes dataclasses: its own code, not death by SIGINT."""
    (tmp_path / "stopped.py").write_text(INSIDE_A_STRING.format(number=number))
    argv = [sys.executable, "-m", "stopped"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert done.returncode == code
