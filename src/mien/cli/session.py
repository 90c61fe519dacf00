"""What a verb needs around it: options, logs, progress, signals, the project's context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mien.cli.signals import STOP
from mien.core.hooks import Cancelled, OnProgress

TRACKING_S = 60.0  # at most; what has not arrived by then waits in the spool

if TYPE_CHECKING:
    from mien.stages.context import Context


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the verb.

    Attributes:
        params: parameter file.
        root: folder of data/ and report/; the current one by default.
        overrides: ``section.key=value`` on top of the file.
        debug: show debug logs and tracebacks.
        quiet: warnings and results only.
    """

    params: Path = Path("params.yaml")
    root: Path | None = None
    overrides: tuple[str, ...] = ()
    debug: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What long work is handed.

    Attributes:
        progress: told about every step.
        cancelled: asked between steps.
    """

    progress: OnProgress
    cancelled: Cancelled


def options_of(ctx: typer.Context) -> Options:
    """Return the options given before the verb."""
    found = ctx.find_object(Options)
    return found if found is not None else Options()


@contextmanager
def hooks(ctx: typer.Context) -> Iterator[Hooks]:
    """Configure logs, show progress, and hear signals while a verb works."""
    from mien.cli.progress import kept, shown
    from mien.logs import configure
    from mien.settings import load_settings

    options = options_of(ctx)
    settings = load_settings(Path.cwd())
    level = "debug" if options.debug else "warning" if options.quiet else settings.log_level
    configure(level, settings.log_format)
    with shown(quiet=options.quiet) as progress:
        yield Hooks(kept(progress, settings.progress_file), STOP.cancelled)


@contextmanager
def project(ctx: typer.Context) -> Iterator[Context]:
    """Open the project in the current folder."""
    from mien.compose import make_context
    from mien.params.project import load_params

    options = options_of(ctx)
    with hooks(ctx) as given:
        context = make_context(
            load_params(options.params, options.overrides),
            root=options.root,
            progress=given.progress,
            cancelled=given.cancelled,
        )
        try:
            yield context
        finally:
            context.tracker.flush(TRACKING_S)
