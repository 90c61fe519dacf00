"""Mixing by units."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.manifest import Manifest
from mien.core.sample import Origin, Sample
from mien.core.split import Arm, ArmKind, Split
from mien.splits.mix import Source, identity_order, mix_arm, part_rows, permute_labels


def faces(source: str, people: int, *, rounds: int = 1, origin: Origin = "synthetic") -> Manifest:
    return Manifest.of(
        Sample(
            id=f"{source}/{p:03d}/{r}/{e}",
            source=source,
            origin=origin,
            subject=f"{source}:{p:03d}",
            identity=f"{source}:{p:03d}/{r}",
            expression=e,
        )
        for p in range(people)
        for r in range(rounds)
        for e in EKMAN_SIX
    )


REAL = faces("lab", 9, origin="real")
SPLIT = Split(
    "subject",
    {"train": REAL.subjects[:4], "validation": REAL.subjects[4:6], "test": REAL.subjects[6:]},
    seed=0,
)
ROWS = part_rows("lab", REAL, SPLIT.parts["train"], "subject")


def mixed(ratio: int, seed: int = 0, *, kind: ArmKind = "ratio", pool: Manifest | None = None):
    arm = Arm(kind, ratio, pool="pool" if ratio else "")
    source = Source({"pool": pool or faces("pool", 30)})
    return mix_arm(arm, real=ROWS, split=SPLIT, source=source, seed=seed, classes=EKMAN_SIX)


@given(seed=st.integers(0, 50), small=st.integers(0, 3), more=st.integers(1, 3))
def test_a_larger_ratio_contains_the_smaller(seed, small, more):
    """r_k takes the first k units of one seeded order, so r2 contains r1."""
    smaller, larger = mixed(small, seed), mixed(small + more, seed)
    assert larger.rows[: len(smaller.rows)] == smaller.rows


@given(seed=st.integers(0, 50), ratio=st.integers(1, 7))
def test_every_mix_is_exactly_balanced(seed, ratio):
    """A unit adds as many identities as there are training subjects, each in every expression."""
    mix = mixed(ratio, seed)
    added = mix.rows[mix.real :]
    assert Counter(r.label for r in added) == dict.fromkeys(EKMAN_SIX, ratio * 4)
    assert mix.image_ratio == ratio


def test_the_seed_draws_other_units():
    """Another seed, another draw from the pool."""
    assert mixed(1, 1).rows != mixed(1, 2).rows


def test_photo_units_hold_each_person_once():
    """Of several variations made from a photo, every unit takes one a person."""
    order = identity_order(faces("lab", 4, rounds=3), seed=5)
    people = [cell[0].subject for cell in order]
    for unit in range(3):
        assert len(set(people[unit * 4 : unit * 4 + 4])) == 4


def test_a_ratio_above_the_pool_is_refused_with_the_way_out():
    """Eight units of four from thirty identities do not exist."""
    with pytest.raises(Invalid) as caught:
        mixed(8)
    assert caught.value.reason == "RATIO_ABOVE_POOL"
    assert "units" in caught.value.hint


def test_synthetic_only_has_no_real_face():
    """The synthetic-only arm is its own arm."""
    mix = mixed(2, kind="synthetic")
    assert mix.real == 0
    assert {r.dataset for r in mix.rows} == {"pool"}


def test_shuffled_keeps_the_counts_and_loses_the_labels():
    """The control arm has the same faces and label counts, in another pairing."""
    plain, shuffled = mixed(5).rows, mixed(5, kind="shuffled").rows
    assert [r.sample for r in plain] == [r.sample for r in shuffled]
    assert Counter(r.label for r in plain) == Counter(r.label for r in shuffled)
    wrong = sum(a.label != b.label for a, b in zip(plain, shuffled, strict=True))
    assert wrong / (5 * 4 * 6) > 0.7
    assert permute_labels(plain, 3) == permute_labels(plain, 3)


def test_failures_are_left_out():
    """A face that preprocessing could not use is never mixed."""
    pool = faces("pool", 3)
    first = pool.samples[0].subject
    failed = Manifest.of(
        replace(s, failure="no_face") if s.subject == first else s for s in pool.samples
    )
    assert len(identity_order(pool, seed=0)) == 3
    assert len(identity_order(failed, seed=0)) == 2


def test_a_pool_of_nobody_is_dealt_one_of_each_class():
    """Somebody's own synthetic folder without subjects still gives balanced units."""
    pool = Manifest.of(
        Sample(id=f"own/{e}/{i}", source="own", origin="synthetic", expression=e)
        for n, e in enumerate(EKMAN_SIX)
        for i in range(10 + n)
    )
    mix = mixed(2, pool=pool)
    assert Counter(r.label for r in mix.rows[mix.real :]) == dict.fromkeys(EKMAN_SIX, 8)
    with pytest.raises(Invalid, match="10"):
        mixed(3, pool=pool)


@given(seed=st.integers(0, 50), ratio=st.integers(1, 5))
def test_a_blend_takes_from_its_pools_in_turn(seed, ratio):
    """Half of every unit is from each, and a larger ratio contains the smaller."""
    source = Source({"one": faces("one", 10), "two": faces("two", 30)})

    def drawn(units):
        arm = Arm("ratio", units, pool="both")
        return mix_arm(
            arm, real=ROWS, split=SPLIT, source=source, seed=seed, classes=EKMAN_SIX
        ).rows[len(ROWS) :]

    rows = drawn(ratio)
    assert Counter(r.dataset for r in rows) == dict.fromkeys(["one", "two"], ratio * 2 * 6)
    assert rows[: len(rows) - 24] == (drawn(ratio - 1) if ratio > 1 else ())


@given(seed=st.integers(0, 50), ratio=st.integers(1, 2), factor=st.integers(1, 3))
def test_a_class_that_needs_it_gets_more(seed, ratio, factor):
    """Fear gets `factor` times the images of the others; everything else is as without."""
    source = Source({"pool": faces("pool", 30)}, {Expression.FEAR: factor})
    arm = Arm("ratio", ratio, pool="more_fear")
    mix = mix_arm(arm, real=ROWS, split=SPLIT, source=source, seed=seed, classes=EKMAN_SIX)
    counts = Counter(r.label for r in mix.rows[mix.real :])
    assert counts.pop(Expression.FEAR) == ratio * factor * 4
    assert set(counts.values()) == {ratio * 4}
    assert set(mixed(ratio, seed).rows) <= set(mix.rows)


def test_a_blend_that_asks_for_too_much_names_its_pools():
    """The message names the pools to make larger."""
    source = Source({"one": faces("one", 3), "two": faces("two", 30)})
    with pytest.raises(Invalid) as error:
        mix_arm(
            Arm("ratio", 2, pool="both"),
            real=ROWS,
            split=SPLIT,
            source=source,
            seed=0,
            classes=EKMAN_SIX,
        )
    assert error.value.reason == "RATIO_ABOVE_POOL"
    assert "one, two" in error.value.hint
