"""Planning pools: balance, prefixes, stable ids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX, EXPRESSIONS, Expression
from mien.core.generation import FaceRequest, SourceFace
from mien.generators.requests import check_balance, plan_requests

H, N = Expression.HAPPINESS, Expression.NEUTRAL


def photo(name: str, subject: str | None) -> SourceFace:
    return SourceFace(name, name, subject, np.zeros((4, 4, 3), np.uint8), ((0.0, 0.0),))


def source_of(request: FaceRequest) -> SourceFace:
    assert request.source is not None
    return request.source


@settings(max_examples=40)
@given(
    st.integers(1, 9),
    st.integers(1, 3),
    st.sets(st.sampled_from(EXPRESSIONS), min_size=1),
    st.integers(0, 1000),
)
def test_invented_pools_are_exactly_balanced(identities, per_cell, expressions, seed):
    """Every identity shows every expression equally often; ids are unique."""
    chosen = sorted(expressions)
    plan = list(
        plan_requests(
            pool="p",
            pool_seed=seed,
            expressions=chosen,
            identities=identities,
            images_per_cell=per_cell,
            intensity=(0.3, 0.7),
        )
    )
    assert len({r.id for r in plan}) == len(plan) == identities * len(chosen) * per_cell
    faces = [(r.identity, r.expression) for r in plan]
    assert check_balance(faces, expressions=chosen, images_per_cell=per_cell) == identities
    assert all(0.3 <= r.intensity <= 0.7 and r.seed == seed for r in plan)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_a_longer_pool_begins_with_the_shorter(few, more, seed):
    """Invented pools are prefixes of each other, request by request."""
    plans = [
        list(plan_requests(pool="p", pool_seed=seed, expressions=EKMAN_SIX, identities=n))
        for n in (few, few + more)
    ]
    assert plans[1][: len(plans[0])] == plans[0]


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
def test_a_photo_unit_is_every_subject_once(subjects, units, seed):
    """The k-th unit holds each subject exactly once, in one order; units are prefixes."""
    sources = [photo(f"s/{i}", f"s:{i}") for i in range(subjects)]
    plan = list(
        plan_requests(pool="p", pool_seed=seed, expressions=(N, H), sources=sources, units=units)
    )
    size = subjects * 2
    orders = []
    for unit in range(units):
        part = plan[unit * size : (unit + 1) * size]
        orders.append([source_of(r).subject for r in part])
        assert set(orders[-1]) == {s.subject for s in sources}
        assert check_balance([(r.identity, r.expression) for r in part], expressions=(N, H))
    assert all(order == orders[0] for order in orders)
    shorter = plan_requests(pool="p", pool_seed=seed, expressions=(N, H), sources=sources)
    assert plan[:size] == list(shorter)
    assert len({r.identity for r in plan}) == subjects * units


def test_order_of_the_sources_does_not_matter():
    """The plan is a function of the photos, not of how they were listed."""
    sources = [photo(f"s/{i}", f"s:{i}") for i in range(5)]
    plans = [
        [r.id for r in plan_requests(pool="p", pool_seed=1, expressions=(N, H), sources=s)]
        for s in (sources, sources[::-1])
    ]
    assert plans[0] == plans[1]
    other = plan_requests(pool="p", pool_seed=2, expressions=(N, H), sources=sources)
    assert [r.id for r in other] != plans[0]


def test_photos_of_one_subject_take_turns():
    """A subject with two neutral photos is still one subject of a unit."""
    sources = [photo("s/a", "s:1"), photo("s/b", "s:1"), photo("s/c", "s:2")]
    plan = list(plan_requests(pool="p", pool_seed=1, expressions=(H,), sources=sources, units=3))
    own = [source_of(r).id for r in plan if source_of(r).subject == "s:1"]
    assert own == ["s/a", "s/b", "s/a"]


def test_photos_without_subject_stand_for_themselves():
    """Two photos of unknown people are two identities."""
    plan = list(
        plan_requests(
            pool="p", pool_seed=1, expressions=(H,), sources=[photo("a", None), photo("b", None)]
        )
    )
    assert len({r.identity for r in plan}) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"identities": 0}, "identities"),
        ({"identities": None}, "identities"),
        ({"identities": 3, "sources": []}, "identities"),
        ({"identities": None, "sources": []}, "sources"),
        ({"expressions": ()}, "expressions"),
        ({"expressions": (H, H)}, "expressions"),
        ({"images_per_cell": 0}, "images_per_cell"),
        ({"units": 0}, "units"),
        ({"units": 2}, "units"),
        ({"intensity": (0.9, 0.2)}, "intensity"),
        ({"intensity": (0.0, 1.2)}, "intensity"),
    ],
)
def test_plans_that_make_no_sense_are_refused_at_once(change, field):
    """The error names the argument, before the first request is taken."""
    arguments = {"pool": "p", "pool_seed": 0, "expressions": (N, H), "identities": 2} | change
    with pytest.raises(Invalid) as error:
        plan_requests(**arguments)
    assert error.value.reason == "POOL_PLAN"
    assert field in error.value.violations


def test_an_unbalanced_pool_is_named_cell_by_cell():
    """Missing, surplus and foreign cells are each named."""
    faces = [("a", N), ("a", H), ("b", H), ("c", N), ("c", H), ("c", H), ("c", None)]
    with pytest.raises(Invalid) as error:
        check_balance(faces, expressions=(N, H))
    assert error.value.reason == "POOL_UNBALANCED"
    assert "b × neutral: 0 instead of 1" in error.value.message
    assert "c × happiness: 2 instead of 1" in error.value.message
    assert "c × no expression: 1 instead of 0" in error.value.message
    assert "a ×" not in error.value.message


def test_many_unbalanced_cells_are_counted_not_listed():
    """Five cells are named, the rest is a number."""
    with pytest.raises(Invalid, match="and 3 more"):
        check_balance([(str(i), N) for i in range(8)], expressions=(N, H))


def test_an_empty_pool_is_no_balanced_pool():
    """Nothing is not balance."""
    with pytest.raises(Invalid, match="POOL_EMPTY"):
        check_balance([], expressions=(N, H))
