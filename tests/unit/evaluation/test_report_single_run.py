"""The leaves of one training run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from mien.core.expression import EKMAN_SIX
from mien.core.scores import Predictions
from mien.evaluation.metrics import evaluate
from mien.evaluation.single_run import classification_report, history_series, train_report

HISTORY: list[dict[str, Any]] = [
    {"images_seen": 100, "train_loss": 1.7, "loss": 1.6, "accuracy": 0.3, "ccc": None, "lr": 1e-3},
    {"images_seen": 200, "train_loss": 1.1, "loss": 1.2, "accuracy": 0.5, "ccc": None, "lr": 1e-3},
    {"images_seen": 300, "train_loss": 0.7, "loss": 1.4, "accuracy": 0.6, "ccc": None, "lr": 1e-4},
]


def judged(classes: int = 6):
    rng = np.random.default_rng(0)
    labels = np.arange(48) % classes
    logits = rng.normal(0, 1, (48, classes)) + 2 * np.eye(classes)[labels]
    none = np.zeros((48, 0), np.float32)
    return evaluate(
        Predictions(
            ids=[f"set/{i}" for i in range(48)],
            subjects=[f"set:{i // 6}" for i in range(48)],
            labels=labels,
            logits=logits.astype(np.float32),
            classes=EKMAN_SIX[:classes],
            affect=none,
            affect_true=none.copy(),
        )
    )


def test_a_run_leaves_curves_confusions_and_reports() -> None:
    """One picture of the curves; for every set a picture and a table."""
    files = train_report(HISTORY, {"validation": judged(), "test": judged()})
    assert set(files) == {
        "curves.png",
        "confusion_validation.png",
        "confusion_test.png",
        "report_validation.md",
        "report_test.md",
    }
    for name, data in files.items():
        if name.endswith(".png"):
            assert Image.open(io.BytesIO(data)).width > 400


def test_a_set_name_cannot_leave_the_folder() -> None:
    """Slashes and colons in a set's name do not become part of the path."""
    names = set(train_report(HISTORY, {"../blind:mmi": judged()}))
    assert "confusion_.._blind_mmi.png" in names
    assert not any("/" in name or ":" in name for name in names)


def test_the_report_names_every_class_and_total() -> None:
    """One row a class with precision, recall, F1 and faces; totals above."""
    found = judged()
    text = classification_report(found, title="test")
    assert text.startswith("# test\n")
    assert f"48 faces of 8 subjects: accuracy {100 * found.accuracy:.1f} %" in text
    for each in found.per_class:
        assert f"| {each.expression} | {100 * each.precision:.1f} %" in text
    assert "macro-F1" in text
    assert "ECE" in text


def test_series_leave_out_what_is_no_number() -> None:
    """None, NaN, truth values and the step itself are no series."""
    odd: list[dict[str, Any]] = [
        *HISTORY,
        {"images_seen": 400, "loss": float("nan"), "best": True, "note": "x"},
    ]
    series = history_series(odd)
    assert set(series) == {"train_loss", "loss", "accuracy", "lr"}
    assert series["loss"] == [(100, 1.6), (200, 1.2), (300, 1.4)]
