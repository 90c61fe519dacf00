"""The verdict in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.evaluation.power import MOST_SEEDS, MOST_SUBJECTS
from mien.evaluation.verdict import Comparison


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentence is about.

    Attributes:
        candidate: name of the selected arm.
        min_effect: smallest gain worth having, a fraction.
        alpha: error rate of the intervals.
    """

    candidate: str
    min_effect: float
    alpha: float


def sentence(
    facts: Facts,
    own: Comparison,
    blind: Sequence[Comparison],
    equals: Sequence[str],
    faults: Sequence[str],
) -> str:
    """Say the verdict, what it rests on and what the blind databases add.

    Args:
        facts: thresholds, candidate and advice.
        own: the confirmatory comparison.
        blind: the comparisons on blind databases.
        equals: names of the other ratios not significantly worse than the candidate.
        faults: pipeline faults.
    """
    parts = [_faulty(faults)] if faults else []
    if own.verdict == "helps":
        parts += _helps(facts, own, equals)
    elif own.verdict == "none":
        parts.append(_none(facts, own))
    else:
        parts.append(_undecided(facts, own))
    parts += [_blind(facts, found) for found in blind]
    return " ".join(parts)


def _faulty(faults: Sequence[str]) -> str:
    return f"Do not trust this verdict: {'; '.join(faults)}."


def _helps(facts: Facts, own: Comparison, equals: Sequence[str]) -> list[str]:
    gain = f"{_change(own.estimate)} over r0 on new people {_basis(facts, own)}"
    parts = [f"{facts.candidate} helps: {gain}."]
    if own.high < facts.min_effect:
        parts.append(f"The gain is real but below {points(facts.min_effect)}.")
    if equals:
        verb = "is" if len(equals) == 1 else "are"
        parts.append(f"{_listed(equals)} {verb} not significantly worse.")
    return parts


def _none(facts: Facts, own: Comparison) -> str:
    said = (
        f"None helps: the best candidate, {facts.candidate}, changes accuracy on new people by "
        f"{_change(own.estimate)} {_basis(facts, own)}, "
    )
    if own.high < 0.0:
        return said + "so it lowers it."
    return said + f"so a gain of {points(facts.min_effect)} or more is ruled out."


def _undecided(facts: Facts, own: Comparison) -> str:
    said = (
        f"Not enough data: the best candidate, {facts.candidate}, changes accuracy on new people "
        f"by {_change(own.estimate)} {_basis(facts, own)}."
    )
    return f"{said} {_missing(facts, own)}"


def _missing(facts: Facts, found: Comparison) -> str:
    """Say how many subjects or seeds an open comparison lacks."""
    more_subjects, more_seeds = found.more_subjects or 0, found.more_seeds or 0
    goal = f"to settle whether it gains {points(facts.min_effect)}"
    if more_seeds == 0:
        needed = "is" if more_subjects == 1 else "are"
        return f"A{about_more(more_subjects, 'subject')[1:]} {needed} needed {goal}."
    if found.seeds + more_seeds >= MOST_SEEDS or found.subjects + more_subjects >= MOST_SUBJECTS:
        return (
            f"Training varies too much from seed to seed {goal}, whatever the number of subjects "
            "and seeds: make training steadier, or ask for a larger effect."
        )
    said = (
        f"With {found.seeds} seeds no number of subjects suffices, because training varies from "
        f"seed to seed: {about_more(more_seeds, 'seed')}"
    )
    if more_subjects:
        said += f" and {about_more(more_subjects, 'subject')}"
    needed = "is" if more_seeds == 1 and not more_subjects else "are"
    return f"{said} {needed} needed {goal}."


def _blind(facts: Facts, found: Comparison) -> str:
    basis = f"{_change(found.estimate)} {_basis(facts, found)}"
    if found.verdict == "helps":
        return f"On {found.set} it helps: {basis}."
    if found.verdict == "none":
        lower = "it lowers accuracy" if found.high < 0.0 else "it does not help"
        return f"On {found.set} {lower}: {basis}."
    return f"On {found.set} there is not enough data: {basis}. {_missing(facts, found)}"


def _basis(facts: Facts, found: Comparison) -> str:
    level = f"{100 * (1 - facts.alpha):g}"
    return (
        f"({level} % interval {_signed(found.low)} to {_signed(found.high)}; "
        f"{found.subjects} subjects, {found.seeds} seeds)"
    )


def points(fraction: float) -> str:
    """Write a fraction as percentage points: 0.02 → ``2 points``, 0.01 → ``1 point``."""
    value = f"{100 * fraction:.3g}"
    return f"{value} point" if value == "1" else f"{value} points"


def _change(fraction: float) -> str:
    return f"{_signed(fraction)} points"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "−")


def about_more(number: int, unit: str) -> str:
    """Say how many more it takes: 1234 subject → ``about 1,300 more subjects``.

    The number is rounded up to two digits: the advice is no more exact than that.
    """
    step = 10 ** max(len(str(number)) - 2, 0)
    rounded = f"{-(-number // step) * step:,}".replace(",", "\u202f")  # as all counts of the report
    return f"about {rounded} more {unit}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
