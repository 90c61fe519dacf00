"""A trial whose plan lies elsewhere: fetched, run here, its result put beside the plan.

What lies beside a remote plan: ``plan.json``, ``rows.npz``, the folders of its sets (``folder``
in the plan may be a URI, too), and later ``checkpoint/state.safetensors``, ``model/``,
``predictions.npz`` and last, as the marker of being done, ``result.json``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mien.adapters.task_rules import held
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Interrupted, MienError, NotFound, Unavailable
from mien.core.hooks import Cancelled

RESULT = "result.json"
_CHECKPOINT = "checkpoint/state.safetensors"
_NEEDED = ("plan.json", "rows.npz")
_SET = ("images.npy", "affect.npy")


def is_remote(uri: str) -> bool:
    """Whether something lies where only fsspec reaches."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """Return the path that a path or a ``file://`` URI means."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)


def run_trial(uri: str, cache: Path, run: Callable[[Path], None], cancelled: Cancelled) -> None:
    """Run a trial wherever its plan lies.

    Args:
        uri: of its plan.json: a path, ``file://`` or anything fsspec reaches.
        cache: folder for what is fetched; sets are fetched once.
        run: runs the trial of a plan on this machine.
        cancelled: asked while another process of this machine is at the same trial.

    Raises:
        NotFound: ``PLAN_MISSING``. Corrupt: ``PLAN``. Unavailable: ``STORE``.
        Interrupted: after a checkpoint that lies beside the plan, for any machine to go on from.
    """
    if not is_remote(uri):
        run(local_path(uri))
        return
    there = uri.rpartition("/")[0]
    here = cache / "fetched" / digest_of(there)[:32]
    with _store(there), held(here.with_suffix(".lock"), cancelled) as mine:
        if not mine:
            raise Interrupted("asked to stop while another process was at it")
        if _exists(f"{there}/{RESULT}"):
            return
        shutil.rmtree(here, ignore_errors=True)
        for name in _NEEDED:
            _fetch(f"{there}/{name}", here / name)
        if _exists(f"{there}/{_CHECKPOINT}"):
            _fetch(f"{there}/{_CHECKPOINT}", here / _CHECKPOINT)
        _settle(here / "plan.json", cache)
        try:
            run(here / "plan.json")
        except Interrupted:
            if (here / _CHECKPOINT).exists():
                _put(here / _CHECKPOINT, f"{there}/{_CHECKPOINT}")
            raise
        made = [p for p in here.rglob("*") if p.is_file() and p.name not in (*_NEEDED, RESULT)]
        for path in made:
            _put(path, f"{there}/{path.relative_to(here).as_posix()}")
        _put(here / RESULT, f"{there}/{RESULT}")
        if _exists(f"{there}/{_CHECKPOINT}"):
            _remove(f"{there}/{_CHECKPOINT}")
        shutil.rmtree(here, ignore_errors=True)


def _settle(plan: Path, cache: Path) -> None:
    """Fetch the sets that lie elsewhere, and let the plan name them where they are now."""
    try:
        trial: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
        sets = [(each, str(each["folder"])) for each in trial["sets"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("PLAN", f"{plan} is not a plan: {error}", hint="run: mien sweep") from None
    for each, folder in sets:
        if is_remote(folder):
            here = cache / "fetched_sets" / digest_of(folder)[:32]
            for name in _SET:
                if not (here / name).exists():
                    _fetch(f"{folder}/{name}", here / name)
            each["folder"] = str(here)
    plan.write_text(json.dumps(trial), encoding="utf-8")


def _fetch(uri: str, to: Path) -> None:
    """Copy a file here, whole or not at all."""
    import fsspec

    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_name(f".{to.name}.new")
    system, path = fsspec.core.url_to_fs(uri)
    try:
        system.get_file(path, str(new))
    except FileNotFoundError:
        raise NotFound(
            "PLAN_MISSING", f"there is no {uri}", hint="mien sweep writes plans and their rows"
        ) from None
    new.replace(to)


def _put(path: Path, uri: str) -> None:
    import fsspec

    system, to = fsspec.core.url_to_fs(uri)
    system.put_file(str(path), to)


def _exists(uri: str) -> bool:
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    system.invalidate_cache()
    return bool(system.exists(path))


def _remove(uri: str) -> None:
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    system.rm_file(path)


@contextmanager
def _store(there: str) -> Iterator[None]:
    """Say in our words what the store refused; what the trial itself raised goes on as it is."""
    try:
        yield
    except (MienError, Interrupted):
        raise
    except OSError as error:
        raise Unavailable(
            "STORE", f"{there}: {error}", hint="see that the store answers and lets this user in"
        ) from error
