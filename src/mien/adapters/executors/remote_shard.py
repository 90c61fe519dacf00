"""A shard whose plan lies elsewhere: fetched, made here, put beside the plan, its marker last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.adapters.executors.artefacts import (
    MIRROR_S,
    exists,
    fetch,
    fetch_folder,
    is_remote,
    local_path,
    mirrored,
    put_folder,
    store_errors,
)
from mien.adapters.executors.rules import held
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Interrupted, NotFound
from mien.core.hooks import Cancelled
from mien.core.shards import MARKER, PLAN, progress_file, shard_folder


def run_shard(
    uri: str,
    index: int,
    cache: Path,
    run: Callable[[Path], None],
    cancelled: Cancelled,
    *,
    mirror_s: float = MIRROR_S,
) -> None:
    """Make a shard wherever its plan lies.

    Args:
        uri: of the plan file: a path, ``file://`` or anything fsspec reaches.
        index: of the shard.
        cache: folder for what is fetched; generators are fetched once.
        run: makes the shard of a plan on this machine.
        cancelled: asked while another process of this machine is at the same shard.
        mirror_s: seconds between two looks at the worker's progress.

    Raises:
        NotFound: ``PLAN_MISSING``. Corrupt: ``PLAN``. Unavailable: ``STORE``. Interrupted.
    """
    if not is_remote(uri):
        run(local_path(uri))
        return
    there = uri.rpartition("/")[0]
    left = f"{there}/shards/{index:06d}"
    here = cache / "fetched_shards" / digest_of(left)[:32]
    with store_errors(there), held(here.with_suffix(".lock"), cancelled) as mine:
        if not mine:
            raise Interrupted("asked to stop while another process was at it")
        if exists(f"{left}/{MARKER}"):
            return
        shutil.rmtree(here, ignore_errors=True)
        try:
            plan = here / PLAN
            _bring(uri, plan, cache)
            told = {progress_file(plan, index): f"{there}/progress/{index:06d}"}
            with mirrored(lambda: told, mirror_s):
                run(plan)
            put_folder(shard_folder(plan, index), left, last=[MARKER])
        finally:
            shutil.rmtree(here, ignore_errors=True)


def _bring(uri: str, plan: Path, cache: Path) -> None:
    """Fetch the plan and the generators it names."""
    try:
        fetch(uri, plan)
    except NotFound as error:
        raise NotFound(
            "PLAN_MISSING", error.message, hint="the generation service writes plans"
        ) from None
    try:
        planned: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
        planned["params"] = _here(planned["params"], cache)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("PLAN", f"{uri} is no plan of faces: {error}", hint="plan anew") from None
    plan.write_text(json.dumps(planned), encoding="utf-8")


def _here(value: Any, cache: Path) -> Any:
    """Put folders of this machine in the place of URIs of generators."""
    if isinstance(value, list):
        return [_here(each, cache) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _generator(each, cache)
        if key == "generator" and isinstance(each, str) and is_remote(each)
        else _here(each, cache)
        for key, each in value.items()
    }


def _generator(uri: str, cache: Path) -> str:
    """Fetch a generator once a machine."""
    here = cache / "fetched_generators" / digest_of(uri)[:32]
    with held(here.with_suffix(".lock"), lambda: False):
        if not here.exists():
            new = here.with_name(f".{here.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            fetch_folder(uri, new)
            new.rename(here)
    return str(here)
