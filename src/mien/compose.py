"""The one place that chooses: which tracker, which executor, where the cache and assets lie."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mien.core.errors import EXIT_DONE, EXIT_INTERRUPTED, Interrupted, MienError
from mien.core.hooks import Cancelled, OnProgress, never_cancelled, no_progress
from mien.core.ports import Executor, Tracker
from mien.params.project import Params
from mien.settings import load_settings
from mien.stages.context import Context


def make_context(
    params: Params,
    *,
    root: Path | None = None,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> Context:
    """Build the context of a project.

    Args:
        params: validated; relative roots in them start from the current folder.
        root: where ``data/`` and ``report/`` go; the current folder by default.
        progress: told about every step.
        cancelled: asked between steps.
    """
    from mien.adapters.local_executor import InlineExecutor, LocalExecutor
    from mien.adapters.mlflow_tracker import MlflowTracker, NullTracker

    base = Path.cwd()
    project = (root or base).resolve()
    settings = load_settings(base)
    tracker: Tracker = (
        NullTracker()
        if settings.tracking_uri == "none"
        else MlflowTracker(settings.tracking_uri, spool_dir=settings.spool)
    )
    executor: Executor = (
        InlineExecutor(
            partial(trial_here, cancelled=cancelled), settings.cache / "logs", settings.retries
        )
        if settings.executor == "inline"
        else LocalExecutor(
            slots=settings.workers,
            command=(sys.executable, "-m", "mien"),
            log_dir=settings.cache / "logs",
            retries=settings.retries,
            mode=settings.executor,
            grace_s=settings.grace_s,
        )
    )
    return Context(
        root=project,
        base=base,
        params=params,
        cache=settings.cache,
        assets=settings.assets,
        workers=settings.workers,
        tracker=tracker,
        executor=executor,
        progress=progress,
        cancelled=cancelled,
    )


def trial_here(argv: Sequence[str], *, cancelled: Cancelled = never_cancelled) -> int:
    """Run a trial in this process; the executor hears of its end by exit code, as always.

    Args:
        argv: ``("trial", "<plan>")``.
        cancelled: asked before every training step; True saves the state and ends the trial.
    """
    from mien.stages.trial import run

    try:
        run(Path(argv[1]), cancelled=cancelled)
    except MienError as error:
        sys.stderr.write(f"mien: error: {error}\n")  # the executor keeps it as the trial's log
        return error.exit_code
    except Interrupted:
        return EXIT_INTERRUPTED
    return EXIT_DONE
