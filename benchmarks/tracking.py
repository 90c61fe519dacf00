"""What tracking costs: calls a trial, and its share of a sweep's time.

A sweep's launcher says every trial to the tracker when a worker ends it. Here 50 trials of a
realistic size are said, against a SQLite file and against a real server; the share is against
trials of ten seconds each on one worker, what a small CPU sweep takes.
"""

from __future__ import annotations

import re
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from mien.adapters.mlflow.server import serve
from mien.adapters.mlflow.tracker import MlflowTracker, NullTracker
from mien.core.ports import Tracker
from mien.core.tasks import RunData

TRIALS = 50
TRIAL_S = 10.0
FLUSH_S = 300.0


def main() -> None:
    print(f"{TRIALS} trials; share of a sweep with {TRIAL_S:g} s a trial on one worker")
    print(f"{'':<16} {'calls':>6} {'launcher':>10} {'cpu':>9} {'share':>8} {'first':>8}")
    print(f"{'':<16} {'/trial':>6} {'ms/trial':>10} {'ms/trial':>9} {'of time':>8} {'use, s':>8}")
    with tempfile.TemporaryDirectory(prefix="mien-tracking-") as scratch:
        home = Path(scratch)
        database = f"sqlite:///{home}/mlflow.db"
        _row("none", NullTracker(), home, None)
        _row("sqlite", MlflowTracker(database, home / "spool-a"), home, None)
        log = home / "server.log"
        with serve(database, log_file=log, artifacts=home / "served") as server:
            _row("http", MlflowTracker(server.url, home / "spool-b"), home, log)
        _row("http, down", MlflowTracker(server.url, home / "spool-c", timeout_s=2), home, None)


def _row(name: str, tracker: Tracker, home: Path, log: Path | None) -> None:
    started = time.perf_counter()
    parent = tracker.start(f"benchmark-{name}", "sweep")
    tracker.flush(FLUSH_S)
    first_s = time.perf_counter() - started
    calls, cpu = _calls(log), _cpu_s()
    blocked = 0.0
    for i in range(TRIALS):
        data = _trial(home / f"{name}-{i}")
        begun = time.perf_counter()
        tracker.finish(tracker.start(f"benchmark-{name}", f"trial {i}", parent=parent), data)
        blocked += time.perf_counter() - begun
    delivered = tracker.flush(FLUSH_S)
    cpu_s = _cpu_s() - cpu
    a_trial = f"{(_calls(log) - calls) / TRIALS:.1f}" if log else "-"
    share = cpu_s / (TRIALS * TRIAL_S)
    print(
        f"{name:<16} {a_trial:>6} {1e3 * blocked / TRIALS:>10.1f} {1e3 * cpu_s / TRIALS:>9.1f} "
        f"{share:>8.2%} {first_s:>8.1f}" + ("" if delivered else "  kept in the spool")
    )


def _trial(folder: Path) -> RunData:
    """24 params, 20 figures, three curves of ten points, three files."""
    folder.mkdir()
    (folder / "confusion_test.png").write_bytes(bytes(40_000))
    (folder / "metrics_test.json").write_text("{}" * 1000)
    np.savez(folder / "predictions.npz", logits=np.zeros((600, 6), np.float32), allow_pickle=False)
    return RunData(
        params={f"fit.p{i}": i for i in range(24)},
        metrics={f"set{i}/accuracy": 0.5 for i in range(20)} | {"images_seen": 12_000.0},
        series={f"fit/c{j}": [(1200 * i, 1.0 / (i + 1)) for i in range(10)] for j in range(3)},
        tags={"trial": "0" * 64},
        inputs={f"set{i}": f"{i}" * 64 for i in range(4)},
        artifacts=folder,
    )


def _calls(log: Path | None) -> int:
    """Count the requests to the tracking API in the server's access log."""
    text = log.read_text() if log else ""
    return len(re.findall(r'"(?:GET|POST|PATCH) /api/2\.0/mlflow/', text))


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
