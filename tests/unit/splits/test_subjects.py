"""Splitting by subject."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core.errors import Invalid, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.manifest import Manifest
from mien.core.sample import Sample
from mien.splits.subjects import cross_validate, split_counts, split_fractions


def database(subjects: int, *, per: int = 2, gender: bool = False) -> Manifest:
    return Manifest.of(
        Sample(
            id=f"db/{s:04d}/{i}",
            source="db",
            subject=f"db:{s:04d}",
            expression=EKMAN_SIX[i % 6],
            attributes={"gender": "f" if s % 4 == 0 else "m"} if gender else {},
        )
        for s in range(subjects)
        for i in range(per)
    )


@given(
    train=st.integers(1, 30),
    validation=st.integers(1, 30),
    test=st.integers(1, 30),
    unused=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_fixed_counts_are_met_and_disjoint(train, validation, test, unused, seed):
    """Every subject lands in exactly one part, and every part has the number asked for."""
    counts = {"train": train, "validation": validation, "test": test, "unused": unused}
    split = split_counts(database(sum(counts.values())), counts, seed=seed)
    assert {p: len(u) for p, u in split.parts.items()} == counts
    dealt = Counter(u for part in split.parts.values() for u in part)
    assert set(dealt.values()) == {1}
    assert len(dealt) == sum(counts.values())


@given(
    subjects=st.integers(3, 120),
    train=st.floats(0.1, 0.8),
    validation=st.floats(0.05, 0.15),
    seed=st.integers(0, 99),
)
def test_fractions_use_every_subject_once(subjects, train, validation, seed):
    """Fractions deal out everybody, and no part stays empty."""
    fractions = {"train": train, "validation": validation, "test": 1 - train - validation}
    split = split_fractions(database(subjects), fractions, seed=seed)
    dealt = [u for part in split.parts.values() for u in part]
    assert sorted(dealt) == sorted(set(dealt))
    assert len(dealt) == subjects
    assert all(split.parts[p] for p in fractions)


@given(folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_every_subject_validates_in_exactly_one_fold(folds, seed):
    """Cross-validation holds each of train + validation out once and leaves the test alone."""
    split = split_counts(database(30), {"train": 15, "validation": 5, "test": 10}, seed=seed)
    made = cross_validate(split, folds)
    held = Counter(u for s in made for u in s.parts["validation"])
    assert set(held) == {*split.parts["train"], *split.parts["validation"]}
    assert set(held.values()) == {1}
    for each in made:
        assert each.parts["test"] == split.parts["test"]
        assert not set(each.parts["train"]) & set(each.parts["validation"])


def test_strata_keep_their_shares():
    """With stratify, a quarter of women in the database is about a quarter in every part."""
    manifest = database(80, gender=True)
    women = {s.subject for s in manifest if s.attributes["gender"] == "f"}
    split = split_counts(
        manifest, {"train": 40, "validation": 20, "test": 20}, stratify=["gender"], seed=3
    )
    for part, share in (("train", 10), ("validation", 5), ("test", 5)):
        assert abs(len(women & set(split.parts[part])) - share) <= 2


def test_the_same_seed_deals_the_same_and_another_does_not():
    """The deal is a function of the seed."""
    counts = {"train": 10, "validation": 10, "test": 10}
    first, again, other = (split_counts(database(30), counts, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.parts != other.parts


def test_counts_that_do_not_add_up_are_refused_with_both_numbers():
    """144 subjects asked of 30 found: the message has both figures and the way out."""
    with pytest.raises(Invalid) as caught:
        split_counts(database(30), {"train": 109, "validation": 10, "test": 25})
    assert caught.value.reason == "COUNTS_DO_NOT_ADD_UP"
    assert "144" in str(caught.value)
    assert "30" in str(caught.value)
    assert "unused" in caught.value.hint


def test_a_database_without_subjects_is_refused_unless_split_by_sample():
    """No subjects, no claim about new people; `by: sample` is the explicit way around."""
    manifest = Manifest.of(
        Sample(id=f"fer/{i}", source="fer", expression=EKMAN_SIX[i % 6]) for i in range(12)
    )
    counts = {"train": 6, "validation": 3, "test": 3}
    with pytest.raises(WrongState) as caught:
        split_counts(manifest, counts)
    assert caught.value.reason == "NO_SUBJECTS"
    assert "by: sample" in caught.value.hint
    assert split_counts(manifest, counts, by="sample").by == "sample"


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"train": 10, "validation": 0, "test": 5}, "SPLIT_PART_EMPTY"),
        ({"train": 0, "validation": 10, "test": 5}, "SPLIT_PART_EMPTY"),
    ],
)
def test_an_empty_part_is_refused(counts, reason):
    """Nobody to train or to judge on is an error, not an empty result."""
    with pytest.raises(Invalid) as caught:
        split_counts(database(15), counts)
    assert caught.value.reason == reason


def test_an_empty_database_is_refused():
    """There is nothing to split."""
    with pytest.raises(Invalid) as caught:
        split_fractions(Manifest(()), {"train": 0.5, "validation": 0.25, "test": 0.25})
    assert caught.value.reason == "EMPTY_DATABASE"


def test_more_folds_than_subjects_are_refused():
    """Five people cannot make ten folds."""
    split = split_counts(database(8), {"train": 3, "validation": 2, "test": 3})
    with pytest.raises(Invalid) as caught:
        cross_validate(split, 10)
    assert caught.value.reason == "TOO_MANY_FOLDS"


@st.composite
def databases_with_copies(draw):
    """Images without subjects, some of them there several times under other names and labels."""
    times = draw(st.lists(st.integers(1, 4), min_size=6, max_size=40))
    return len(times), Manifest.of(
        Sample(
            id=f"fer/{draw(st.integers(0, 999))}/{image}/{copy}",
            source="fer",
            expression=draw(st.sampled_from(EKMAN_SIX)),
            digest=f"{image:064x}",
        )
        for image, n in enumerate(times)
        for copy in range(n)
    )


@given(found=databases_with_copies(), folds=st.integers(1, 3), seed=st.integers(0, 99))
def test_copies_of_an_image_are_dealt_as_one(found, folds, seed):
    """By sample: all copies lie in one part, in every fold; every copy is dealt; counts are met."""
    images, manifest = found
    counts = {"train": images - 4, "validation": 2, "test": 1, "unused": 1}
    dealt = split_counts(manifest, counts, by="sample", seed=seed)
    assert {p: len(dealt.units(p)) for p in counts} == counts
    assert sum(len(g) - 1 for g in dealt.copies) == len(manifest) - images
    digest = {s.id: s.digest for s in manifest}
    for split in cross_validate(dealt, folds):
        ids = [i for part in split.parts.values() for i in part]
        assert sorted(ids) == sorted(digest)
        shown = [{digest[i] for i in part} for part in split.parts.values()]
        assert sum(map(len, shown)) == images, "an image lies in two parts"
        assert all(split.parts[p] for p in ("train", "validation", "test"))


def test_counts_of_images_say_how_many_are_copies():
    """Counts by sample count different images; the message says where the others are."""
    manifest = Manifest.of(
        Sample(id=f"fer/{i}", source="fer", expression=EKMAN_SIX[0], digest=f"{i // 2:064x}")
        for i in range(20)
    )
    with pytest.raises(Invalid) as caught:
        split_counts(manifest, {"train": 10, "validation": 5, "test": 5}, by="sample")
    assert "10 different images (10 more are exact copies" in caught.value.message
