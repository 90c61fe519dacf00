"""What a retraining costs at demo scale: from a clone to the challenger, and again after a change.

A bare git remote and a folder for the data stand for what a runner talks to; the clone has no
data and no cache. Then one parameter is changed, then everything is asked for once more in another
clone, as a fresh runner does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENDS = {0: "promoted", 3: "refused"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], help="of all retrainings, KEY=VALUE")
    parser.add_argument("--change", default="sweep.ratios=[1, 2, 3, 5]", help="KEY=VALUE")
    parser.add_argument("--report", type=Path, help="folder to copy the first report to")
    given = parser.parse_args()
    always = [part for pair in given.set for part in ("--set", pair)]
    print(f"{'retraining':<34} {'end':>10} {'wall, s':>8} {'cpu, s':>8} {'cores':>6}")
    with tempfile.TemporaryDirectory(prefix="mien-retrain-") as scratch:
        home = Path(scratch)
        _git(home, "clone", "--quiet", "--bare", str(ROOT), "origin.git")
        _git(home, "--git-dir=origin.git", "update-ref", "refs/heads/main", _head())
        first = _clone(home, "first")
        _row("from nothing", home, first, always)
        if given.report is not None:
            _copy_report(first, given.report)
        _row("the same again", home, first, always)
        # The demo's gate may refuse a first model (see docs/howto/retrain.md): a person registers
        # it, and what comes next is held against it.
        _mien(home, first, "register")
        _row("the same, registered by hand", home, first, always)
        changed = [*always, "--set", given.change]
        _row(f"changed: {given.change}", home, first, changed)
        _row("that one, on a fresh machine", home, _clone(home, "second"), changed)


def _head() -> str:
    return _git(ROOT, "rev-parse", "HEAD")


def _git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", *argv], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _clone(home: Path, name: str) -> Path:
    """A clone that knows where the data is kept."""
    _git(home, "clone", "--quiet", "--branch", "main", "origin.git", name)
    _mien(home, home / name, "remote", str(home / "remote"))
    return home / name


def _mien(home: Path, clone: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(clone / "src"),
        "MIEN_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        "MIEN_CACHE": str(clone / ".cache"),
    }
    command = [sys.executable, "-m", "mien", "--quiet", *argv]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)


def _row(name: str, home: Path, clone: Path, argv: list[str]) -> None:
    wall, cpu = time.perf_counter(), _cpu_s()
    done = _mien(home, clone, "retrain", *argv)
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    end = ENDS.get(done.returncode, f"exit {done.returncode}")
    print(f"{name:<34} {end:>10} {wall:>8.0f} {cpu:>8.0f} {cpu / wall:>6.1f}", flush=True)
    for line in (done.stdout + done.stderr).splitlines():
        if line.startswith(("mien: ", "refused", "challenger")):
            print(f"  {line[:300]}", flush=True)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _copy_report(clone: Path, folder: Path) -> None:
    import shutil

    for report in clone.glob("runs/retrain/*/report"):
        shutil.copytree(report, folder, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
