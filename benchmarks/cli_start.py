"""How fast ``mien --help`` answers, against an empty Python program."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15


def main() -> None:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import typer'": [sys.executable, "-c", "import typer"],
        "mien --help": [sys.executable, "-m", "mien", "--help"],
        "mien sweep --help": [sys.executable, "-m", "mien", "sweep", "--help"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):  # interleaved, so that a busy moment hits all alike
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - started)
    empty = statistics.median(taken["python -c pass"])
    print(f"{'':<28} {'median, s':>10} {'least, s':>10} {'× empty':>8}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<28} {median:>10.3f} {min(times):>10.3f} {median / empty:>8.1f}")


if __name__ == "__main__":
    main()
