"""Drift: said where there is some, kept quiet where there is none, and never about one person."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Corrupt, Invalid
from mien.evaluation.drift import LEAST_FACES, compare, effect
from mien.evaluation.drift_distances import (
    classes_apart,
    features_apart,
    flat,
    fourfold,
    jensen_shannon,
    stability_index,
)
from mien.evaluation.drift_reference import Reference, make_reference
from mien.evaluation.drift_sketch import Projection, Sketch, merged
from mien.evaluation.drift_window import BLOCK_FACES, MOST_BLOCKS, Crowd, Window, together

CLASSES = tuple("abcdef")
HEAD = np.random.default_rng(0).normal(size=(12, len(CLASSES)))


def faces(seed, people, each=1, *, shift=0.0, sharp=1.0):
    """Faces of people whose features resemble one another: probabilities, features, owners."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    features = rng.normal(size=(people, 12))[who] + rng.normal(size=(len(who), 12)) + shift
    logits = features @ HEAD * sharp
    raised = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = raised / raised.sum(1, keepdims=True)
    return probabilities.astype(np.float32), features.astype(np.float32), [str(w) for w in who]


def seen(reference, probabilities, features, order=None):
    """The blocks of a window in which each face is a picture of its own."""
    crowd = Crowd(len(CLASSES), reference.projection.axes.shape[1])
    for i in np.arange(len(features)) if order is None else order:
        projected = reference.projection.of(features[i : i + 1])
        crowd.see(probabilities[i : i + 1], projected)
    return crowd.window(0, 60)


@pytest.fixture(scope="module")
def reference():
    """A training version of 120 people, six faces each."""
    projection = Projection.fit(faces(1, 400)[1])
    return make_reference(CLASSES, projection, *faces(2, 120, 6), draws=500)


def verdict(reference, seed, people, each=1, **given):
    """What is said of a window, each person's faces one after the other."""
    shuffle = given.pop("shuffle", False)
    told = {k: given.pop(k) for k in ("alpha", "faces_per_person") if k in given}
    probabilities, features, _ = faces(seed, people, each, **given)
    order = np.random.default_rng(seed).permutation(len(features)) if shuffle else None
    window = seen(reference, probabilities, features, order)
    return compare(reference, window.blocks, window.found, **told)


def test_other_people_of_the_same_kind_are_no_drift(reference):
    """At a rate of one in twenty, few of forty windows are called drifted."""
    said = [verdict(reference, 100 + s, 300, alpha=0.05).verdict for s in range(40)]
    assert said.count("drift") <= 6  # of Binomial(40, 0.05) fewer than one in 100 exceed it
    assert "not_enough_data" not in said


def test_faces_of_one_person_count_as_fewer(reference):
    """Coming together they are seen to; shuffled, it has to be said, or alarms are false."""
    together_ = verdict(reference, 5, 100, 6)
    told = verdict(reference, 5, 100, 6, shuffle=True, faces_per_person=6)
    alone = verdict(reference, 5, 600)
    assert together_.effective < 0.6 * alone.effective
    assert told.effective < 0.6 * alone.effective
    assert 0.2 < reference.likeness < 0.7
    said = [verdict(reference, 200 + s, 100, 6, alpha=0.05).verdict for s in range(20)]
    assert said.count("drift") <= 4


def test_a_shift_of_the_features_is_seen(reference):
    """It shows in the features and in what is predicted."""
    found = verdict(reference, 3, 400, shift=0.5)
    assert found.verdict == "drift"
    assert {s.what for s in found.shifts if s.drifted} >= {"features"}
    assert "features" in found.why
    assert all(s.p_at_most <= 0.002 for s in found.shifts if s.what == "features")


def test_a_loss_of_confidence_is_seen_where_nothing_else_moves(reference):
    """The same faces, judged less surely."""
    probabilities, features, _ = faces(4, 600)
    dull = probabilities**0.4
    window = seen(reference, dull / dull.sum(1, keepdims=True), features)
    found = compare(reference, window.blocks)
    assert [s.what for s in found.shifts if s.drifted] == ["confidence"]
    shift = next(s for s in found.shifts if s.what == "confidence")
    assert shift.stability is not None
    assert shift.stability > 0.25


def test_another_mix_of_classes_is_seen(reference):
    """Three of four faces are of one class."""
    probabilities, features, _ = faces(6, 2000)
    of_one = probabilities.argmax(1) == 0
    kept = np.flatnonzero(of_one | (np.random.default_rng(0).random(2000) < 0.1))
    found = compare(reference, seen(reference, probabilities[kept], features[kept]).blocks)
    assert "classes" in [s.what for s in found.shifts if s.drifted]
    assert found.classes["a"][1] > 2 * found.classes["a"][0]


def test_too_few_faces_say_nothing(reference):
    """Neither drift nor none; and so does a training version of few people."""
    found = verdict(reference, 7, LEAST_FACES // 2, shift=3.0)
    assert (found.verdict, found.shifts) == ("not_enough_data", ())
    assert f"{LEAST_FACES} are needed" in found.why
    few = make_reference(CLASSES, reference.projection, *faces(2, 10, 20), draws=20)
    assert "people" in verdict(few, 8, 400).why
    assert compare(reference, []).verdict == "not_enough_data"


def test_nonsense_is_refused(reference):
    """Rates that the quantiles cannot tell, and less than one face."""
    for wrong in ({"alpha": 0.0001}, {"alpha": 1.0}, {"faces_per_person": 0.5}):
        with pytest.raises(Invalid):
            compare(reference, [], **wrong)


def test_a_reference_is_read_as_it_was_written(reference):
    """Plain arrays; damage and other bins are told."""
    arrays = reference.to_arrays()
    again = Reference.from_arrays(arrays)
    assert again.classes == CLASSES
    np.testing.assert_array_equal(flat(again.sketch), flat(reference.sketch))
    np.testing.assert_array_equal(again.chance["features"], reference.chance["features"])
    for wrong in ({"sizes": np.array([1])}, {"edges": np.zeros(3)}, {"likeness": "x"}):
        with pytest.raises(Corrupt, match="DRIFT_REFERENCE"):
            Reference.from_arrays({**arrays, **wrong})


def test_chance_grows_less_with_more_faces(reference):
    """And quantiles rise with their level."""
    for table in reference.chance.values():
        assert (np.diff(table, axis=1) >= 0).all()
        assert table[0, -1] > table[-1, -1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 200))
def test_sketches_add_up(seed, n, m):
    """The sum of two is the sketch of both; plain values bring it back."""
    p, f, _ = faces(seed, n + m)
    projection = Projection(np.zeros(12), np.eye(12)[:, :5])
    x = projection.of(f)
    both = Sketch.of(p[:n], x[:n]) + Sketch.of(p[n:], x[n:])
    whole = Sketch.of(p, x)
    np.testing.assert_allclose(flat(both), flat(whole), atol=1e-9)
    np.testing.assert_allclose(flat(Sketch.from_json(whole.to_json())), flat(whole))
    assert whole.faces == n + m
    np.testing.assert_allclose(whole.mean, x.mean(0), atol=1e-9)
    np.testing.assert_allclose(whole.covariance, np.cov(x.T, bias=True), atol=1e-9)
    parts = fourfold(flat(whole), len(CLASSES))
    np.testing.assert_array_equal(parts[3], whole.square)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=8),
    st.lists(st.integers(0, 1000), min_size=2, max_size=8),
)
def test_divergences_are_distances(p, q):
    """Zero from itself, the same both ways, at most one bit."""
    k = min(len(p), len(q))
    a, b = np.array(p[:k], float), np.array(q[:k], float)
    assert jensen_shannon(a, a) == pytest.approx(0)
    assert jensen_shannon(a, b) == pytest.approx(float(jensen_shannon(b, a)))
    assert -1e-12 <= jensen_shannon(a, b) <= 1
    assert stability_index(a, b) >= 0


def test_the_frechet_distance_is_the_known_one():
    """Of normal crowds: means three apart, deviations of 1 and 2."""
    rng = np.random.default_rng(0)
    p = np.full((200_000, 2), 0.5, np.float32)
    one, two = rng.normal(0, 1, (200_000, 1)), rng.normal(3, 2, (200_000, 1))
    rows = [flat(Sketch.of(p, x)) for x in (one, two)]
    assert features_apart(rows[0], rows[1], 2) == pytest.approx(9 + 1, rel=0.02)
    assert features_apart(rows[0], rows[0], 2) == pytest.approx(0, abs=1e-9)
    stacked = features_apart(np.stack([rows[0]] * 3), np.stack([rows[1]] * 3), 2)
    assert stacked.shape == (3,)
    assert classes_apart(rows[0], rows[1], 2) == pytest.approx(0, abs=1e-9)


def test_no_kept_block_is_of_few_faces():
    """However the faces come: fewer than 32 are never in what may be kept."""
    rng = np.random.default_rng(0)
    crowd = Crowd(6, 3)
    before = 0
    for _ in range(3000):
        n = int(rng.integers(0, 4))
        crowd.see(np.full((n, 6), 1 / 6, np.float32), rng.normal(size=(n, 3)))
        blocks = crowd.window(0, 60).blocks
        assert all(b.faces >= BLOCK_FACES for b in blocks)
        assert len(blocks) < MOST_BLOCKS
        kept = sum(b.faces for b in blocks)
        # What is written twice may be subtracted: the difference is nobody in particular either.
        assert kept == before or kept - before >= BLOCK_FACES
        before = kept


def test_a_crowd_turns_to_the_next_window_and_is_resumed():
    """What fills no block goes on; what was kept is kept once."""
    rng = np.random.default_rng(0)
    crowd = Crowd(6, 3)
    for _ in range(40):
        crowd.see(np.full((1, 6), 1 / 6, np.float32), rng.normal(size=(1, 3)))
    first = crowd.window(0, 60)
    crowd.turn()
    assert crowd.window(60, 60).blocks == ()
    for _ in range(24):
        crowd.see(np.full((1, 6), 1 / 6, np.float32), rng.normal(size=(1, 3)))
    second = crowd.window(60, 60)
    assert [b.faces for b in (*first.blocks, *second.blocks)] == [32, 32]
    assert (first.found.sum(), second.found.sum()) == (40, 24)
    again = Crowd(6, 3)
    again.resume(Window.from_json(second.to_json()))
    assert again.window(60, 60).to_json() == second.to_json()
    blocks, found = together([second, first])
    assert [b.faces for b in blocks] == [32, 32]
    assert found.sum() == 64


def test_a_damaged_window_is_told():
    """Whatever is missing."""
    good = Crowd(6, 3).window(0, 60).to_json()
    assert Window.from_json(good).blocks == ()
    for wrong in ({"found": [1]}, {"blocks": [{}]}, {"blocks": 3}, {"start": "x"}):
        with pytest.raises(Corrupt, match="DRIFT_SKETCH"):
            Window.from_json({**good, **wrong})


def test_a_drift_within_the_window_hides_nothing(reference):
    """Half of the window is as trained, half is not: neighbours still resemble one another."""
    p1, f1, _ = faces(11, 400)
    p2, f2, _ = faces(12, 400, shift=0.8)
    window = seen(reference, np.concatenate([p1, p2]), np.concatenate([f1, f2]))
    assert effect(window.blocks) < 3
    assert compare(reference, window.blocks).verdict == "drift"
    assert merged(window.blocks).faces == window.found.sum()
