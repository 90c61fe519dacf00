"""What the reader has to be told first: the answer in a headline, and every caveat that follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mien.evaluation.curve import role_title
from mien.evaluation.power import MOST_SEEDS, MOST_SUBJECTS
from mien.evaluation.report_data import Note, ReportData, Tone
from mien.evaluation.saturation import Saturation
from mien.evaluation.verdict import Comparison, Decision
from mien.evaluation.verdict_words import about_more


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer, largest on the page.

    Attributes:
        mark: one character that says it without colour.
        kind: ``helps``, ``none``, ``undecided`` or ``fault``.
        words: the answer in at most a line.
        action: what to do.
    """

    mark: str
    kind: str
    words: str
    action: str


def headline(decision: Decision) -> Headline:
    """Say the verdict in one line, and what to do about it."""
    if decision.faults:
        return Headline(
            "!",
            "fault",
            "Do not trust this run",
            "Mend the pipeline and run the sweep again; until then there is no verdict.",
        )
    own = decision.own
    if decision.verdict == "helps":
        units = f"{decision.ratio} unit{'s' if decision.ratio != 1 else ''}"
        pool = decision.arm.partition("@")[2]
        return Headline(
            "✓",
            "helps",
            f"Adding {units} helps: {signed_points(own.estimate)}\u00a0points on new people",
            f"Train on the real faces and {units} of synthetic ones"
            + (f" from the pool {pool}." if pool else "."),
        )
    if decision.verdict == "none":
        ruled_out = f"A gain of {100 * decision.min_effect:.3g} points or more is ruled out."
        lowers = "Synthetic faces lower accuracy here."
        why = lowers if own.high < 0.0 else ruled_out
        return Headline("–", "none", "No ratio helps", f"Add nothing: stay with r0. {why}")
    return Headline("?", "undecided", f"Not enough data: {_missing(decision)}", _stay(decision))


def _missing(decision: Decision) -> str:
    subjects, seeds = decision.more_subjects or 0, decision.more_seeds or 0
    own = decision.own
    if own.seeds + seeds >= MOST_SEEDS or own.subjects + subjects >= MOST_SUBJECTS:
        return "training varies too much"
    parts = []
    if subjects:
        parts.append(about_more(subjects, "subject"))
    if seeds:
        parts.append(about_more(seeds, "seed"))
    return " and ".join(parts) or "the interval is too wide"


def _stay(decision: Decision) -> str:
    effect = f"{100 * decision.min_effect:.3g} points"
    return f"Stay with r0 until a gain of {effect} can be told from none."


def notes(data: ReportData) -> tuple[Note, ...]:
    """Gather every caveat, the gravest first."""
    found = [
        *(Note("bad", f"Pipeline fault: {fault}.") for fault in data.decision.faults),
        *_controls(data),
        *_design(data),
        *_blind(data.decision),
        *_protocols(data),
        *_rights(data),
        *data.notes,
    ]
    order: dict[Tone, int] = {"bad": 0, "warn": 1, "info": 2, "good": 3}
    return tuple(sorted(found, key=lambda n: order[n.tone]))


def _controls(data: ReportData) -> Iterator[Note]:
    shuffled = [c for c in data.decision.others if c.arm.startswith("shuffled")]
    for control in shuffled:
        said = f"The control with permuted labels ({control.arm}, {_change(control)})"
        if control.verdict == "helps":
            yield Note("bad", f"{said} was called helpful: the verdict cannot be trusted.")
        else:
            yield Note("good", f"{said} was not called helpful, as it must not be.")
    if not shuffled:
        yield Note("info", "No control with permuted labels was run (sweep.shuffled).")
    ceiling = data.decision.ceiling
    if ceiling is None:
        yield Note(
            "info", "Without a more_real arm the gain of further real faces is not known here."
        )
    else:
        yield Note("info", f"As many further real faces ({ceiling.arm}) give {_change(ceiling)}.")
    if data.near_duplicates:
        yield Note(
            "warn",
            f"{data.near_duplicates} pairs of nearly identical pictures lie in sets that must be "
            "apart: figures on those sets flatter.",
        )
    elif data.near_duplicates is None:
        yield Note("info", "Near-duplicates across sets were not looked for.")
    else:
        yield Note("good", "No near-duplicates lie across the sets.")


def _design(data: ReportData) -> Iterator[Note]:
    question = data.question
    if question.by == "sample":
        yield Note(
            "warn",
            f"{question.database} has no subjects: it is split, and the pool mixed, by image. "
            "Pictures of one person may lie on both sides, every face counts as a person, and "
            "nothing is claimed about new people.",
        )
    if question.seeds < 3:
        yield Note(
            "warn",
            f"Only {question.seeds} seed{'s' if question.seeds != 1 else ''}: the spread between "
            "trainings is hardly known. Use 3 to 5.",
        )
    if any(p.role == "mixed_test" for p in data.curve):
        yield Note(
            "info",
            "The mixed test contains synthetic faces, as the published evaluation did. It is "
            "shown under that name only; no verdict rests on it.",
        )


def _blind(decision: Decision) -> Iterator[Note]:
    for found in decision.blind:
        if found.high < 0.0 and found.p_adjusted < decision.alpha:
            yield Note(
                "warn",
                f"On {role_title(found.set)} {found.arm} lowers accuracy: {_change(found)}.",
            )


def _protocols(data: ReportData) -> Iterator[Note]:
    other = data.paper
    if other is None:
        return
    same = other.verdict == data.decision.verdict and other.arm == data.decision.arm
    words = headline(other).words
    words = words[0].lower() + words[1:]
    tail = "" if same else " That protocol gives arms with more faces more training too."
    yield Note("info", f"Under equal epochs the answer would have been: {words}.{tail}")


def _rights(data: ReportData) -> Iterator[Note]:
    closed = sorted(
        {
            source
            for version in data.versions
            for source, licence in version.licences.items()
            if licence.commercial is not True
        }
    )
    if closed:
        names = ", ".join(closed)
        yield Note(
            "warn", f"Not cleared for commercial use, nor is what was made from it: {names}."
        )


def saturation_words(pool: str, fitted: Saturation) -> str:
    """Say where more synthetic faces stop paying."""
    gain = f"{signed_points(fitted.gain)} points"
    band = f"{signed_points(fitted.gain_low)} to {signed_points(fitted.gain_high)}"
    if fitted.flat or fitted.ratio_95 is None:
        return (
            f"{pool}: endless faces would give {gain} ({band}). The interval holds zero, so "
            "nothing can be said about where the gain ends."
        )
    low, high = fitted.ratio_95_low or 0.0, fitted.ratio_95_high or 0.0
    tail = " That lies beyond the largest ratio tried." if fitted.beyond else ""
    return (
        f"{pool}: endless faces would give {gain} ({band}); 95 % of that is reached at about "
        f"r{fitted.ratio_95:.0f} (r{low:.0f} to r{high:.0f}).{tail}"
    )


def signed_points(fraction: float) -> str:
    """Write a difference in percentage points with its sign: 0.021 → ``+2.1``, −0.01 → ``−1.0``."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def _change(found: Comparison) -> str:
    interval = f"{signed_points(found.low)} to {signed_points(found.high)}"
    return f"{signed_points(found.estimate)} points, {interval}"
