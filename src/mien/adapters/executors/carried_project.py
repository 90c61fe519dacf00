"""A generator's training for a machine that does not see our disk: the project carried there.

In the store lie ``projects/<digest>/<file>`` and, a training each, ``trainings/<digest>/``::

    task.json        the project's files with their digests, parameters, overrides, the generator
    state/           what the training keeps in its cache, copied there as it goes on
    progress.json    what it said last
    made/            the generator's folder, finished
    done.json        digest of each file of ``made``; its existence means done
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.adapters.executors.artefacts import (
    MIRROR_S,
    exists,
    fetch,
    fetch_folder,
    mirrored,
    put,
    put_folder,
    read,
    remove,
    store_errors,
    write,
)
from mien.adapters.executors.rules import held
from mien.core.digest import digest_file, digest_of
from mien.core.errors import EXIT_DONE, Corrupt, NotFound
from mien.core.parallel import speaks_for_all
from mien.core.tasks import Task

DONE = "done.json"
PROGRESS = "progress.json"
_CARRIED = ("ingest", "split")  # what generators learn from, below data/
_KEPT = "generators"  # below the cache: checkpoints, sheets


def project_of(task: Task) -> Path:
    """Name the project that a training's command line is about."""
    (where,) = [each for each in task.argv if each.startswith("--project=")]
    return Path(where.partition("=")[2])


def carry_training(task: Task, store: str) -> tuple[Task, str]:
    """Put a project into a store; returns the task for a machine elsewhere, and its folder there.

    Args:
        task: ``--project=… --params=… [--set=… …] [--done=…] train-generator NAME``.
        store: folder or URI that every machine reaches.

    Raises:
        Unavailable: ``STORE``.
    """
    options = [each.partition("=") for each in task.argv if each.startswith("--")]
    given = {name: value for name, _, value in options}
    project, params = project_of(task), Path(given["--params"])
    with store_errors(store):
        files = _put_project(project, store)
        described = {
            "files": files,
            "params": params.read_text(encoding="utf-8"),
            "overrides": [value for name, _, value in options if name == "--set"],
            "generator": task.argv[-1],
        }
        there = f"{store}/trainings/{digest_of(described)[:32]}"
        write(f"{there}/task.json", json.dumps(described, sort_keys=True).encode())
    argv = ("train-generator", "--carried", there)
    return Task(task.key, argv, f"{there}/{DONE}", task.env), there


def _put_project(project: Path, store: str) -> dict[str, dict[str, str]]:
    """Put what a training may read there, each file once: name → where it lies and its digest."""
    roots = [project / "data" / name for name in _CARRIED]
    found = sorted(p for root in roots for p in root.rglob("*") if p.is_file())
    files = {}
    for path in found:
        digest = digest_file(path)
        uri = f"{store}/projects/{digest}"
        if not exists(uri):
            put(path, uri)
        files[path.relative_to(project).as_posix()] = {"uri": uri, "digest": digest}
    return files


def bring_generator(there: str, project: Path, name: str) -> Path:
    """Fetch a trained generator into a project, verified, in the place of the one before.

    Raises:
        NotFound: ``ARTEFACT_MISSING``. Corrupt: ``ARTEFACT``. Unavailable: ``STORE``.
    """
    folder = project / "data" / "train_generator" / name
    new = folder.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        with store_errors(there):
            digests: Mapping[str, str] = json.loads(read(f"{there}/{DONE}") or b"{}")
            if not digests:
                raise NotFound(
                    "ARTEFACT_MISSING", f"{there}/{DONE} is not there", hint="train it again"
                )
            fetch_folder(f"{there}/made", new, digests)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except Corrupt:
        remove(f"{there}/{DONE}")  # trained again, it is put there anew
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def run_carried(
    there: str,
    cache: Path,
    run: Callable[[Sequence[str]], int],
    *,
    mirror_s: float = MIRROR_S,
) -> int:
    """Train a carried generator on this machine; returns the exit code of the verb.

    Of the processes of a crew the first to come fetches, and the one that speaks for all puts
    back.

    Args:
        there: folder of the training in the store.
        cache: for what is fetched; its own for each run.
        run: runs a mien verb in this process.
        mirror_s: seconds between two looks at what the training keeps.

    Raises:
        NotFound: ``ARTEFACT_MISSING``. Corrupt: ``ARTEFACT``, ``PLAN``. Unavailable: ``STORE``.
    """
    crew = os.environ.get("TORCHELASTIC_RUN_ID") or uuid.uuid4().hex
    here = cache / "fetched_trainings" / digest_of([there, crew])[:32]
    project, own_cache = here / "project", here / "cache"
    with store_errors(there):
        if exists(f"{there}/{DONE}"):
            return EXIT_DONE
        with held(here.with_suffix(".lock"), lambda: False):
            if not (here / "ready").exists():
                _bring(there, here, project, own_cache)
        described = _read(here / "task.json", there)
        argv = _verb(described, project, here)
        if not speaks_for_all():
            with _environment(own_cache, here / f"progress-{os.getpid()}.json"):
                return run(argv)
        kept = _Kept(here, own_cache, there)
        with mirrored(kept.files, mirror_s) as copy_now:
            with _environment(own_cache, here / PROGRESS):
                code = run(argv)
            copy_now()
        if code == EXIT_DONE:
            _leave(project / "data" / "train_generator" / str(described["generator"]), there)
            shutil.rmtree(here, ignore_errors=True)
    return code


def _bring(there: str, here: Path, project: Path, own_cache: Path) -> None:
    shutil.rmtree(here, ignore_errors=True)
    fetch(f"{there}/task.json", here / "task.json")
    described = _read(here / "task.json", there)
    for name, file in described["files"].items():
        fetch(file["uri"], project / name, file["digest"])
    project.mkdir(parents=True, exist_ok=True)
    (here / "params.yaml").write_text(described["params"], encoding="utf-8")
    fetch_folder(f"{there}/state", own_cache / _KEPT)
    (here / "ready").touch()


def _verb(described: Mapping[str, Any], project: Path, here: Path) -> list[str]:
    where = [f"--project={project}", f"--params={here / 'params.yaml'}"]
    overrides = [f"--set={each}" for each in described["overrides"]]
    return [*where, *overrides, "train-generator", str(described["generator"])]


class _Kept:
    """What a training keeps, and where copies of it go."""

    def __init__(self, here: Path, own_cache: Path, there: str) -> None:
        self.here, self.root, self.there = here, own_cache / _KEPT, there

    def files(self) -> dict[Path, str]:
        """Name the files there are just now."""
        found = [p for p in self.root.rglob("*") if p.is_file() and not p.name.startswith(".")]
        kept = {p: f"{self.there}/state/{p.relative_to(self.root).as_posix()}" for p in found}
        return kept | {self.here / PROGRESS: f"{self.there}/{PROGRESS}"}


def _leave(made: Path, there: str) -> None:
    """Put a finished generator there, the marker last; its state is needed no more."""
    names = sorted(p for p in made.rglob("*") if p.is_file())
    digests = {p.relative_to(made).as_posix(): digest_file(p) for p in names}
    put_folder(made, f"{there}/made")
    write(f"{there}/{DONE}", json.dumps(digests, indent=1).encode())
    remove(f"{there}/state")


@contextmanager
def _environment(cache: Path, told: Path) -> Iterator[None]:
    """Have a verb keep its cache and its progress where they are looked for."""
    given = {"MIEN_CACHE": str(cache), "MIEN_PROGRESS_FILE": str(told)}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _read(file: Path, there: str) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not {"files", "params", "overrides", "generator"} <= described.keys():
            raise ValueError("it lacks something")
    except (ValueError, AttributeError) as error:
        raise Corrupt(
            "PLAN", f"{there}/task.json describes no training: {error}", hint="ask for it again"
        ) from None
    return described
