"""The one place that chooses: local or remote, which tracker, where the cache and assets lie."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mien.core.errors import EXIT_DONE, EXIT_INTERRUPTED, Interrupted, MienError, WrongState
from mien.core.hooks import Cancelled, OnProgress, never_cancelled, no_progress
from mien.core.ports import Executor, Generation, Registry, Serving, Tracker
from mien.params.project import Params
from mien.settings import Settings, load_settings
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
    from mien.adapters.mlflow_tracker import MlflowTracker, NullTracker

    base = Path.cwd()
    project = (root or base).resolve()
    settings = load_settings(base)
    tracker: Tracker = (
        NullTracker()
        if settings.tracking_uri == "none"
        else MlflowTracker(settings.tracking_uri, spool_dir=settings.spool)
    )
    return Context(
        root=project,
        base=base,
        params=params,
        cache=settings.cache,
        assets=settings.assets,
        workers=settings.workers,
        tracker=tracker,
        executor=_executor(settings, cancelled),
        progress=progress,
        cancelled=cancelled,
        generation=_generation(settings),
    )


def make_registry(project: Path, settings: Settings) -> Registry:
    """Return the registry: the service, or the project's own in ``registry/``.

    Args:
        project: folder of the project.
        settings: of the environment.
    """
    if settings.registry_target is None:
        from mien.registry.folder_registry import FolderRegistry

        return FolderRegistry(project / "registry", duplicates="keep")
    from mien.wire.channel import open_channel
    from mien.wire.registry_client import RegistryClient

    return RegistryClient(open_channel(settings.registry_target, settings))


def make_serving(settings: Settings) -> Serving:
    """Return the serving service.

    Raises:
        WrongState: ``NO_SERVING_TARGET`` when none is named.
    """
    if settings.serving_target is None:
        raise WrongState(
            "NO_SERVING_TARGET",
            "no serving service is named",
            hint="set MIEN_SERVING_TARGET to its host:port",
        )
    from mien.wire.channel import open_channel
    from mien.wire.serving_client import ServingClient

    return ServingClient(open_channel(settings.serving_target, settings))


def _generation(settings: Settings) -> Generation | None:
    if settings.generation_target is None:
        return None
    from mien.wire.channel import open_channel
    from mien.wire.generation_client import GenerationClient

    return GenerationClient(open_channel(settings.generation_target, settings))


def _executor(settings: Settings, cancelled: Cancelled) -> Executor:
    logs = settings.cache / "logs"
    if settings.training_target is not None:
        from mien.adapters.service_executor import ServiceExecutor
        from mien.wire.channel import open_channel
        from mien.wire.training_client import TrainingClient

        training = TrainingClient(open_channel(settings.training_target, settings))
        return ServiceExecutor(training, slots=settings.workers, grace_s=settings.grace_s)
    from mien.adapters.local_executor import InlineExecutor, LocalExecutor

    if settings.executor == "inline":
        return InlineExecutor(partial(trial_here, cancelled=cancelled), logs, settings.retries)
    return LocalExecutor(
        slots=settings.workers,
        command=(sys.executable, "-m", "mien"),
        log_dir=logs,
        retries=settings.retries,
        mode=settings.executor,
        grace_s=settings.grace_s,
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
