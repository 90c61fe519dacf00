"""Slices: counts always shown, accuracy only for groups of enough people."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core.expression import EKMAN_SIX
from mien.core.sample import Sample
from mien.core.scores import Predictions
from mien.evaluation.slices import UNKNOWN, Slice, attribute_values, rows_where, slice_accuracy

CLASSES = EKMAN_SIX[:2]


def set_of(groups: dict[str, int], *, wrong: frozenset[str] = frozenset(), per_subject: int = 4):
    """Build a set with so many subjects a group; those of ``wrong`` groups are called wrong."""
    samples, labels, logits = {}, [], []
    for group, people in groups.items():
        for person in range(people):
            for face in range(per_subject):
                name = f"set/{group}-{person}-{face}"
                samples[name] = Sample(
                    id=name,
                    source="set",
                    subject=f"set:{group}-{person}",
                    expression=CLASSES[face % 2],
                    attributes={"group": group} if group else {},
                )
                labels.append(face % 2)
                said = face % 2 if group not in wrong else 1 - face % 2
                logits.append([5.0 * (said == 0), 5.0 * (said == 1)])
    none = np.zeros((len(labels), 0), np.float32)
    predictions = Predictions(
        ids=list(samples),
        subjects=[s.subject or "" for s in samples.values()],
        labels=np.array(labels, np.int64),
        logits=np.array(logits, np.float32),
        classes=CLASSES,
        affect=none,
        affect_true=none.copy(),
    )
    return predictions, samples


def by_value(found: tuple[Slice, ...]) -> dict[str, Slice]:
    return {s.value: s for s in found}


def test_groups_below_ten_subjects_are_counted_but_not_judged() -> None:
    """Nine people: n is shown, accuracy is not. Ten people: both."""
    said, samples = set_of({"nine": 9, "ten": 10})
    found = by_value(slice_accuracy([(0, 0, said), (1, 0, said)], samples, ["group"]))
    assert found["nine"].hidden
    assert (found["nine"].subjects, found["nine"].images) == (9, 36)
    assert found["nine"].to_dict()["accuracy"] is None
    assert not found["ten"].hidden
    assert (found["ten"].subjects, found["ten"].images) == (10, 40)


def test_many_images_of_few_people_stay_hidden() -> None:
    """The rule counts people, not pictures."""
    said, samples = set_of({"few": 3}, per_subject=100)
    (found,) = slice_accuracy([(0, 0, said)], samples, ["group"])
    assert found.images == 300
    assert found.hidden


def test_accuracy_is_that_of_the_slice() -> None:
    """Each value is judged on its own rows alone."""
    said, samples = set_of({"good": 20, "bad": 15}, wrong=frozenset({"bad"}))
    found = by_value(slice_accuracy([(0, 0, said), (1, 0, said)], samples, ["group"]))
    good, bad = found["good"].accuracy, found["bad"].accuracy
    assert good is not None
    assert bad is not None
    assert (good.estimate, bad.estimate) == (1.0, 0.0)
    assert good.low > 0.7
    assert bad.high < 0.3


def test_intervals_widen_with_fewer_people_not_with_fewer_images() -> None:
    """Clustered by subject: more pictures of the same people give no narrower interval."""
    rng = np.random.default_rng(0)

    def width(people: int, per_subject: int) -> float:
        said, samples = set_of({"all": people}, per_subject=per_subject)
        ability = np.repeat(rng.random(people) < 0.6, per_subject)
        logits = np.where(ability[:, None], said.logits, said.logits[:, ::-1])
        changed = Predictions(
            said.ids,
            said.subjects,
            said.labels,
            logits.astype(np.float32),
            said.classes,
            said.affect,
            said.affect_true,
        )
        (found,) = slice_accuracy([(0, 0, changed)], samples, ["group"])
        assert found.accuracy is not None
        return found.accuracy.high - found.accuracy.low

    assert width(20, 40) == pytest.approx(width(20, 4), rel=0.25)
    assert width(200, 4) < 0.5 * width(20, 4)


def test_faces_without_the_attribute_are_one_slice_last() -> None:
    """Missing values are named, never dropped."""
    said, samples = set_of({"stated": 12, "": 30})
    found = slice_accuracy([(0, 0, said)], samples, ["group"])
    assert [s.value for s in found] == ["stated", UNKNOWN]
    assert found[1].subjects == 30


def test_row_fields_can_be_sliced_by_too() -> None:
    """Expression and source are attributes as good as any; unknown names give one slice."""
    said, samples = set_of({"a": 12})
    values = attribute_values(samples, "expression", said.ids)
    assert set(values) == {"anger", "disgust"}
    assert set(attribute_values(samples, "shoe_size", said.ids)) == {UNKNOWN}
    assert attribute_values({}, "source", ["set/a-0-0"]) == [UNKNOWN]


def test_slices_cover_the_set() -> None:
    """Every labelled face lies in exactly one value of an attribute."""
    said, samples = set_of({"a": 12, "b": 5, "": 3})
    found = slice_accuracy([(0, 0, said)], samples, ["group", "expression"])
    for attribute in ("group", "expression"):
        assert sum(s.images for s in found if s.attribute == attribute) == len(said.ids)


def test_a_set_without_subjects_is_sliced_by_sample() -> None:
    """By sample every face counts as a person."""
    said, samples = set_of({"a": 4})
    nobody = Predictions(
        said.ids,
        [""] * len(said.ids),
        said.labels,
        said.logits,
        said.classes,
        said.affect,
        said.affect_true,
    )
    (found,) = slice_accuracy([(0, 0, nobody)], samples, ["group"], by="sample")
    assert found.subjects == found.images == 16
    assert not found.hidden


def test_rows_are_kept_together() -> None:
    """Selecting rows selects them in every column."""
    said, _ = set_of({"a": 3})
    keep = np.zeros(len(said.ids), dtype=bool)
    keep[[1, 5]] = True
    kept = rows_where(said, keep)
    assert list(kept.ids) == [said.ids[1], said.ids[5]]
    assert np.array_equal(kept.logits, said.logits[[1, 5]])
    assert list(kept.labels) == [said.labels[1], said.labels[5]]
