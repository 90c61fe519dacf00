"""Run a stage, or all of them in order: timed, with one canonical log line each."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from mien.core.digest import digest_of
from mien.core.errors import Interrupted
from mien.stages.context import Context, code_digest, whole, write_json

log = logging.getLogger(__name__)

ORDER = (
    "ingest",
    "split",
    "train_generator",
    "synthesise",
    "judge_generator",
    "preprocess",
    "sweep",
    "evaluate",
    "decide",
    "report",
)
TIMES = "times.json"


def run_stage(context: Context, verb: str, **arguments: Any) -> Any:
    """Run one stage and note how long it took.

    Args:
        context: of the project.
        verb: one of ``ORDER``.
        arguments: for the stage's ``run``.
    """
    stage: Callable[..., Any] = importlib.import_module(f"mien.stages.{verb}").run
    name = str(arguments.get("name") or "")
    started = time.perf_counter()
    outcome = "failed"
    try:
        result = stage(context, **arguments)
        outcome = "done"
    except Interrupted:
        outcome = "interrupted"
        raise
    finally:
        wall_s = time.perf_counter() - started
        log.info("stage", extra={"verb": verb, "of": name, "outcome": outcome, "wall_s": wall_s})
    _note_time(context, f"{verb} {name}".strip(), wall_s)
    return result


def run_all(context: Context) -> None:
    """Run the whole pipeline in order, skipping stages whose inputs have not changed.

    The same work as ``dvc repro``, for a folder without DVC.
    """
    key = digest_of(_files(context))
    for verb in ORDER:
        # A stage's key holds all before it: parameters, code and data.
        key = digest_of([key, verb, _section(context, verb), code_digest(*_rooms(verb))])
        marker = context.folder("notes") / f"{verb}.key"
        if marker.exists() and marker.read_text() == key and _output(context, verb):
            log.info("stage", extra={"verb": verb, "outcome": "unchanged"})
            continue
        run_stage(context, verb)
        with whole(marker) as temporary:
            temporary.write_text(key)


def _files(context: Context) -> list[tuple[str, str, int, int]]:
    """List the files of databases and ready weights: name, size, time tell whether they changed."""
    params = context.params
    roots = {n: context.base / d.root for n, d in params.ingest.items() if d.root}
    ready = {n: g.weights for n, g in params.train_generator.items() if g.weights}
    roots |= {f"generator {n}": context.base / folder for n, folder in ready.items()}
    return [
        (name, str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns)
        for name, root in sorted(roots.items())
        for file in sorted(root.rglob("*") if root.is_dir() else [root])
        if file.is_file()
    ]


def times(context: Context) -> dict[str, float]:
    """Return the seconds each stage took when it last ran."""
    try:
        found: dict[str, float] = json.loads((context.folder("notes") / TIMES).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(sorted(found.items(), key=lambda item: ORDER.index(item[0].split()[0])))


def _section(context: Context, verb: str) -> Any:
    """Return the parameters a stage reads, as in ``dvc.yaml``."""
    params = context.params.model_dump(mode="json")
    shared = [params["expressions"], params["morphable"]]
    if verb in ("train_generator", "judge_generator"):
        shared.append(params["preprocess"])
    if verb == "synthesise":
        shared.append(params["sweep"]["mixed_test_identities"])
    if verb == "sweep":
        shared += [params["evaluate"]["blind"], params["evaluate"]["development"]]
    return [params[verb], shared]


def _rooms(verb: str) -> tuple[str, ...]:
    rooms = {
        "ingest": ("datasets", "morphable", "imaging"),
        "split": ("splits",),
        "train_generator": ("generators", "training"),
        "synthesise": ("generators", "morphable"),
        "judge_generator": ("evaluation", "recognition"),
        "preprocess": ("imaging",),
        "sweep": ("recognition", "training"),
        "evaluate": ("evaluation",),
        "decide": ("evaluation",),
        "report": ("evaluation",),
    }
    return ("core", f"stages/{verb}.py", *rooms[verb])


def _output(context: Context, verb: str) -> bool:
    """Whether what a stage leaves is still there."""
    params = context.params
    several: dict[str, Iterable[str]] = {
        "ingest": params.ingest,
        "train_generator": params.train_generator,
        "synthesise": params.synthesise,
        "judge_generator": params.judge_generator.pools,
        "preprocess": params.preprocess.sets,
    }
    if verb in several:
        return all(context.folder(verb, name).exists() for name in several[verb])
    folder = context.root / "report" if verb == "report" else context.folder(verb)
    return folder.exists()


def _note_time(context: Context, name: str, wall_s: float) -> None:
    write_json(context.folder("notes") / TIMES, {**times(context), name: round(wall_s, 2)})
