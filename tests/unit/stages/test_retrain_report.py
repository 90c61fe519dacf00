"""Figures in a retraining's report: what moved, what is new, what is gone."""

from __future__ import annotations

import json

import pytest

from mien.stages.retrain_report import _figures, _gain, without_pictures


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (0.5, 0.75, "+0.25"),
        (0.5, 0.25, "-0.25"),
        (1, 1, "0"),
        (None, None, "0"),
        (None, 0.5, "new"),
        (0.5, None, "gone"),
        ("helps", "none", "changed"),
        ("none", "none", "0"),
    ],
)
def test_a_change_is_said(was, now, said):
    """Numbers by their difference, words by whether they are others."""
    assert _gain(was, now) == said


def test_figures_are_compared_with_what_they_were(tmp_path):
    """Only what moved is shown; the rest is counted."""

    class Project:
        root = tmp_path / "now"

    for where, value in (
        ("now", {"steps": {"r0": 0.8, "r1": 0.9, "r2": 0.7}, "verdict": "helps"}),
        ("before", {"steps": {"r0": 0.8, "r1": 0.85, "r5": 0.6}, "verdict": "none"}),
    ):
        folder = tmp_path / where / "data" / "metrics"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(value))
    text = _figures(Project(), tmp_path / "before")
    rows = [line for line in text.splitlines() if line.startswith("| summary.")]
    assert rows == [
        "| summary.steps.r1 | 0.85 | 0.9 | +0.05 |",
        "| summary.steps.r2 |  | 0.7 | new |",
        "| summary.verdict | none | helps | changed |",
        "| summary.steps.r5 | 0.6 |  | gone |",
    ]
    assert "1 figures did not change" in text


def test_pictures_are_left_out_where_they_are_not_to_be_had():
    """Their lines go, everything else stays."""
    assert without_pictures("# A\n\n![a curve](curve.png)\n\n| b |\n") == "# A\n\n| b |\n"
