"""What a retraining has done so far, so that a killed one is completed and nothing done twice.

A step is done when its line is: lines are appended whole and reach the disk. A step whose inputs
are no longer those of its line is done again.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was done.

    Attributes:
        step: its name.
        inputs: digest of all that it depends on.
        result: plain values; what later steps, and the report, need of it.
        wall_s: it took so long.
        cpu_s: processor seconds, of what it started and waited for too.
    """

    step: str
    inputs: str
    result: Result
    wall_s: float
    cpu_s: float


class Journal:
    """The journal of one retraining, in its run folder."""

    def __init__(self, folder: Path) -> None:
        """Open it; a line that was being written when its process was killed does not count.

        Args:
            folder: of the run.
        """
        self.file = folder / JOURNAL
        self._lines = list(_read(self.file))

    def done(self, step: str, inputs: str | None = None) -> Done | None:
        """Return the latest line of a step, if it was done with these inputs."""
        mine = [d for d in self._lines if d.step == step]
        found = mine[-1] if mine else None
        return found if found and inputs in (None, found.inputs) else None

    def once(self, step: str, inputs: str, work: Callable[[], Result]) -> Result:
        """Do a step, unless it was done with these inputs; returns its result."""
        known = self.done(step, inputs)
        return known.result if known else self.note(step, inputs, work)

    def note(self, step: str, inputs: str, work: Callable[[], Result]) -> Result:
        """Do a step whether or not it was done before, and write its line."""
        wall, cpu = time.monotonic(), cpu_seconds()
        result = work()
        took = round(time.monotonic() - wall, 3), round(cpu_seconds() - cpu, 3)
        self._append(Done(step, inputs, result, *took))
        return result

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all steps that ended; what a kill cut short is not known."""
        return sum(d.cpu_s for d in self._lines)

    @property
    def wall_s(self) -> float:
        """Seconds of all steps that ended."""
        return sum(d.wall_s for d in self._lines)

    def _append(self, done: Done) -> None:
        self._lines.append(done)
        values = {name: getattr(done, name) for name in done.__slots__}
        line = json.dumps({**values, "time": round(time.time(), 1)})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # A torn line of a killed run gets an end of its own, so that this one begins afresh.
        with self.file.open("ab+") as file:
            torn = file.tell() and _last_byte(self.file) != b"\n"
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def cpu_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as data:
        data.seek(-1, os.SEEK_END)
        return data.read(1)


def _read(file: Path) -> list[Done]:
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
            found.append(Done(**{name: value[name] for name in Done.__slots__}))
        except (ValueError, KeyError, TypeError):
            continue  # torn
    return found
