"""Run one service as a process: settings, frame, signals, exit code."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from mien.core.errors import EXIT_DONE, EXIT_FAILED, EXIT_TERMINATED, MienError
from services.chassis.frame import Frame
from services.chassis.settings import ServerSettings, load_settings, unread_variables

Mount = Callable[[Frame], None]
log = logging.getLogger(__name__)


def run(name: str, mount: Mount, argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Prints one line, ``ready <name> <address> metrics <address>``, once it listens. The first
    signal: not ready, drain, stop. The second: end at once.

    Args:
        name: of the service; chooses its usual port and its folder.
        mount: adds the servicers to the frame.
        argv: ``--address``, ``--metrics-address``; without, those of the process.
    """
    try:
        settings = _settings(name, argv)
        _log(settings)
        stop = _listen_to_signals()
        frame = Frame(name, settings)
        mount(frame)
        frame.start()
    except MienError as error:
        sys.stderr.write(f"{name}: {error}\n" + (f"  {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except Exception:
        log.exception("start")
        return EXIT_FAILED
    sys.stdout.write(f"ready {name} {frame.target} metrics {frame.metrics_target or 'none'}\n")
    sys.stdout.flush()
    stop.wait()
    log.warning("stopping", extra={"grace_s": settings.grace_s})
    frame.drain(settings.grace_s)
    log.warning("stopped")
    return EXIT_DONE


def _settings(name: str, argv: Sequence[str] | None) -> ServerSettings:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}",
        description=f"The {name} service. Everything else is set by MIEN_SERVER_* variables.",
    )
    parser.add_argument("--address", help="host:port; port 0 picks a free one")
    parser.add_argument("--metrics-address", help="host:port, or none")
    parser.add_argument("--parent", type=int, help="process without which this one shall end")
    given = {key: value for key, value in vars(parser.parse_args(argv)).items() if value}
    if (parent := given.pop("parent", None)) is not None:
        _end_with(parent)
    return load_settings(**given)


def _end_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, however it dies (Linux)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it was asked
        os.kill(os.getpid(), signal.SIGTERM)


def _log(settings: ServerSettings) -> None:
    from mien.logs import configure

    configure(settings.log_level, settings.log_format)
    logging.getLogger("services").setLevel(settings.log_level.upper())
    for name, near in unread_variables(os.environ).items():
        hint = f"did you mean {near}?" if near else "unset it"
        log.warning(
            "settings", extra={"what": f"{name} is set, but nothing reads it", "hint": hint}
        )


def _listen_to_signals() -> threading.Event:
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(EXIT_TERMINATED)  # asked twice: whatever is under way is whole or absent
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop
