"""Work spread over processes: ordered, and nobody goes on with what is no longer wanted."""

import os
import time
from pathlib import Path

import psutil
import pytest

from mien.core.parallel import map_ordered


def _said(folder, number, seconds):
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(seconds)
    return number


class _Slow:
    """Picklable work: number → number, after some seconds."""

    def __init__(self, folder, seconds, fails=-1):
        self.folder, self.seconds, self.fails = folder, seconds, fails

    def __call__(self, number):
        if number == self.fails:
            raise ValueError(f"number {number}")
        return _said(self.folder, number, self.seconds)


def _still_there(folder):
    pids = [int(p.read_text() or 0) for p in Path(folder).glob("*.pid")]
    return [p for p in pids if p and psutil.pid_exists(p)]


def test_results_come_in_the_order_of_the_inputs(tmp_path):
    """Whoever finishes first; with one worker nothing is started."""
    for workers in (1, 2):
        assert list(map_ordered(_Slow(tmp_path, 0.0), range(12), workers=workers)) == list(
            range(12)
        )


@pytest.mark.parametrize("fails", [-1, 1])
def test_nobody_goes_on_with_what_is_not_wanted(tmp_path, fails):
    """Stopped early, or failed: workers end in the middle of an hour's work."""
    work = _Slow(tmp_path, 3600.0 if fails < 0 else 0.0, fails)
    made = map_ordered(_Second(work) if fails < 0 else work, range(8), workers=2)
    assert next(made) == 0
    if fails < 0:
        made.close()
    else:
        with pytest.raises(ValueError, match="number 1"):
            list(made)
    assert _still_there(tmp_path) == []


class _Second:
    """The first item at once, the others by ``work``."""

    def __init__(self, work):
        self.work = work

    def __call__(self, number):
        return number if number == 0 else self.work(number)
