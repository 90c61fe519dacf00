"""Expressions look as they are called, and vary without becoming others."""

from typing import Any, cast

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX, EXPRESSIONS, Expression
from mien.morphable.builtin import BuiltinHead
from mien.morphable.expressions import PROTOTYPES, mirror_units, sample_units, spread_sides

HEAD = BuiltinHead.load()
ZERO = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))


def marks(expression: Any, intensity: Any = 1.0) -> Any:
    units = {n: intensity * w for n, w in HEAD.prototype(expression).items()}
    return (ZERO + HEAD.offsets(units))[HEAD.landmarks68]


NEUTRAL = marks(Expression.NEUTRAL)


def moved(expression: Any, points: Any, axis: Any = 1) -> Any:
    return float((marks(expression) - NEUTRAL)[points, axis].mean())


def test_every_expression_has_a_prototype():
    """All eight have one; neutral is nothing; all units exist and are in [0, 1]."""
    assert set(PROTOTYPES) == set(EXPRESSIONS)
    assert HEAD.prototype(Expression.NEUTRAL) == {}
    for expression in EXPRESSIONS:
        weights = HEAD.prototype(expression)
        assert set(weights) <= set(HEAD.units)
        assert all(0 < w <= 1 for w in weights.values())


def test_expressions_look_as_they_are_called():
    """The signs by which people name them: corners, brows, jaw, lids."""
    corners, brows, inner_brows = [48, 54], [18, 20, 23, 25], [21, 22]
    lids = [37, 38, 43, 44]
    assert moved(Expression.HAPPINESS, corners) > 0.05
    assert moved(Expression.SADNESS, corners) < -0.05
    assert moved(Expression.ANGER, inner_brows) < -0.05
    assert moved(Expression.SURPRISE, brows) > 0.07
    assert moved(Expression.SURPRISE, [8]) < -0.15
    assert moved(Expression.SADNESS, inner_brows) > 0.03
    assert moved(Expression.SADNESS, inner_brows) > moved(Expression.SADNESS, [17, 26])
    assert moved(Expression.FEAR, lids) > 0.02
    assert moved(Expression.DISGUST, [31, 35]) > 0.02
    assert moved(Expression.DISGUST, [50, 51, 52]) > 0.03
    stretched = marks(Expression.FEAR)[[54], 0] - NEUTRAL[[54], 0]
    assert stretched > 0.04


def test_contempt_is_one_sided():
    """One mouth corner rises, the other hardly moves; mirrored it is the other one."""
    change = marks(Expression.CONTEMPT) - NEUTRAL
    assert change[54, 1] > 4 * abs(change[48, 1])
    weights = mirror_units(HEAD.prototype(Expression.CONTEMPT))
    mirrored = (ZERO + HEAD.offsets(weights))[HEAD.landmarks68] - NEUTRAL
    assert mirrored[48, 1] == pytest.approx(change[54, 1], abs=1e-3)


def test_mirroring_twice_changes_nothing():
    """Left and right, the gaze too, come back."""
    units = {"AU12_L": 0.3, "AU12_R": 0.1, "AU27": 0.5, "look_left": 0.2}
    assert mirror_units(mirror_units(units)) == units
    assert mirror_units(units)["look_right"] == 0.2


def test_no_variation_gives_the_prototype():
    """At variation 0 the weights are intensity times the prototype."""
    for expression in EXPRESSIONS:
        drawn = sample_units(HEAD, expression, 0.6, np.random.default_rng(1), 0.0)
        expected = {n: pytest.approx(0.6 * w) for n, w in HEAD.prototype(expression).items()}
        assert drawn == expected


def test_samples_vary_and_repeat_by_seed():
    """Same generator state, same weights; another, others; all in [0, 1]."""

    def draw(seed: Any) -> Any:
        return sample_units(HEAD, Expression.FEAR, 0.9, np.random.default_rng(seed), 1.0)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    for seed in range(50):
        assert all(0 < w <= 1 for w in draw(seed).values())


def test_varied_expressions_stay_nearest_to_their_own():
    """Of the six, the landmarks of a varied sample mostly lie nearest to the right prototype."""
    rng = np.random.default_rng(5)
    prototypes = {e: marks(e, 0.85) for e in EKMAN_SIX}
    right = total = 0
    for expression in EKMAN_SIX:
        for _ in range(25):
            units = sample_units(HEAD, expression, 0.85, rng, 1.0)
            points = (ZERO + HEAD.offsets(units))[HEAD.landmarks68]
            gaps = {e: np.linalg.norm(points - p) for e, p in prototypes.items()}
            right += min(gaps, key=lambda e: gaps[e]) is expression
            total += 1
    assert right / total > 0.9


def test_carrying_units_are_never_dropped():
    """However varied, happiness keeps smiling and surprise keeps its jaw dropped."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        happy = sample_units(HEAD, Expression.HAPPINESS, 1.0, rng, 1.0)
        assert happy["AU12_L"] + happy["AU12_R"] > 0.9
        assert sample_units(HEAD, Expression.SURPRISE, 1.0, rng, 1.0)["AU27"] > 0.4


def test_a_varied_neutral_keeps_its_mouth_shut():
    """Leaks never part the lips, so neutral faces show no teeth."""
    for seed in range(60):
        units = sample_units(HEAD, Expression.NEUTRAL, 1.0, np.random.default_rng(seed), 1.0)
        assert not {"AU25", "AU26", "AU27"} & set(units)
        assert all(w < 0.25 for n, w in units.items() if not n.startswith("look"))


def test_units_without_side_mean_both():
    """AU12 stands for both sides; an unknown one is refused."""
    assert spread_sides({"AU12": 0.5, "AU27": 0.2}, HEAD.units) == {
        "AU12_L": 0.5,
        "AU12_R": 0.5,
        "AU27": 0.2,
    }
    with pytest.raises(Invalid) as caught:
        spread_sides({"AU77": 0.5}, HEAD.units)
    assert caught.value.reason == "UNKNOWN_UNIT"


@pytest.mark.parametrize(
    ("intensity", "variation", "reason"),
    [
        (1.1, 0.5, "INTENSITY_OUT_OF_RANGE"),
        (-0.1, 0.5, "INTENSITY_OUT_OF_RANGE"),
        (float("nan"), 0.5, "INTENSITY_OUT_OF_RANGE"),
        (0.5, -0.1, "VARIATION_OUT_OF_RANGE"),
        (0.5, 2.1, "VARIATION_OUT_OF_RANGE"),
    ],
)
def test_out_of_range_is_refused(intensity, variation, reason):
    """Intensity beyond [0, 1] and variation beyond [0, 2] are Invalid."""
    with pytest.raises(Invalid) as caught:
        sample_units(HEAD, Expression.ANGER, intensity, np.random.default_rng(0), variation)
    assert caught.value.reason == reason


def test_unknown_expressions_are_refused():
    """A word that is no expression is Invalid, also from the head itself."""
    with pytest.raises(Invalid) as caught:
        sample_units(HEAD, cast("Any", "boredom"), 0.5, np.random.default_rng(0), 0.5)
    assert caught.value.reason == "UNKNOWN_EXPRESSION"
    with pytest.raises(Invalid):
        HEAD.prototype(cast("Any", "boredom"))
