"""A trial whose plan lies elsewhere: fetched, run here, its result put beside the plan.

What lies beside a remote plan: ``plan.json``, ``rows.npz``, the folders of its sets (``folder``
in the plan may be a URI, too); while it runs ``checkpoint/state.safetensors`` and
``progress.json``, copied there every few seconds, so that a node that is lost loses little;
then ``model/``, ``predictions.npz``, ``files.json`` with the digest of each, and last, as the
marker of being done, ``result.json``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mien.adapters.executors.artefacts import (
    MIRROR_S,
    exists,
    fetch,
    is_remote,
    local_path,
    mirrored,
    put,
    remove,
    store_errors,
)
from mien.adapters.executors.rules import held
from mien.core.digest import digest_file, digest_of
from mien.core.errors import Corrupt, Interrupted, NotFound
from mien.core.hooks import Cancelled

RESULT = "result.json"
FILES = "files.json"  # name → digest of everything else that a finished trial left
CHECKPOINT = "checkpoint/state.safetensors"
PROGRESS = "progress.json"
ROWS = "rows.npz"
SET_FILES = ("images.npy", "affect.npy")
_NOT_LEFT = ("plan.json", ROWS, PROGRESS, FILES, RESULT)


def run_trial(
    uri: str,
    cache: Path,
    run: Callable[[Path], None],
    cancelled: Cancelled,
    *,
    mirror_s: float = MIRROR_S,
) -> None:
    """Run a trial wherever its plan lies.

    Args:
        uri: of its plan.json: a path, ``file://`` or anything fsspec reaches.
        cache: folder for what is fetched; sets are fetched once.
        run: runs the trial of a plan on this machine; it may keep its progress in
            ``progress.json`` beside that plan.
        cancelled: asked while another process of this machine is at the same trial.
        mirror_s: seconds between two looks for a new checkpoint.

    Raises:
        NotFound: ``PLAN_MISSING``. Corrupt: ``PLAN``, ``ARTEFACT``. Unavailable: ``STORE``.
        Interrupted: after a checkpoint that lies beside the plan, for any machine to go on from.
    """
    if not is_remote(uri):
        run(local_path(uri))
        return
    there = uri.rpartition("/")[0]
    here = cache / "fetched" / digest_of(there)[:32]
    with store_errors(there), held(here.with_suffix(".lock"), cancelled) as mine:
        if not mine:
            raise Interrupted("asked to stop while another process was at it")
        if exists(f"{there}/{RESULT}"):
            return
        shutil.rmtree(here, ignore_errors=True)
        _bring(there, here, cache)
        kept = {here / name: f"{there}/{name}" for name in (CHECKPOINT, PROGRESS)}
        with mirrored(lambda: kept, mirror_s) as copy_now:
            try:
                run(here / "plan.json")
            except Interrupted:
                copy_now()
                raise
        _leave(here, there)
        shutil.rmtree(here, ignore_errors=True)


def _bring(there: str, here: Path, cache: Path) -> None:
    """Fetch the plan, its rows, its checkpoint, and the sets that are not here yet."""
    plan = here / "plan.json"
    try:
        fetch(f"{there}/plan.json", plan)
        described = _read(plan)
        fetch(f"{there}/{ROWS}", here / ROWS, str(described.get("rows", "")))
    except NotFound as error:
        raise NotFound(
            "PLAN_MISSING", error.message, hint="mien sweep writes plans and their rows"
        ) from None
    if exists(f"{there}/{CHECKPOINT}"):
        fetch(f"{there}/{CHECKPOINT}", here / CHECKPOINT)
    for each in described["sets"]:
        if is_remote(each["folder"]):
            each["folder"] = str(_bring_set(each, cache))
    plan.write_text(json.dumps(described), encoding="utf-8")


def _bring_set(described: Mapping[str, Any], cache: Path) -> Path:
    """Fetch a set once a machine; trials that start together fetch it one after the other."""
    folder = str(described["folder"])
    here = cache / "fetched_sets" / digest_of(folder)[:32]
    digests: Mapping[str, str] = described.get("digests", {})
    with held(here.with_suffix(".lock"), lambda: False):
        for name in SET_FILES:
            if not (here / name).exists():
                fetch(f"{folder}/{name}", here / name, digests.get(name, ""))
    return here


def _leave(here: Path, there: str) -> None:
    """Put what the trial left beside its plan, the marker last."""
    found = {p.relative_to(here).as_posix(): p for p in here.rglob("*") if p.is_file()}
    left = {n: p for n, p in found.items() if n not in _NOT_LEFT and n != CHECKPOINT}
    for name, path in left.items():
        put(path, f"{there}/{name}")
    listed = {**left, RESULT: here / RESULT}
    digests = {name: digest_file(path) for name, path in sorted(listed.items())}
    (here / FILES).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    put(here / FILES, f"{there}/{FILES}")
    put(here / RESULT, f"{there}/{RESULT}")
    for name in (CHECKPOINT, PROGRESS):
        remove(f"{there}/{name}")


def _read(plan: Path) -> dict[str, Any]:
    try:
        trial: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
        if not all(isinstance(each["folder"], str) for each in trial["sets"]):
            raise TypeError("a set has no folder")
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("PLAN", f"{plan} is not a plan: {error}", hint="run: mien sweep") from None
    return trial
