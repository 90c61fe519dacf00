"""One self-contained page that answers the question: no script, no font, nothing from outside."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from markupsafe import Markup

from mien.evaluation.curve import CurvePoint, role_title
from mien.evaluation.page import page_environment, page_picture, page_sheet
from mien.evaluation.paper_table import SOURCE, paper_rows
from mien.evaluation.plots import bars_figure, reliability_figure
from mien.evaluation.plots_curve import curve_figure, saturation_figure
from mien.evaluation.plots_style import SERIES
from mien.evaluation.report_data import ArmFigures, ReportData
from mien.evaluation.report_notes import headline, notes, saturation_words
from mien.evaluation.report_view import (
    accuracy_tables,
    comparison_rows,
    confusion_table,
    cost_rows,
    duration,
    figures_by_role,
    ordered_roles,
    percent,
    slice_tables,
)


def render_report(data: ReportData) -> str:
    """Make the page, as HTML text to be written as UTF-8.

    Raises:
        Invalid: ``SHEET_IMAGE`` when a contact sheet is no PNG.
    """
    decision = data.decision
    by_role = figures_by_role(data)
    page: str = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            decision=decision,
            question=data.question,
            headline=headline(decision),
            notes=notes(data),
            confirmed=comparison_rows([decision.own, *decision.blind], data, wide=True),
            others=comparison_rows(decision.others, data),
            selection=comparison_rows(decision.selection, data),
            curves=[_curve(data, role) for role in _curve_roles(data.curve)],
            legend=_legend(data.curve),
            accuracies=accuracy_tables(data.curve),
            saturations=[_saturation(data, pool) for pool in data.saturation],
            by_role=[(role_title(role), figures) for role, figures in by_role],
            confusions=[
                (role_title(role), [confusion_table(f) for f in figures])
                for role, figures in by_role
            ],
            affects=[f for f in data.figures if isfinite(f.metrics.ccc_valence)],
            slices=slice_tables(data.slices),
            sheets=[page_sheet(s) for s in data.sheets],
            reliabilities=[
                _reliability(f)
                for role, figures in by_role
                for f in figures
                if f.before and role != "mixed_test"
            ],
            costs=cost_rows(data),
            stages=_stages(data),
            published=paper_rows(data.curve, data.question.blind) if data.published else (),
            published_source=SOURCE,
            params=json.dumps(data.params, indent=2, default=str, ensure_ascii=False),
        )
    )
    return page


def _curve_roles(points: tuple[CurvePoint, ...]) -> list[str]:
    """Draw every set that judges; what only selects stays in the table."""
    return [r for r in ordered_roles(points) if not r.startswith(("validation", "development"))]


def _curve(data: ReportData, role: str) -> dict[str, Any]:
    chosen = data.decision.ratio if data.decision.verdict == "helps" else None
    figure = curve_figure(data.curve, [role], chosen=chosen, legend=False)
    steps = sorted(
        (p for p in data.curve if (p.role, p.protocol) == (role, "steps")), key=lambda p: p.arm
    )
    said = "; ".join(
        f"{p.arm.name} {percent(p.mean)} % ({percent(p.low)} to {percent(p.high)})" for p in steps
    )
    label = f"Accuracy against ratio, {role_title(role)}, equal images seen: {said}."
    return {"title": role_title(role), "picture": page_picture(figure, label)}


def _legend(points: tuple[CurvePoint, ...]) -> list[tuple[str, str, int]]:
    """List the marks that occur: (kind, words, number of the colour)."""
    kinds = {p.arm.kind for p in points}
    pools = sorted({p.arm.pool for p in points if p.arm.kind == "ratio" and p.arm.pool}) or [""]
    plain = any(p.arm.kind == "ratio" and p.arm.base == "plain" for p in points)
    paper = any(p.protocol == "paper" for p in points)
    found = []
    for index, pool in enumerate(pools):
        name, colour = (f"{pool}: " if len(pools) > 1 else ""), index % len(SERIES) + 1
        found.append(("steps", f"{name}equal images seen (decides)", colour))
        if paper:
            found.append(("paper", f"{name}equal epochs", colour))
    offered = [
        ("band", "r0 and its interval", True),
        ("ceiling", "more real faces", "more_real" in kinds),
        ("synthetic", "synthetic faces only", "synthetic" in kinds),
        ("shuffled", "permuted labels (control)", "shuffled" in kinds),
        ("plain", "r0 without augmentation", plain),
    ]
    return found + [(kind, words, 0) for kind, words, present in offered if present]


def _saturation(data: ReportData, pool: str) -> dict[str, Any]:
    fitted = data.saturation[pool]
    means = sorted(
        (p.arm.ratio, p.mean)
        for p in data.curve
        if (p.role, p.protocol, p.arm.kind, p.arm.base) == ("test", "steps", "ratio", "geometric")
        and p.arm.pool in ("", pool)
    )
    words = saturation_words(pool, fitted)
    figure = saturation_figure(fitted, means, title=f"Saturation: {pool}")
    return {"words": words, "picture": page_picture(figure, f"Saturation curve. {words}")}


def _reliability(figures: ArmFigures) -> dict[str, Any]:
    title = f"{figures.arm} · {role_title(figures.role)}"
    figure = reliability_figure(figures.before, figures.after, title=title)
    before, after = percent(figures.metrics.ece), percent(figures.metrics.ece_scaled)
    label = f"Reliability of {title}: ECE {before} % before temperature, {after} % after."
    return {"picture": page_picture(figure, label)}


def _stages(data: ReportData) -> Markup | None:
    if not data.stages:
        return None
    said = ", ".join(f"{name} {duration(seconds)}" for name, seconds in data.stages.items())
    figure = bars_figure(data.stages, unit="s", title="", total=True)
    return page_picture(figure, f"Time by stage: {said}.")
