"""One self-contained page a generator: verdict, faces, figures beside what real faces reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.evaluation.generator_fidelity import ClassFidelity, Fidelity
from mien.evaluation.generator_gates import Gate, GeneratorFigures, GeneratorVerdict
from mien.evaluation.page import page_environment, page_picture, page_sheet
from mien.evaluation.plots_generator import training_history_figure
from mien.evaluation.report_data import Note, Sheet
from mien.evaluation.report_view import ConfusionTable, shaded

_HEADLINES = {
    "fit": ("✓", "helps", "Fit for use", "Its faces may be added; how many, a sweep decides."),
    "unfit": ("!", "fault", "Not fit for use", "Do not train on its faces; mend what failed."),
    "open": ("?", "undecided", "Not decided", "Measure what is missing before using its faces."),
}


@dataclass(frozen=True, slots=True)
class GeneratorPage:
    """Everything on the page.

    Attributes:
        title: of the page: the pool or preset.
        engine: that makes the faces.
        digest: of the generator or pool.
        made: when, ISO 8601.
        code: version of this package.
        figures: what was measured.
        verdict: what follows from it.
        judge: what the judge is and what it was trained on, for people.
        sheets: of generated and real faces.
        notes: what else the reader has to know.
        training: reports of the training, each with ``kimg``; may be empty.
        facts: further facts in order, name → words: kimg, seconds, device, parameters.
        params: as resolved, plain values.
        lineage: artefact → digest.
    """

    title: str
    engine: str
    digest: str
    made: str
    code: str
    figures: GeneratorFigures
    verdict: GeneratorVerdict
    judge: str
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[Note, ...] = ()
    training: Sequence[Mapping[str, float]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class with its interval as a picture; places in percent of the width, 0 to 100 %.

    Attributes:
        found: the figures.
        low: left end of the fidelity's interval.
        width: of it.
        dot: the fidelity.
        judge: the judge's own accuracy.
        asked: the least fidelity.
        passed: the fidelity reaches it.
    """

    found: ClassFidelity
    low: float
    width: float
    dot: float
    judge: float
    asked: float
    passed: bool


def render_generator_page(page: GeneratorPage) -> str:
    """Make the page, as HTML text to be written as UTF-8.

    Raises:
        Invalid: ``SHEET_IMAGE`` when a contact sheet is no PNG.
    """
    mark, kind, words, action = _HEADLINES[page.verdict.kind]
    found = page.figures
    rendered: str = (
        page_environment()
        .get_template("generator.html.j2")
        .render(
            page=page,
            headline={"mark": mark, "kind": kind, "words": words, "action": action},
            notes=page.notes,
            gates=[(gate, *_gate_look(gate)) for gate in page.verdict.gates],
            figures=found,
            classes=_class_rows(found.fidelity, page.verdict.limits.fidelity),
            limits=page.verdict.limits,
            confusions=_confusions(found.fidelity),
            sheets=[page_sheet(s) for s in page.sheets],
            training=_training(page.training),
            params=json.dumps(page.params, indent=2, default=str, ensure_ascii=False),
        )
    )
    return rendered


def _gate_look(gate: Gate) -> tuple[str, str]:
    """Tone of a gate and the word that says how it went."""
    if gate.state == "passed":
        return ("good", "Passed") if gate.sure else ("warn", "Passed, not surely")
    return ("bad", "Failed") if gate.state == "failed" else ("info", "Not measured")


def _class_rows(found: Fidelity | None, share: float) -> tuple[ClassRow, ...]:
    rows = []
    for each in found.per_class if found else ():
        mine, own = each.fidelity, each.judge.estimate
        rows.append(
            ClassRow(
                each,
                low=round(100 * mine.low, 2),
                width=round(100 * (mine.high - mine.low), 2),
                dot=round(100 * mine.estimate, 2),
                judge=round(100 * own, 2),
                asked=round(100 * share * own, 2),
                passed=each.ratio >= share,
            )
        )
    return tuple(rows)


def _confusions(found: Fidelity | None) -> tuple[ConfusionTable, ...]:
    if found is None:
        return ()
    shown = (("generated faces", found.confusion), ("real faces", found.judge_confusion))
    return tuple(shaded(name, "", 1, found.classes, counts) for name, counts in shown)


def _training(history: Sequence[Mapping[str, float]]) -> Any:
    figure = training_history_figure(history)
    if figure is None:
        return None
    last = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
    return page_picture(figure, f"Training against thousands of faces seen; at the end: {last}.")
