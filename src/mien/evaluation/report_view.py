"""Tables as the page shows them: numbers formatted, rows lined up, nothing decided here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from mien.evaluation.curve import CurvePoint, role_title
from mien.evaluation.metrics import CountMatrix, normalise_rows
from mien.evaluation.report_data import ArmCost, ArmFigures, ArmSlices, ReportData
from mien.evaluation.report_notes import signed_points
from mien.evaluation.saturation import cost_per_point
from mien.evaluation.slices import Slice
from mien.evaluation.verdict import Comparison

VERDICT_WORDS = {"helps": "helps", "none": "no gain", "undecided": "open"}


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction in percent: 0.7034 → ``70.3``; what is undefined → ``–``."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Write a plain number; what is undefined → ``–``."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def p_value(value: float) -> str:
    """Write a p value: three digits, and no zero that it is not."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """Write a number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Write a time with two units at most: 252 → ``4 min 12 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def when(moment: str) -> str:
    """Write an ISO 8601 time to the minute, in UTC; what is none stays as it is."""
    try:
        known = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{known.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Strip:
    """A comparison drawn as an interval on a common scale; positions in percent of its width.

    Attributes:
        low: left end.
        width: of the interval.
        estimate: place of the dot; None where it lies off the scale.
        zero: place of no difference.
        effect: place of the smallest gain worth having.
        cut: ``left``, ``right`` or "": the side on which the interval leaves the scale.
    """

    low: float
    width: float
    estimate: float | None
    zero: float
    effect: float
    cut: str


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A comparison with its strip.

    Attributes:
        found: the figures.
        title: of the set, for people.
        candidate: this arm was selected for the confirmatory test.
        strip: the interval as a picture.
        word: what it says, in a word or two.
    """

    found: Comparison
    title: str
    candidate: bool
    strip: Strip
    word: str


def comparison_rows(
    found: Sequence[Comparison], data: ReportData, *, wide: bool = False
) -> tuple[ComparisonRow, ...]:
    """Lay comparisons out on one scale.

    The scale holds zero, the effect asked for and the ratios' intervals; controls far off (a
    shuffled arm loses everything) are cut, or the ratios would be dots.

    Args:
        found: comparisons with r0.
        data: for the candidate, the effect and the names of blind databases.
        wide: hold every interval whole.
    """
    decision, blind = data.decision, set(data.question.blind)
    ends = [(c.low, c.high) for c in found if wide or re.match(r"r[1-9]", c.arm)]
    low = min(0.0, *(e for e, _ in ends), -decision.min_effect)
    high = max(decision.min_effect, *(e for _, e in ends), 0.0)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    rows = []
    for c in found:
        inside = low <= c.estimate <= high
        strip = Strip(
            place(c.low),
            round(place(c.high) - place(c.low), 2),
            place(c.estimate) if inside else None,
            place(0.0),
            place(decision.min_effect),
            "left" if c.low < low else "right" if c.high > high else "",
        )
        title = role_title(f"blind:{c.set}" if c.set in blind else c.set)
        word = "harms" if c.verdict == "none" and c.high < 0 else VERDICT_WORDS[c.verdict]
        rows.append(ComparisonRow(c, title, c.arm == decision.candidate, strip, word))
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """Accuracy of every arm (rows) on every set (columns) under one protocol."""

    protocol: str
    roles: tuple[str, ...]
    rows: tuple[tuple[str, float | None, tuple[CurvePoint | None, ...]], ...]


def accuracy_tables(points: Sequence[CurvePoint]) -> tuple[AccuracyTable, ...]:
    """Line the curve's points up as tables, ``steps`` first."""
    tables = []
    for protocol in ("steps", "paper"):
        mine = [p for p in points if p.protocol == protocol]
        if not mine:
            continue
        roles = ordered_roles(mine)
        at = {(p.arm, p.role): p for p in mine}
        ratios = {p.arm: p.image_ratio for p in mine}
        arms = sorted({p.arm for p in mine}, key=lambda a: (a.kind != "ratio", a))
        rows = tuple((a.name, ratios[a], tuple(at.get((a, r)) for r in roles)) for a in arms)
        tables.append(AccuracyTable(protocol, roles, rows))
    return tuple(tables)


def ordered_roles(points: Iterable[CurvePoint]) -> tuple[str, ...]:
    """List the sets: own test, blind, the mixed test, then those that select."""
    ranks = {"test": 0, "blind": 1, "mixed_test": 2, "validation": 3, "development": 4}
    roles = {p.role for p in points}
    return tuple(sorted(roles, key=lambda r: (ranks.get(r.partition(":")[0], 9), r)))


@dataclass(frozen=True, slots=True)
class ConfusionTable:
    """A confusion matrix ready to be shaded.

    Attributes:
        arm: its name.
        title: of the set.
        trials: whose counts are added up.
        classes: names, in order.
        cells: rows of (share of the true class in [0, 1] or None, count).
    """

    arm: str
    title: str
    trials: int
    classes: tuple[str, ...]
    cells: tuple[tuple[tuple[float | None, int], ...], ...]


def confusion_table(figures: ArmFigures) -> ConfusionTable:
    """Turn an arm's counts into shares of the true class."""
    metrics = figures.metrics
    return shaded(
        figures.arm, role_title(figures.role), figures.trials, metrics.classes, metrics.confusion
    )


def shaded(
    arm: str, title: str, trials: int, classes: Sequence[str], confusion: CountMatrix
) -> ConfusionTable:
    """Turn counts into shares of the true class."""
    counts = np.array(confusion, dtype=np.int64)
    cells = tuple(
        tuple(
            (None if np.isnan(s) else round(float(s), 4), int(n)) for s, n in zip(a, b, strict=True)
        )
        for a, b in zip(normalise_rows(counts), counts, strict=True)
    )
    return ConfusionTable(arm, title, trials, tuple(str(c) for c in classes), cells)


def macro_average(figures: ArmFigures) -> tuple[float, float, float]:
    """Average precision, recall and F1 over the classes present."""
    metrics = figures.metrics
    precision = [c.precision for c in metrics.per_class if c.support]
    return sum(precision) / max(len(precision), 1), metrics.balanced_accuracy, metrics.macro_f1


def figures_by_role(data: ReportData) -> tuple[tuple[str, tuple[ArmFigures, ...]], ...]:
    """Group figures by set, in the order of the page; only those with classes."""
    shown = [f for f in data.figures if f.metrics.per_class]
    ranks = {"test": 0, "blind": 1, "mixed_test": 2}
    roles = sorted({f.role for f in shown}, key=lambda r: (ranks.get(r.partition(":")[0], 9), r))
    return tuple((role, tuple(f for f in shown if f.role == role)) for role in roles)


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One value of one attribute, with every arm's slice (None where an arm lacks it)."""

    attribute: str
    value: str
    subjects: int
    images: int
    arms: tuple[Slice | None, ...]


@dataclass(frozen=True, slots=True)
class SliceTable:
    """Slices of one set: rows are values, columns arms."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[SliceRow, ...]


def slice_tables(found: Sequence[ArmSlices]) -> tuple[SliceTable, ...]:
    """Put the arms' slices side by side, set by set."""
    tables = []
    for role in dict.fromkeys(f.role for f in found):
        mine = [f for f in found if f.role == role]
        cells = {(f.arm, s.attribute, s.value): s for f in mine for s in f.slices}
        arms = tuple(dict.fromkeys(f.arm for f in mine))
        rows = []
        for attribute, value in dict.fromkeys((a, v) for _, a, v in cells):
            slices = tuple(cells.get((arm, attribute, value)) for arm in arms)
            first = next(s for s in slices if s is not None)
            rows.append(SliceRow(attribute, value, first.subjects, first.images, slices))
        tables.append(SliceTable(role_title(role), arms, tuple(rows)))
    return tuple(tables)


@dataclass(frozen=True, slots=True)
class CostRow:
    """What an arm took and what a point cost.

    Attributes:
        cost: as given.
        gain: over r0 on the own test, or None.
        per_point: seconds beyond r0 a point gained, for people.
    """

    cost: ArmCost
    gain: Comparison | None
    per_point: str


def cost_rows(data: ReportData) -> tuple[CostRow, ...]:
    """Price every arm against r0 of its protocol."""
    base = {c.protocol: c for c in data.costs if c.arm == "r0"}
    gains = {("steps", c.arm): c for c in data.decision.others}
    if data.paper is not None:
        gains |= {("paper", c.arm): c for c in data.paper.others}
    rows = []
    for cost in sorted(data.costs, key=lambda c: c.protocol != "steps"):
        gain = gains.get((cost.protocol, cost.arm))
        rows.append(CostRow(cost, gain, _price(cost, base.get(cost.protocol), gain)))
    return tuple(rows)


def _price(cost: ArmCost, base: ArmCost | None, gain: Comparison | None) -> str:
    if base is None or gain is None or cost.arm == "r0":
        return "–"
    if cost.arm.startswith("more_real"):
        return "collecting is not counted"
    extra = cost.synthesis_s + cost.trial_s - base.trial_s
    if gain.estimate > 0.0 and extra <= 0.0:
        return "no extra time"
    extra = max(extra, 0.0)
    price = cost_per_point(extra, gain.estimate, gain.low, gain.high)
    if price.estimate is None or price.low is None:
        return "no gain"
    high = "no limit" if price.high is None else duration(price.high)
    return f"{duration(price.estimate)} ({duration(price.low)} to {high})"


def gain_words(gain: Comparison | None) -> str:
    """Write a gain in points with its interval."""
    if gain is None:
        return "–"
    return (
        f"{signed_points(gain.estimate)} ({signed_points(gain.low)} to {signed_points(gain.high)})"
    )
