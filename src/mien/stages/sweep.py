"""Run every trial of the sweep, and gather what they said about every judged face."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_PERMANENT,
    EXIT_USER,
    Corrupt,
    Interrupted,
    MienError,
    Unavailable,
    WrongState,
)
from mien.core.tasks import Task, TaskResult
from mien.splits.mix import Row
from mien.stages.arrays import SetArrays, set_arrays
from mien.stages.closures import pool_closures
from mien.stages.context import Context, whole, write_json
from mien.stages.plans import PlannedTrial, label_indices, plan_trials
from mien.stages.split import read_splits
from mien.stages.sweep_cost import Estimate, cost_of, kimg_of
from mien.stages.sweep_tracking import SweepTracking
from mien.stages.trial import RESULT

log = logging.getLogger(__name__)


def run(context: Context, *, plan_only: bool = False) -> Estimate:
    """Run the sweep; finished trials are found in the cache and not run again.

    Args:
        context: of the project.
        plan_only: only say what would run, and how long it would take.

    Raises:
        MienError: ``TRIALS_FAILED`` naming the first trial that did not succeed, with its exit
            code: Corrupt will fail again, WrongState is the user's, Unavailable may be retried.
        Interrupted: when cancelled; a later run goes on.
    """
    sets = load_sets(context)
    planned = list(plan_trials(context.params, read_splits(context), sets, pool_closures(context)))
    folders = trial_folders(context, planned)
    estimate = cost_of(
        planned,
        folders,
        workers=context.executor.slots,
        with_time=plan_only,
        cancelled=context.cancelled,
    )
    if plan_only:
        return estimate
    log.info("sweep", extra=asdict(replace(estimate, protocols=())))
    tracking = SweepTracking(context, planned, folders, sets)
    try:
        run_trials(context, planned, sets, on_done=tracking.trial_done)
        _gather(context, planned, folders, sets)
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        tracking.finish("KILLED" if stopped else "FAILED")
        raise
    tracking.finish("FINISHED")
    return estimate


def write_plans(context: Context, file: Path) -> None:
    """Write the plans of all trials into the cache and name them in a JSON file; run nothing.

    Whoever runs the trials elsewhere runs the stage afterwards: it finds them done.
    """
    sets = load_sets(context)
    planned = list(plan_trials(context.params, read_splits(context), sets, pool_closures(context)))
    folders = trial_folders(context, planned)
    for trial in planned:
        _write_plan(context, trial, sets, folders[trial.plan.key])
    titles = {p.plan.key: p.plan.title for p in planned}
    write_json(
        file,
        [
            {"key": t.key, "title": titles[t.key], "plan": t.argv[1], "done": t.done}
            for t in _tasks(planned, folders)
        ],
    )


def run_trials(
    context: Context,
    planned: Sequence[PlannedTrial],
    sets: Mapping[str, SetArrays],
    *,
    on_done: Callable[[TaskResult], None] | None = None,
) -> dict[str, Path]:
    """Run planned trials through the executor; returns key → finished folder.

    Raises:
        MienError: ``TRIALS_FAILED``. Interrupted: when cancelled.
    """
    folders = trial_folders(context, planned)
    for trial in planned:
        _write_plan(context, trial, sets, folders[trial.plan.key])
    results = context.executor.run(
        _tasks(planned, folders),
        progress=context.progress,
        cancelled=context.cancelled,
        on_done=on_done,
    )
    if context.cancelled():
        raise Interrupted("sweep stopped; run it again to go on")
    _check(planned, results, context.cache / "logs")
    return folders


def trial_folders(context: Context, planned: Sequence[PlannedTrial]) -> dict[str, Path]:
    """Say where each trial lives in the cache."""
    return {p.plan.key: context.cache / "trials" / p.plan.key for p in planned}


def load_sets(context: Context) -> dict[str, SetArrays]:
    """Map every set that the sweep uses into memory."""
    return {
        name: set_arrays(name, context.prepared(name), context.cache) for name in _used(context)
    }


def _used(context: Context) -> list[str]:
    params = context.params
    names = [params.split.database, *params.sweep.pools]
    names += [params.sweep.more_real] if params.sweep.more_real else []
    return list(dict.fromkeys([*names, *params.evaluate.blind, *params.evaluate.development]))


def _tasks(planned: Sequence[PlannedTrial], folders: Mapping[str, Path]) -> list[Task]:
    """One task a key, the longest first so that the last worker is not left alone."""
    unique = {p.plan.key: p for p in planned}
    order = sorted(unique.values(), key=lambda p: -kimg_of(p))
    return [
        Task(
            key=p.plan.key,
            argv=("trial", str(folders[p.plan.key] / "plan.json")),
            done=str(folders[p.plan.key] / RESULT),
        )
        for p in order
    ]


def _write_plan(
    context: Context, trial: PlannedTrial, sets: Mapping[str, SetArrays], folder: Path
) -> None:
    """Write the plan and its rows once; a finished trial keeps the ones it was run with."""
    if (folder / RESULT).exists():
        return
    names = list(sets)
    roles: dict[str, Sequence[Row]] = {"train": trial.mix.rows, **trial.roles}
    tables = {role: _table(rows, names, sets, trial) for role, rows in roles.items()}
    with whole(folder / "rows.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **tables)
    write_json(
        folder / "plan.json",
        {
            "key": trial.plan.key,
            "plan": asdict(trial.plan),
            "sets": [{"name": n, "folder": str(sets[n].folder)} for n in names],
            "preprocess": asdict(context.params.preprocess.spec),
            "lineage": {f"set:{n}": sets[n].digest for n in names},
        },
    )


def _table(
    rows: Sequence[Row], names: Sequence[str], sets: Mapping[str, SetArrays], trial: PlannedTrial
) -> np.ndarray[Any, np.dtype[np.int64]]:
    from mien.core.expression import parse_expressions

    classes = parse_expressions(trial.plan.classifier["classes"])
    labels = label_indices(rows, classes)
    return np.array(
        [
            (names.index(r.dataset), sets[r.dataset].row[r.sample], label)
            for r, label in zip(rows, labels, strict=True)
        ],
        dtype=np.int64,
    ).reshape(len(rows), 3)


_KINDS: dict[int | None, type[MienError]] = {EXIT_USER: WrongState, EXIT_PERMANENT: Corrupt}


def _check(planned: Sequence[PlannedTrial], results: Sequence[TaskResult], logs: Path) -> None:
    titles = {p.plan.key: p.plan.title for p in planned}
    bad = [r for r in results if r.state != "SUCCEEDED"]
    if any(r.exit_code == EXIT_INTERRUPTED for r in bad):
        raise Interrupted("a trial was interrupted; run the sweep again to go on")
    if bad:
        first = bad[0]
        error = _KINDS.get(first.exit_code, Unavailable)
        raise error(
            "TRIALS_FAILED",
            f"{len(bad)} of {len(results)} trials failed; first: {titles[first.key]} "
            f"(exit {first.exit_code}): {_last_words(first.log)}",
            hint=f"mend the cause and run the sweep again; finished trials are kept; logs: {logs}",
        )


def _last_words(log_text: str) -> str:
    """Pick what a trial said went wrong, or else its last line."""
    lines = log_text.strip().splitlines() or ["it said nothing"]
    errors = [line for line in lines if line.startswith("mien: ") and "error: " in line]
    return [*lines, *errors][-1].removeprefix("mien: ")


def _gather(
    context: Context,
    planned: Sequence[PlannedTrial],
    folders: Mapping[str, Path],
    sets: Mapping[str, SetArrays],
) -> None:
    """Copy what evaluation needs out of the cache: one table of trials, one of predictions."""
    from mien.stages.sweep_results import write_predictions

    out = context.folder("sweep")
    write_predictions(out / "predictions.parquet", planned, folders, sets)
    trials = []
    for trial in planned:
        result = json.loads((folders[trial.plan.key] / RESULT).read_text())
        trials.append(
            {
                "key": trial.plan.key,
                "arm": {**asdict(trial.plan.arm), "name": trial.plan.arm.name},
                "protocol": trial.plan.protocol,
                "seed": trial.plan.seed,
                "fold": trial.plan.fold,
                "folds": trial.plan.folds,
                "real_images": trial.mix.real,
                "images": len(trial.mix.rows),
                "image_ratio": trial.mix.image_ratio if trial.mix.real else None,
                "units": trial.mix.units,
                "unit": trial.mix.unit,
                "by": trial.mix.by,
                **{k: result[k] for k in ("images_seen", "best_images_seen", "history")},
                **{k: result[k] for k in ("train_s", "wall_s", "device")},
            }
        )
    write_json(out / "trials.json", trials)
