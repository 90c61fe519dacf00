"""Record a sweep: one parent run, one child a trial, told when the trial ends."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.expression import parse_expressions
from mien.core.scores import Predictions
from mien.core.tasks import RunData, RunStatus, TaskResult
from mien.evaluation.metrics import evaluate
from mien.evaluation.plots import confusion_png
from mien.stages.arrays import SetArrays
from mien.stages.context import Context, write_json
from mien.stages.plans import PlannedTrial, label_indices
from mien.stages.trial import RESULT

log = logging.getLogger(__name__)


class SweepTracking:
    """Says every finished trial to the tracker, once, and the sweep's curve at the end."""

    def __init__(
        self,
        context: Context,
        planned: Sequence[PlannedTrial],
        folders: Mapping[str, Path],
        sets: Mapping[str, SetArrays],
    ) -> None:
        self.context = context
        self.planned = {p.plan.key: p for p in planned}
        self.folders = folders
        self.inputs = {name: each.digest for name, each in sets.items()}
        self.accuracy: dict[str, dict[int, list[float]]] = {}
        experiment = context.params.experiment
        self.parent = context.tracker.start(experiment, f"sweep {experiment}")

    def trial_done(self, result: TaskResult) -> None:
        """Record one trial; trials found done in the cache are recorded under this sweep too."""
        planned = self.planned[result.key]
        tracker = self.context.tracker
        run = tracker.start(self.context.params.experiment, planned.plan.title, parent=self.parent)
        if result.state != "SUCCEEDED":
            status: RunStatus = "KILLED" if result.state == "CANCELLED" else "FAILED"
            tracker.finish(run, RunData(tags={"log": result.log[-4000:]}), status=status)
            return
        with tempfile.TemporaryDirectory(prefix="mien-trial-") as scratch:
            tracker.finish(run, self._trial_data(planned, Path(scratch)))

    def finish(self, status: RunStatus) -> None:
        """Close the parent run with accuracy against ratio (the metric's step is the ratio)."""
        series = {
            name: [(ratio, float(np.mean(values))) for ratio, values in sorted(by_ratio.items())]
            for name, by_ratio in self.accuracy.items()
        }
        data = RunData(
            params=_flat(self.context.params.sweep.model_dump(mode="json")),
            series=series,
            inputs=self.inputs,
        )
        self.context.tracker.finish(self.parent, data, status=status)
        write_json(self.context.folder("notes") / "run.json", {"sweep": self.parent})

    def _trial_data(self, planned: PlannedTrial, scratch: Path) -> RunData:
        plan, folder = planned.plan, self.folders[planned.plan.key]
        result = json.loads((folder / RESULT).read_text())
        metrics: dict[str, float] = {
            "train_s": result["train_s"],
            "wall_s": result["wall_s"],
            "images_seen": result["images_seen"],
        }
        for role, said in role_predictions(planned, folder).items():
            figures = evaluate(said)
            name = role.replace(":", "/")
            metrics[f"{name}/accuracy"] = figures.accuracy
            metrics[f"{name}/macro_f1"] = figures.macro_f1
            if plan.arm.kind == "ratio" and plan.arm.base == "geometric":
                curve = self.accuracy.setdefault(f"ratio/{plan.protocol}/{name}/accuracy", {})
                curve.setdefault(plan.arm.ratio, []).append(figures.accuracy)
            if role == "test":
                labels = [str(c) for c in said.classes]
                (scratch / "confusion_test.png").write_bytes(
                    confusion_png(figures.confusion, labels, title=plan.title)
                )
                write_json(scratch / "metrics_test.json", figures.to_dict())
        (scratch / "predictions.npz").write_bytes((folder / "predictions.npz").read_bytes())
        return RunData(
            params=_flat(
                {
                    "arm": plan.arm.name,
                    **asdict(plan.arm),
                    "seed": plan.seed,
                    "fold": plan.fold,
                    "protocol": plan.protocol,
                    "images": len(planned.mix.rows),
                    "classifier": dict(plan.classifier),
                    "fit": dict(plan.fit),
                }
            ),
            metrics=metrics,
            series=history_series(result["history"]),
            tags={"trial": plan.key},
            inputs=self.inputs,
            artifacts=scratch,
        )


def role_predictions(planned: PlannedTrial, folder: Path) -> dict[str, Predictions]:
    """Read a finished trial's raw predictions; ids and subjects are left empty."""
    classes = parse_expressions(planned.plan.classifier["classes"])
    found: dict[str, Predictions] = {}
    with np.load(folder / "predictions.npz", allow_pickle=False) as said:
        for role, rows in planned.roles.items():
            empty = [""] * len(rows)
            affect = said[f"{role}/affect"]
            found[role] = Predictions(
                ids=empty,
                subjects=empty,
                labels=np.array(label_indices(rows, classes), dtype=np.int64),
                logits=said[f"{role}/logits"],
                classes=classes,
                affect=affect,
                affect_true=np.full_like(affect, np.nan),
            )
    return found


def history_series(history: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Turn training history into metric series with images seen as the step."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in history:
        for name, value in record.items():
            if name != "images_seen" and isinstance(value, int | float) and np.isfinite(value):
                step = int(record["images_seen"])
                series.setdefault(f"fit/{name}", []).append((step, float(value)))
    return series


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
