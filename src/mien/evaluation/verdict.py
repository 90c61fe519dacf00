"""The decision as plain values: thresholds in, verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core.errors import invalid_fields
from mien.core.split import Arm, Protocol
from mien.evaluation.contrasts import Rule

Verdict = Literal["helps", "none", "undecided"]
BASELINE = Arm()


@dataclass(frozen=True, slots=True)
class DecideConfig:
    """How the decision is made.

    Attributes:
        min_effect: smallest gain worth having, a fraction in (0, 1).
        alpha: error rate of every two-sided interval, in (0, 0.5).
        power: chance to find ``min_effect`` that the data advice aims at, in (0.5, 1).
        rule: ``best`` selects the largest gain, ``one_se`` the smallest ratio within one
            standard error of it.
    """

    min_effect: float = 0.02
    alpha: float = 0.05
    power: float = 0.8
    rule: Rule = "best"

    def __post_init__(self) -> None:
        wrong = {}
        if not 0.0 < self.min_effect < 1.0:
            wrong["min_effect"] = f"{self.min_effect} is outside (0, 1)"
        if not 0.0 < self.alpha < 0.5:
            wrong["alpha"] = f"{self.alpha} is outside (0, 0.5)"
        if not 0.5 < self.power < 1.0:
            wrong["power"] = f"{self.power} is outside (0.5, 1)"
        if self.rule not in ("best", "one_se"):
            wrong["rule"] = f"{self.rule!r} is not one of best, one_se"
        if wrong:
            raise invalid_fields("DECIDE_CONFIG", "the decision cannot be made so", wrong)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against another on one set; accuracies and their differences are fractions.

    Attributes:
        set: name of the set.
        arm: name of the arm.
        baseline: name of the arm it is compared with.
        estimate: mean difference over subjects and seeds.
        low: lower end of the interval.
        high: upper end of the interval.
        p: two-sided, of no difference.
        p_adjusted: after Holm over the blind databases; equals ``p`` elsewhere.
        df: degrees of freedom of the interval.
        standard_error: of the estimate.
        subjects: N.
        seeds: S.
        sd_subject: standard deviation of the difference between subjects.
        sd_seed: standard deviation of the difference between seeds.
        sd_residual: standard deviation beyond both.
        verdict: what this comparison alone says, at the stated alpha (adjusted where p is).
        more_subjects: subjects missing for ``min_effect``, where a confirmation is undecided.
        more_seeds: seeds missing, likewise.
    """

    set: str
    arm: str
    baseline: str
    estimate: float
    low: float
    high: float
    p: float
    p_adjusted: float
    df: float
    standard_error: float
    subjects: int
    seeds: int
    sd_subject: float
    sd_seed: float
    sd_residual: float
    verdict: Verdict
    more_subjects: int | None = None
    more_seeds: int | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean accuracy of one arm on one set with its interval, fractions."""

    set: str
    arm: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and everything it rests on; plain values, ready for JSON.

    Attributes:
        protocol: of the trials.
        verdict: ``helps``, ``none`` or ``undecided``, on own-test subjects.
        candidate: name of the selected arm, whatever the verdict.
        arm: name of the arm to use: the candidate if it helps, else r0.
        ratio: of ``arm``; 0 means add nothing.
        equivalent: ratios ≥ 1 not significantly worse than the candidate on the selection set,
            the candidate's own among them; of the candidate's pool.
        equivalent_arms: the same by name, all pools.
        sentence: the answer in plain words.
        own: candidate against r0 on own-test subjects.
        blind: candidate against r0 on every blind database.
        selection: every candidate against r0 on the selection set; they choose, they prove nothing.
        others: every arm against r0 on own-test subjects; to look at, not to conclude from.
        accuracies: of every arm on every set.
        more_subjects: own-test subjects missing, or None where decided.
        more_seeds: seeds missing, or None where decided; 0 where subjects suffice.
        ceiling: gain of ``more_real`` on own-test subjects, or None without that arm.
        faults: pipeline faults found; the verdict means nothing while there is one.
        min_effect: as configured.
        alpha: as configured.
        power: as configured.
    """

    protocol: Protocol
    verdict: Verdict
    candidate: str
    arm: str
    ratio: int
    equivalent: tuple[int, ...]
    equivalent_arms: tuple[str, ...]
    sentence: str
    own: Comparison
    blind: tuple[Comparison, ...]
    selection: tuple[Comparison, ...]
    others: tuple[Comparison, ...]
    accuracies: tuple[Accuracy, ...]
    more_subjects: int | None
    more_seeds: int | None
    ceiling: Comparison | None
    faults: tuple[str, ...]
    min_effect: float
    alpha: float
    power: float
