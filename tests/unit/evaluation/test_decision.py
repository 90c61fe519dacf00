"""The verdict and its boundaries."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import orjson
import pytest

from mien.core.errors import Invalid
from mien.core.split import Arm
from mien.evaluation.decision import DecideConfig, decide
from mien.evaluation.evidence import Evidence, ScoreSet
from mien.evaluation.verdict_words import about_more

R0, PLAIN = Arm(), Arm(base="plain")
R1, R2, R5 = (Arm("ratio", k, pool="faces") for k in (1, 2, 5))
SHUFFLED, CEILING = Arm("shuffled", 5, pool="faces"), Arm("more_real", 1, pool="real")


def score_set(
    name: str,
    gains: Mapping[Arm, float],
    *,
    subjects: int = 80,
    seeds: int = 3,
    noise: float = 0.05,
    seed_sd: float = 0.0,
    entropy: int = 0,
) -> ScoreSet:
    """Draw scores whose mean difference from r0 is the given gain, exactly."""
    rng = np.random.default_rng([entropy, subjects])
    people = rng.normal(0, 0.1, subjects)
    drawn = {}
    for arm, gain in gains.items():
        spread = rng.normal(0, noise, (seeds, subjects)) + rng.normal(0, seed_sd, (seeds, 1))
        drawn[arm] = 0.5 + people + gain + spread - spread.mean()
    names = tuple(f"{name}:{i:03d}" for i in range(subjects))
    return ScoreSet(name, names, tuple(range(seeds)), {a: s.clip(0, 1) for a, s in drawn.items()})


def evidence(
    own: Mapping[Arm, float],
    selection: Mapping[Arm, float] | None = None,
    blind: Mapping[str, Mapping[Arm, float]] | None = None,
    **options: Any,
) -> Evidence:
    selection = own if selection is None else selection
    return Evidence(
        "steps",
        score_set("validation", selection, entropy=1, **options),
        score_set("test", own, entropy=2, **options),
        {
            name: score_set(name, gains, entropy=3 + i, **options)
            for i, (name, gains) in enumerate((blind or {}).items())
        },
    )


CLEAR = {R0: 0.0, R1: 0.02, R2: 0.08, R5: 0.075}


def test_a_clear_gain_helps():
    """Lower bound above zero: the ratio, and those as good as it."""
    found = decide(evidence(CLEAR))
    assert (found.verdict, found.arm, found.ratio) == ("helps", "r2@faces", 2)
    assert found.own.low > 0.0
    assert found.equivalent == (2, 5)
    assert found.equivalent_arms == ("r2@faces", "r5@faces")
    assert (found.more_subjects, found.more_seeds) == (None, None)
    assert "r2@faces helps: +8.0 points" in found.sentence
    assert "r5@faces is not significantly worse" in found.sentence


def test_no_gain_with_plenty_of_data_is_none():
    """Upper bound below min_effect: r0 is the arm to use."""
    found = decide(evidence({R0: 0.0, R1: 0.0, R2: 0.001}, subjects=300))
    assert (found.verdict, found.arm, found.ratio) == ("none", "r0", 0)
    assert found.own.high < 0.02
    assert found.sentence.startswith("None helps")
    assert "a gain of 2 points or more is ruled out" in found.sentence


def test_harm_is_none_and_said():
    """An arm that lowers accuracy does not help, and the words say it lowers it."""
    found = decide(evidence({R0: 0.0, R1: -0.1}))
    assert found.verdict == "none"
    assert "it lowers it" in found.sentence


def test_too_little_data_is_undecided_with_a_number():
    """An interval that holds both zero and min_effect asks for subjects."""
    found = decide(evidence({R0: 0.0, R1: 0.01}, subjects=12, noise=0.2))
    assert (found.verdict, found.arm, found.ratio) == ("undecided", "r0", 0)
    assert found.more_subjects is not None
    assert found.more_subjects > 0
    assert found.more_seeds == 0
    assert "more subjects are needed to settle whether it gains 2 points" in found.sentence
    assert found.sentence.startswith("Not enough data")


def test_seeds_that_vary_too_much_ask_for_seeds():
    """Where no number of subjects suffices, the number of seeds is named."""
    found = decide(evidence({R0: 0.0, R1: 0.01, R2: 0.0}, subjects=200, seed_sd=0.05))
    assert found.verdict == "undecided"
    assert found.more_seeds is not None
    assert found.more_seeds > 0
    assert "no number of subjects suffices" in found.sentence
    assert about_more(found.more_seeds, "seed") in found.sentence


def test_the_advice_does_not_look_at_the_gain():
    """The same spread asks for the same number, whatever was observed."""
    found = [decide(evidence({R0: 0.0, R1: g}, subjects=10, noise=0.08)) for g in (0, 0.01, 0.03)]
    assert {d.verdict for d in found} == {"undecided"}
    assert len({d.more_subjects for d in found}) == 1
    assert len({round(d.own.estimate, 6) for d in found}) == 3


def test_the_verdict_turns_at_its_boundaries():
    """Lower bound at zero and upper bound at min_effect are where the words change."""
    base = decide(evidence({R0: 0.0, R1: 0.0}))
    half = base.own.high
    assert base.own.low == pytest.approx(-half)
    for gain, config, verdict in (
        (half * 1.01, DecideConfig(), "helps"),
        (half * 0.99, DecideConfig(), "none" if 1.99 * half < 0.02 else "undecided"),
        (0.0, DecideConfig(min_effect=half * 1.01), "none"),
        (0.0, DecideConfig(min_effect=half * 0.99), "undecided"),
    ):
        assert decide(evidence({R0: 0.0, R1: gain}), config).verdict == verdict


def test_a_real_gain_below_min_effect_still_helps_and_says_so():
    """Certain but tiny: the verdict is helps, the words add that it is small."""
    found = decide(evidence({R0: 0.0, R1: 0.008}, subjects=400))
    assert found.verdict == "helps"
    assert "below 2 points" in found.sentence


def test_selection_and_confirmation_are_different_people():
    """The candidate is the best on the selection set even where own test likes another."""
    found = decide(evidence(own={R0: 0.0, R1: 0.1, R2: 0.0}, selection={R0: 0.0, R1: 0.0, R2: 0.1}))
    assert found.candidate == "r2@faces"
    assert found.own.arm == "r2@faces"
    assert found.verdict != "helps"
    assert {c.arm: round(c.estimate, 3) for c in found.others}["r1@faces"] == 0.1


def test_order_of_subjects_seeds_and_arms_is_nothing():
    """Permuted evidence gives the same decision."""
    one = evidence(CLEAR, blind={"web": CLEAR})

    def mixed(scores: ScoreSet) -> ScoreSet:
        rng = np.random.default_rng(5)
        rows, columns = rng.permutation(3), rng.permutation(len(scores.subjects))
        return ScoreSet(
            scores.name,
            tuple(scores.subjects[i] for i in columns),
            tuple(scores.seeds[i] for i in rows),
            {a: scores.scores[a][rows][:, columns] for a in reversed(list(scores.scores))},
        )

    two = replace(
        one,
        selection=mixed(one.selection),
        own=mixed(one.own),
        blind={n: mixed(s) for n, s in one.blind.items()},
    )
    first, second = decide(one), decide(two)
    assert second.sentence == first.sentence
    assert second.own.low == pytest.approx(first.own.low)
    assert second.own.p == pytest.approx(first.own.p, rel=1e-6)


def test_blind_databases_are_adjusted_after_holm():
    """The smallest of three p values is multiplied by three, and verdicts follow it."""
    weak = {R0: 0.0, R1: 0.014}
    found = decide(
        evidence(
            {R0: 0.0, R1: 0.08},
            blind={"a": {R0: 0.0, R1: 0.08}, "b": weak, "c": {R0: 0.0, R1: -0.05}},
        )
    )
    by = {c.set: c for c in found.blind}
    ordered = sorted(found.blind, key=lambda c: c.p)
    assert ordered[0].p_adjusted == pytest.approx(3 * ordered[0].p)
    assert ordered[-1].p_adjusted >= ordered[-1].p
    assert (by["a"].verdict, by["c"].verdict) == ("helps", "none")
    assert "On a it helps" in found.sentence
    assert "On c it lowers accuracy" in found.sentence


def test_a_blind_gain_that_holm_takes_away_is_open():
    """A p value below alpha alone is not enough among many databases."""
    gains = {R0: 0.0, R1: 0.024}
    alone = decide(evidence(gains, blind={"a": gains}, subjects=60))
    among = decide(evidence(gains, blind=dict.fromkeys("abcdefgh", gains), subjects=60))
    assert alone.blind[0].p < 0.05
    assert alone.blind[0].verdict == "helps"
    assert among.blind[0].p == alone.blind[0].p
    assert among.blind[0].p_adjusted > alone.blind[0].p
    assert {c.verdict for c in among.blind if c.p_adjusted >= 0.05} <= {"undecided", "none"}


def test_permuted_labels_that_help_are_a_pipeline_fault():
    """Shuffled is no candidate; if it helps, the verdict is not to be trusted."""
    gains = CLEAR | {SHUFFLED: 0.2}
    found = decide(evidence(gains))
    assert found.candidate == "r2@faces"
    assert len(found.faults) == 1
    assert "pipeline fault" in found.faults[0]
    assert found.sentence.startswith("Do not trust this verdict")
    assert decide(evidence(CLEAR | {SHUFFLED: -0.05})).faults == ()


def test_control_arms_are_shown_but_never_chosen():
    """more_real is the ceiling, r0 on plain augmentation is compared with r0."""
    found = decide(evidence(CLEAR | {CEILING: 0.3, PLAIN: -0.04, Arm("synthetic", 5): 0.3}))
    assert found.candidate == "r2@faces"
    assert found.ceiling is not None
    assert found.ceiling.estimate == pytest.approx(0.3, abs=0.01)
    shown = {c.arm: c.estimate for c in found.others}
    assert shown["r0.plain"] == pytest.approx(-0.04, abs=0.001)
    assert set(shown) == {
        "r1@faces",
        "r2@faces",
        "r5@faces",
        "r0.plain",
        "synthetic5",
        "more_real1@real",
    }


def test_equivalents_of_another_pool_are_named_not_numbered():
    """Ratios of the candidate's pool are numbers; those of other pools are names only."""
    other = Arm("ratio", 2, pool="photos")
    found = decide(evidence({R0: 0.0, R2: 0.08, other: 0.079}))
    assert found.equivalent == (2,)
    assert set(found.equivalent_arms) == {"r2@faces", "r2@photos"}


def test_identical_arms_are_none():
    """No variance at all is no crash: nothing changed, so none helps."""
    scores = np.random.default_rng(0).uniform(size=(3, 10))
    same = {R0: scores, R1: scores}
    sets = [ScoreSet(n, tuple(f"{n}{i}" for i in range(10)), (0, 1, 2), same) for n in ("v", "t")]
    found = decide(Evidence("steps", sets[0], sets[1]))
    assert (found.verdict, found.own.p) == ("none", 1.0)


def test_a_decision_is_plain_values():
    """JSON takes it as it is."""
    found = decide(evidence(CLEAR | {CEILING: 0.1}, blind={"web": CLEAR}))
    again = orjson.loads(orjson.dumps(asdict(found)))
    assert again["own"]["estimate"] == pytest.approx(0.08)
    assert len(again["accuracies"]) == 3 * 4 + 2


@pytest.mark.parametrize(
    ("gains", "seeds", "reason"),
    [
        ({R1: 0.1}, 3, "NO_BASELINE"),
        ({R0: 0.0, PLAIN: 0.1, SHUFFLED: 0.0}, 3, "NO_CANDIDATE"),
        ({R0: 0.0, R1: 0.1}, 1, "ONE_SEED"),
    ],
)
def test_evidence_that_cannot_decide_is_refused(gains, seeds, reason):
    """Each refusal says what to run."""
    with pytest.raises(Invalid) as caught:
        decide(evidence(gains, seeds=seeds))
    assert caught.value.reason == reason
    assert caught.value.hint


def test_an_arm_that_was_not_judged_everywhere_is_named():
    """A candidate without scores on a blind database stops the decision."""
    with pytest.raises(Invalid, match="web has no scores of r5@faces"):
        decide(evidence(CLEAR, blind={"web": {R0: 0.0, R1: 0.0, R2: 0.0}}))


@pytest.mark.parametrize(
    "wrong", [{"min_effect": 0.0}, {"alpha": 0.5}, {"power": 1.0}, {"rule": "worst"}]
)
def test_thresholds_out_of_range_are_refused(wrong):
    """The field at fault is named."""
    with pytest.raises(Invalid) as caught:
        DecideConfig(**wrong)
    assert set(caught.value.violations) == set(wrong)
