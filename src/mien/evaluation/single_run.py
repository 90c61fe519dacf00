"""The leaves of one training run: curves, confusion matrices, classification reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mien.evaluation.metrics import Metrics
from mien.evaluation.plots import Series, confusion_png, training_figure
from mien.evaluation.plots_style import to_png


def train_report(
    history: Sequence[Mapping[str, Any]], figures: Mapping[str, Metrics]
) -> dict[str, bytes]:
    """Draw and write everything that is shown of one trained model.

    Args:
        history: one record an evaluation, with ``images_seen`` and any figures by name; the
            lowest ``loss`` marks the checkpoint that was kept.
        figures: set name → what the kept checkpoint scored on it.

    Returns:
        File name → content: ``curves.png``, and for every set ``confusion_<set>.png`` (where
        there are classes) and ``report_<set>.md``.
    """
    series = history_series(history)
    files = {"curves.png": to_png(training_figure(series, best=_best(history)))}
    for name, found in figures.items():
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        if found.per_class:
            title = f"{name}: {found.faces} faces"
            classes = [str(c) for c in found.classes]
            files[f"confusion_{safe}.png"] = confusion_png(found.confusion, classes, title=title)
        files[f"report_{safe}.md"] = classification_report(found, title=name).encode()
    return files


def history_series(history: Sequence[Mapping[str, Any]]) -> Series:
    """Turn records into name → ((images seen, value), …), leaving out what is no finite number."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in history:
        for name, value in record.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name != "images_seen" and is_number and np.isfinite(value):
                series.setdefault(name, []).append((int(record["images_seen"]), float(value)))
    return series


def _best(history: Sequence[Mapping[str, Any]]) -> int | None:
    """Find the evaluation whose weights were kept: the first with the lowest ``loss``."""
    judged = [r for r in history if isinstance(r.get("loss"), int | float)]
    kept = min(judged, key=lambda r: float(r["loss"]), default=None)
    return None if kept is None else int(kept["images_seen"])


def classification_report(found: Metrics, *, title: str = "") -> str:
    """Write a set's figures as Markdown: a line of totals, then one row a class."""
    people = f" of {found.subjects} subjects" if found.subjects else ""
    lines = [f"# {title}", ""] if title else []
    totals = {
        "accuracy": found.accuracy,
        "balanced accuracy": found.balanced_accuracy,
        "macro-F1": found.macro_f1,
    }
    said = [f"{name} {_percent(value)}" for name, value in totals.items() if np.isfinite(value)]
    if np.isfinite(found.ece):
        said.append(f"ECE {_percent(found.ece)} ({_percent(found.ece_scaled)} after temperature)")
    said += [
        f"CCC {name} {value:.3f}"
        for name, value in (("valence", found.ccc_valence), ("arousal", found.ccc_arousal))
        if np.isfinite(value)
    ]
    lines += [f"{found.faces} faces{people}: {', '.join(said)}.", ""]
    if found.per_class:
        lines += ["| expression | precision | recall | F1 | faces |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {c.expression} | {_percent(c.precision)} | {_percent(c.recall)} "
            f"| {_percent(c.f1)} | {c.support} |"
            for c in found.per_class
        ]
    return "\n".join(lines) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if np.isfinite(value) else "–"
