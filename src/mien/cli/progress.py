"""Show progress: a bar with rate and time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core.hooks import OnProgress, Progress, no_progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LINE_EVERY_S = 10.0
KEPT_EVERY_S = 0.2


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[OnProgress]:
    """Give a progress hook that writes to stderr in the way that fits it."""
    if quiet:
        yield no_progress
    elif sys.stderr.isatty():
        with _bars() as rich_progress:
            bars = _Bars(rich_progress)
            yield bars.on_progress
            bars.end()
    else:
        yield Lines(lambda line: print(line, file=sys.stderr, flush=True)).on_progress


def kept(progress: OnProgress, file: Path | None) -> OnProgress:
    """Keep the latest progress in a JSON file too, for whoever started this process.

    Args:
        progress: told about every step.
        file: replaced whole, a few times a second at most; None = nowhere.
    """
    if file is None:
        return progress
    kept_at = float("-inf")

    def both(event: Progress) -> None:
        nonlocal kept_at
        progress(event)
        now = time.monotonic()
        if now - kept_at >= KEPT_EVERY_S or event.done == event.total:
            kept_at = now
            new = file.with_name(f".{file.name}.new")
            with contextlib.suppress(OSError):  # news of the work never fail the work
                new.write_text(json.dumps(asdict(event)), encoding="utf-8")
                new.replace(file)

    return both


class Lines:
    """One line a stage at most every ``every_s`` seconds, and one at its end."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.write = write
        self.every_s = every_s
        self.clock = clock
        self.stage = ""
        self.began = (0.0, 0.0)  # time and units done when the stage was first heard of
        self.written = 0.0

    def on_progress(self, event: Progress) -> None:
        """Write a line when one is due."""
        now = self.clock()
        if event.stage != self.stage:
            self.stage, self.began, self.written = event.stage, (now, event.done), now
        finished = event.total is not None and event.done >= event.total
        if finished or now - self.written >= self.every_s:
            self.written = now
            self.write(line_of(event, now - self.began[0], event.done - self.began[1]))


def line_of(event: Progress, elapsed_s: float, since: float) -> str:
    """Put an event into words.

    Args:
        event: what happened.
        elapsed_s: seconds since the stage was first heard of.
        since: units done in that time.
    """
    parts = [_count(event)]
    rate = since / elapsed_s if elapsed_s > 0 else 0.0
    if rate > 0:
        parts.append(f"{rate:.3g}/s")
        if event.total is not None and event.done < event.total:
            parts.append(f"{clock_of((event.total - event.done) / rate)} left")
    parts += [f"{name} {value:.4g}" for name, value in event.metrics.items()]
    return f"{event.stage or 'work'}: {', '.join(parts)}"


def clock_of(seconds: float) -> str:
    """Write a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bars:
    """One bar a stage; a new stage leaves the bars before it standing."""

    def __init__(self, progress: RichProgress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}
        self.last = Progress(0)

    def on_progress(self, event: Progress) -> None:
        fields: dict[str, Any] = {
            "count": _count(event),
            "figures": "  ".join(f"{name} {value:.4g}" for name, value in event.metrics.items()),
        }
        if event.stage not in self.bars:
            self.end()
            self.bars[event.stage] = self.progress.add_task(event.stage, total=None, **fields)
        self.last = event
        bar = self.bars[event.stage]
        self.progress.update(bar, completed=event.done, total=event.total, **fields)

    def end(self) -> None:
        """Fill the last bar when nobody said how far it would go."""
        if self.last.total is None and self.last.stage in self.bars:
            self.progress.update(self.bars[self.last.stage], total=self.last.done)


def _count(event: Progress) -> str:
    total = "" if event.total is None else f"/{event.total:g}"
    return f"{event.done:g}{total} {event.unit}".strip()


def _bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g}/s" if speed else "", style="cyan")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", style="dim"),
        console=Console(stderr=True),
        refresh_per_second=5,
    )
