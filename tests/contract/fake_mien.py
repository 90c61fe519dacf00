"""A mien with tiny verbs, for the executors' contract: the real worker, no numeric libraries."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mien.cli.signals import STOP, listen
from mien.cli.worker import serve
from mien.core.errors import EXIT_TERMINATED


def run(argv: Sequence[str]) -> int:
    """Run one verb; its arguments are strings."""
    verb, *arguments = argv
    try:
        return int(globals()[f"verb_{verb}"](*arguments))
    except KeyboardInterrupt:  # asked to stop before it asked itself
        return STOP.exit_code


def verb_ok(marker: str, text: str = "hello") -> int:
    sys.stdout.write(f"{text}\n")
    os.write(2, b"native words\n")
    Path(marker).write_text(f"{os.getpid()} {os.environ.get('FLAVOUR', '')}")
    return 0


def verb_env(marker: str, name: str) -> int:
    Path(marker).write_text(os.environ.get(name, ""))
    return 0


def verb_nothing() -> int:
    return 0


def verb_exit(code: str) -> int:
    return int(code)


def verb_flaky(marker: str, count_file: str, failures: str) -> int:
    """Fail so many times, then do it."""
    tries = _count(count_file)
    if tries <= int(failures):
        return 1
    Path(marker).touch()
    return 0


def verb_once(marker: str, count_file: str, seconds: str) -> int:
    """Count how often it runs."""
    _count(count_file)
    time.sleep(float(seconds))
    Path(marker).touch()
    return 0


def verb_die(marker: str, count_file: str, number: str) -> int:
    """Be killed the first time."""
    if _count(count_file) == 1:
        os.kill(os.getpid(), int(number))
    Path(marker).touch()
    return 0


def verb_span(marker: str, seconds: str) -> int:
    """Write when it ran."""
    began = time.monotonic()
    time.sleep(float(seconds))
    Path(marker).write_text(f"{began} {time.monotonic()}")
    return 0


def verb_work(marker: str, checkpoint: str, steps: str, pid_file: str) -> int:
    """Count to ``steps``, keep a checkpoint when asked to stop, go on from it."""
    file = Path(checkpoint)
    step = int(file.read_text()) if file.exists() else 0
    sys.stdout.write(f"from {step}\n")
    with Path(f"{checkpoint}.began").open("a") as began:
        began.write(f"{step}\n")
    told = False
    while step < int(steps):
        time.sleep(0.01)
        step += 1
        if STOP.cancelled():
            file.write_text(str(step))
            return EXIT_TERMINATED
        if not told:  # once it has asked whether to stop, and no more: a kill may come any time
            _write_pid(Path(pid_file))
            told = True
    Path(marker).write_text(str(step))
    return 0


def _write_pid(file: Path) -> None:
    """Write it whole: whoever waits for the file reads it at once."""
    new = file.with_suffix(".new")
    new.write_text(str(os.getpid()))
    new.replace(file)


def verb_deaf(pid_file: str) -> int:
    """Ignore every request to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _write_pid(Path(pid_file))
    time.sleep(60)
    return 0


def verb_shard(folder: str, index: str) -> int:
    """Make one of an array; the fourth cannot be made."""
    if index == "3":
        sys.stdout.write("no shard 3\n")
        return 42
    (Path(folder) / f"{index}.done").touch()
    return 0


def verb_ignore(marker: str) -> int:
    """Finish, though asked to stop."""
    Path(f"{marker}.began").touch()
    while not STOP.cancelled():
        time.sleep(0.01)
    Path(marker).write_text(f"{os.getpid()}")
    return 0


def verb_read(marker: str) -> int:
    """Try to eat the task lines."""
    Path(marker).write_text(repr(sys.stdin.read()))
    return 0


def _count(count_file: str) -> int:
    with Path(count_file).open("a") as file:
        file.write("x")
    return Path(count_file).stat().st_size


def main() -> int:
    if sys.argv[1] != "worker":  # alone in its Pod: one verb, then gone
        listen(STOP)
        return run(sys.argv[1:])
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["worker"])
    parser.add_argument("--grace-s", type=float)
    listen(STOP)
    return serve(run, cancelled=STOP.cancelled, grace_s=parser.parse_args().grace_s)


if __name__ == "__main__":
    sys.exit(main())
