"""Run one trial: train an arm with a seed, judge it on every set, leave a folder behind.

The folder holds ``plan.json`` and ``rows.npz`` (written by whoever plans), and then
``checkpoint/`` while training, ``model/``, ``predictions.npz`` and last, as the marker of being
done, ``result.json``.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.arrays import Float, Int, UInt8
from mien.core.errors import Corrupt, NotFound
from mien.core.faces import FaceArrays
from mien.core.hooks import Cancelled, OnProgress, never_cancelled, no_progress
from mien.recognition.files import save_model
from mien.recognition.fit import FitResult, fit
from mien.recognition.predict import predict
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.registry.staging import disk_errors
from mien.stages.context import whole, write_json
from mien.training.checkpoint import load_checkpoint, save_checkpoint

RESULT = "result.json"


def run(
    plan: Path,
    *,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> None:
    """Run the trial described by a plan file; does nothing when it is done.

    Raises:
        NotFound: ``PLAN_MISSING``.
        Corrupt: ``PLAN`` when the plan cannot be read.
        Exhausted: ``DISK_FULL``. Forbidden: ``NO_WRITE_PERMISSION``.
        Interrupted: after a checkpoint, when asked to stop.
    """
    folder = plan.parent
    if (folder / RESULT).exists():
        return
    trial = _read_plan(plan)
    described = trial["plan"]
    classifier = ClassifierSpec.from_json(described["classifier"])
    schedule = FitSpec(**described["fit"])
    pool = Rows(folder, trial["sets"])
    started = time.perf_counter()
    checkpoint = folder / "checkpoint"
    with disk_errors(folder):
        fitted = fit(
            classifier,
            schedule,
            pool.take("train"),
            pool.take("validation"),
            progress=progress,
            cancelled=cancelled,
            save=lambda state: save_checkpoint(checkpoint, state),
            resume=load_checkpoint(checkpoint),
        )
        predictions: dict[str, Float] = {}
        for role in pool.roles:
            if role != "train":
                judged = predict(fitted.weights, classifier, pool.take(role))
                predictions[f"{role}/logits"] = judged.logits
                predictions[f"{role}/affect"] = judged.affect
        _finish(folder, trial, classifier, fitted, predictions, time.perf_counter() - started)


def _read_plan(plan: Path) -> dict[str, Any]:
    try:
        trial: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            "PLAN_MISSING", f"{plan} does not exist", hint="mien sweep writes plans"
        ) from None
    except ValueError as error:
        raise Corrupt("PLAN", f"{plan} is not a plan: {error}", hint="run: mien sweep") from None
    return trial


class Rows:
    """The rows of a plan, taken from the memory-mapped sets."""

    def __init__(self, folder: Path, sets: list[dict[str, str]]) -> None:
        with np.load(folder / "rows.npz", allow_pickle=False) as rows:
            self.rows: dict[str, Int] = {k: rows[k] for k in rows.files}
        self.folders = [Path(s["folder"]) for s in sets]
        self.images: dict[int, UInt8] = {}
        self.affect: dict[int, Float] = {}

    @property
    def roles(self) -> list[str]:
        """All roles, ``train`` included."""
        return list(self.rows)

    def take(self, role: str) -> FaceArrays:
        """Gather one role's faces: rows are (set, position, label)."""
        rows = self.rows[role]
        images = [self._images(int(s))[int(i)] for s, i, _ in rows]
        affect = [self.affect[int(s)][int(i)] for s, i, _ in rows]
        names = [f"{s}/{i}" for s, i, _ in rows]
        return FaceArrays(
            images=np.stack(images),
            labels=rows[:, 2].copy(),
            affect=np.stack(affect),
            ids=names,
            subjects=names,
        )

    def _images(self, index: int) -> UInt8:
        if index not in self.images:
            folder = self.folders[index]
            self.images[index] = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            self.affect[index] = np.load(folder / "affect.npy", allow_pickle=False)
        return self.images[index]


def _finish(
    folder: Path,
    trial: dict[str, Any],
    classifier: ClassifierSpec,
    fitted: FitResult,
    predictions: dict[str, Float],
    wall_s: float,
) -> None:
    with whole(folder / "predictions.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **predictions)
    save_model(
        folder / "model",
        fitted.weights,
        classifier,
        preprocess=trial["preprocess"],
        lineage={"trial": trial["key"], "train": trial["plan"]["train"], **trial["lineage"]},
    )
    write_json(
        folder / RESULT,
        {
            "key": trial["key"],
            "history": [asdict(h) for h in fitted.history],
            "best_images_seen": fitted.best_images_seen,
            "images_seen": fitted.images_seen,
            "train_s": fitted.train_s,
            "wall_s": wall_s,
            "device": fitted.device,
        },
    )
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
