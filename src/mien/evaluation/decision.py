"""The verdict: which ratio helps on new people, that none does, or how much data is missing.

One candidate is selected on the selection set; one paired test against r0 on own-test subjects
confirms it or not; blind databases are tested alike, with Holm's adjustment. See
``docs/adr/0002-decision.md`` for why, ``benchmarks/decision_simulation.py`` for how well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mien.core.arrays import Int
from mien.core.errors import Invalid
from mien.core.split import Arm
from mien.evaluation.accuracy import accuracy_interval, accuracy_intervals
from mien.evaluation.contrasts import (
    Contrasts,
    contrasts,
    holm,
    limits,
    select,
    selection_stretch,
    verdict_masks,
)
from mien.evaluation.evidence import Evidence, ScoreSet
from mien.evaluation.power import Goal, Variances, advise
from mien.evaluation.verdict import BASELINE, Accuracy, Comparison, DecideConfig, Decision, Verdict
from mien.evaluation.verdict_words import Facts, sentence

__all__ = ["Accuracy", "Comparison", "DecideConfig", "Decision", "Verdict", "decide"]


def decide(evidence: Evidence, config: DecideConfig | None = None) -> Decision:
    """Decide which ratio helps.

    Args:
        evidence: of one protocol; the verdict that counts is that of ``steps``.
        config: thresholds.

    Raises:
        Invalid: ``NO_BASELINE`` without r0 on geometric augmentation; ``NO_CANDIDATE`` without a
            ratio ≥ 1; ``ARM_MISSING``, ``ONE_SEED``, ``ONE_SUBJECT``, ``UNPAIRED``.
    """
    config = config or DecideConfig()
    candidates = _candidates(evidence)
    seen = _against_baseline(evidence.selection, candidates)
    picked = select(seen, config.rule)
    candidate = candidates[int(picked)]

    found = _against_baseline(evidence.own, candidates)
    own = _confirm(evidence.own.name, candidate, seen, found, picked, config)
    blind = _judge_blind(evidence, candidates, candidate, seen, picked, config)
    others = _all_arms(evidence.own, candidates, config)
    helps = own.verdict == "helps"
    equals = _equivalents(evidence.selection, candidates, candidate, config.alpha)
    faults = _faults(evidence, config)
    facts = Facts(candidate.name, config.min_effect, config.alpha)
    return Decision(
        protocol=evidence.protocol,
        verdict=own.verdict,
        candidate=candidate.name,
        arm=candidate.name if helps else BASELINE.name,
        ratio=candidate.ratio if helps else 0,
        equivalent=tuple(a.ratio for a in equals if a.pool == candidate.pool),
        equivalent_arms=tuple(a.name for a in equals),
        sentence=sentence(facts, own, blind, [a.name for a in equals if a != candidate], faults),
        own=own,
        blind=blind,
        selection=tuple(
            _comparison(evidence.selection.name, arm, BASELINE, seen.at(np.asarray(i)), config)
            for i, arm in enumerate(candidates)
        ),
        others=others,
        accuracies=_accuracies(evidence, candidates, config.alpha),
        more_subjects=own.more_subjects,
        more_seeds=own.more_seeds,
        ceiling=next((c for c in others if c.arm.startswith("more_real")), None),
        faults=faults,
        min_effect=config.min_effect,
        alpha=config.alpha,
        power=config.power,
    )


def _candidates(evidence: Evidence) -> list[Arm]:
    """List the ratios ≥ 1 on the baseline's augmentation, cheapest first."""
    arms = evidence.selection.scores
    if BASELINE not in arms:
        raise Invalid(
            "NO_BASELINE",
            f"{evidence.selection.name} has no scores of {BASELINE.name}",
            hint="every ratio is compared with r0 on geometric augmentation; run that arm",
        )
    found = [a for a in arms if a.kind == "ratio" and a.ratio > 0 and a.base == BASELINE.base]
    if not found:
        raise Invalid(
            "NO_CANDIDATE",
            f"{evidence.selection.name} has no ratio of 1 or more to choose from",
            hint="name at least one in sweep.ratios",
        )
    return sorted(found, key=lambda a: (a.ratio, a.pool))


def _against_baseline(scores: ScoreSet, arms: Sequence[Arm]) -> Contrasts:
    stack = scores.stack([BASELINE, *arms])
    return contrasts(stack, 0, range(1, len(arms) + 1))


def _confirm(
    name: str,
    candidate: Arm,
    seen: Contrasts,
    found: Contrasts,
    picked: Int,
    config: DecideConfig,
) -> Comparison:
    stretch = float(selection_stretch(seen, found, picked, config.alpha))
    shown = _comparison(name, candidate, BASELINE, found.at(picked), config, stretch)
    return _advised(shown, found.df_factor, config, config.alpha)


def _comparison(
    name: str,
    arm: Arm,
    baseline: Arm,
    found: Contrasts,
    config: DecideConfig,
    stretch: float = 1.0,
) -> Comparison:
    """Put one contrast into plain values."""
    within = limits(found, config.alpha, stretch)
    helps, none = verdict_masks(within, config.min_effect)
    return Comparison(
        set=name,
        arm=arm.name,
        baseline=baseline.name,
        estimate=float(found.estimate),
        low=float(within.low),
        high=float(within.high),
        p=float(within.p),
        p_adjusted=float(within.p),
        df=float(found.error.df),
        standard_error=float(found.error.standard_error),
        subjects=found.n_subjects,
        seeds=found.n_seeds,
        sd_subject=float(np.sqrt(found.spread.subject)),
        sd_seed=float(np.sqrt(found.spread.seed)),
        sd_residual=float(np.sqrt(found.spread.residual)),
        verdict="helps" if helps else "none" if none else "undecided",
    )


def _judge_blind(
    evidence: Evidence,
    candidates: Sequence[Arm],
    candidate: Arm,
    seen: Contrasts,
    picked: Int,
    config: DecideConfig,
) -> tuple[Comparison, ...]:
    """Test the candidate on every blind database, both questions adjusted after Holm."""
    tested: list[Comparison] = []
    p_small: list[float] = []
    factor = 1.0
    for name, scores in evidence.blind.items():
        found = _against_baseline(scores, candidates)
        factor = found.df_factor
        tested.append(_confirm(name, candidate, seen, found, picked, config))
        one = found.at(picked)
        # The same test against a gain of min_effect: rejected from below means too small.
        short = replace(one, estimate=one.estimate - config.min_effect)
        p_small.append(float(limits(short, config.alpha).p))
    adjusted = holm(np.array([c.p for c in tested]))
    small = holm(np.array(p_small))
    judged = []
    for c, p, q in zip(tested, adjusted, small, strict=True):
        verdict = _adjusted_verdict(c, float(p), float(q), config)
        after = replace(c, p_adjusted=float(p), verdict=verdict)
        # The strictest of Holm's levels: whatever the other databases say, this suffices.
        judged.append(_advised(after, factor, config, config.alpha / len(tested)))
    return tuple(judged)


def _adjusted_verdict(
    found: Comparison, p_zero: float, p_small: float, config: DecideConfig
) -> Verdict:
    if found.estimate > 0.0 and p_zero < config.alpha:
        return "helps"
    if found.estimate < config.min_effect and p_small < config.alpha:
        return "none"
    return "undecided"


def _all_arms(
    scores: ScoreSet, candidates: Sequence[Arm], config: DecideConfig
) -> tuple[Comparison, ...]:
    """Compare every arm with r0; arms other than the ratios keep their own spread over seeds."""
    found = _against_baseline(scores, candidates)
    listed = [
        _comparison(scores.name, arm, BASELINE, found.at(np.asarray(i)), config)
        for i, arm in enumerate(candidates)
    ]
    for arm in sorted(set(scores.scores) - {BASELINE, *candidates}):
        alone = contrasts(scores.stack([BASELINE, arm]), 0, [1], sisters=False)
        listed.append(_comparison(scores.name, arm, BASELINE, alone.at(np.asarray(0)), config))
    return tuple(listed)


def _equivalents(
    scores: ScoreSet, candidates: Sequence[Arm], candidate: Arm, alpha: float
) -> list[Arm]:
    """Keep the candidates that are not significantly worse than the selected one, after Holm."""
    rivals = [arm for arm in candidates if arm != candidate]
    if not rivals:
        return [candidate]
    found = contrasts(scores.stack([candidate, *rivals]), 0, range(1, len(rivals) + 1))
    p = holm(limits(found, alpha).p)
    worse = {a for a, d, q in zip(rivals, found.estimate, p, strict=True) if d < 0 and q < alpha}
    return [arm for arm in candidates if arm not in worse]


def _advised(found: Comparison, df_factor: float, config: DecideConfig, alpha: float) -> Comparison:
    """Add what is missing where the verdict is open."""
    if found.verdict != "undecided":
        return replace(found, more_subjects=None, more_seeds=None)
    variances = Variances(found.sd_subject**2, found.sd_seed**2, found.sd_residual**2)
    goal = Goal(config.min_effect, alpha, config.power, df_factor)
    advice = advise(variances, found.subjects, found.seeds, goal)
    return replace(found, more_subjects=advice.more_subjects, more_seeds=advice.more_seeds)


def _faults(evidence: Evidence, config: DecideConfig) -> tuple[str, ...]:
    """Look for what no sound pipeline can show: permuted labels that help."""
    faults = []
    for scores in (evidence.own, *evidence.blind.values()):
        for arm in sorted(a for a in scores.scores if a.kind == "shuffled"):
            found = contrasts(scores.stack([BASELINE, arm]), 0, [1], sisters=False)
            shown = _comparison(scores.name, arm, BASELINE, found.at(np.asarray(0)), config)
            if shown.verdict == "helps":
                faults.append(
                    f"pipeline fault: permuted labels ({arm.name}) raise accuracy on "
                    f"{scores.name} by {100 * shown.estimate:.1f} points; look for test subjects "
                    "in the training set, and for a baseline that is trained too little"
                )
    return tuple(faults)


def _accuracies(
    evidence: Evidence, candidates: Sequence[Arm], alpha: float
) -> tuple[Accuracy, ...]:
    listed: list[Accuracy] = []
    for scores in (evidence.selection, evidence.own, *evidence.blind.values()):
        family = [BASELINE, *candidates]
        intervals = accuracy_intervals(scores.stack(family), alpha)
        others = sorted(set(scores.scores) - set(family))
        intervals += [accuracy_interval(scores.scores[arm], alpha) for arm in others]
        for arm, found in zip([*family, *others], intervals, strict=True):
            listed.append(Accuracy(scores.name, arm.name, found.estimate, found.low, found.high))
    return tuple(listed)
