"""The saturation curve and the cost of a point."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.evaluation.saturation import cost_per_point, fit_saturation

RATIOS = (0, 1, 2, 5, 10, 20)


def scores(
    gains: ArrayLike,
    *,
    noise: float = 0.05,
    subjects: int = 120,
    seeds: int = 3,
    entropy: int = 0,
) -> Double:
    rng = np.random.default_rng(entropy)
    people = rng.normal(0, 0.1, subjects)
    level: Double = 0.5 + np.asarray(gains)[:, None, None] + people
    return level + rng.normal(0, noise, (len(level), seeds, subjects))


def rising(gain: float, scale: float, ratios: Sequence[int] = RATIOS) -> Double:
    curve: Double = gain * (1 - np.exp(-np.asarray(ratios) / scale))
    return curve


@pytest.mark.parametrize("scale", [0.8, 3.0, 10.0])
def test_a_curve_without_noise_is_found_again(scale):
    """Start, gain and the ratio of 95 % of it come back within the grid's step."""
    found = fit_saturation(RATIOS, 0.5 + np.zeros((6, 3, 9)) + rising(0.2, scale)[:, None, None])
    assert found.start == pytest.approx(0.5, abs=0.003)
    assert found.limit_gain == pytest.approx(0.2, rel=0.06)
    assert found.ratio_95 == pytest.approx(3.0 * scale, rel=0.1)
    assert found.misfit < 0.002
    assert found.beyond == (3.0 * scale > 20)


def test_noise_widens_the_band_around_the_truth():
    """The fitted curve's band holds the true gain, and the interval of ratio_95 the true one."""
    found = fit_saturation(RATIOS, scores(rising(0.1, 3.0)))
    assert not found.flat
    assert found.gain_low < 0.1 < found.gain_high
    assert found.ratio_95_low is not None
    assert found.ratio_95_high is not None
    assert found.ratio_95_low < 9.0 < found.ratio_95_high
    assert all(
        a <= b <= c for a, b, c in zip(found.band_low, found.fitted, found.band_high, strict=True)
    )


def test_a_flat_curve_names_no_ratio():
    """Where the gain may be zero there is no ratio at which it is reached."""
    found = fit_saturation(RATIOS, scores(np.zeros(6)))
    assert found.flat
    assert (found.ratio_95, found.ratio_95_low, found.ratio_95_high) == (None, None, None)
    assert not found.beyond


def test_no_variance_and_no_gain_is_flat_not_an_error():
    """Every score equal: nothing divides by zero."""
    found = fit_saturation(RATIOS, np.full((6, 3, 5), 0.7))
    assert found.flat
    assert found.fitted == pytest.approx([0.7] * 6)


def test_a_peak_shows_as_misfit():
    """A curve that falls again cannot be fitted by one that saturates."""
    straight = fit_saturation(RATIOS, scores(rising(0.2, 2.0)))
    peaked = fit_saturation(RATIOS, scores([0, 0.1, 0.2, 0.1, 0.0, -0.1]))
    assert peaked.misfit > 5 * straight.misfit


def test_harm_is_a_negative_gain():
    """Data that lowers accuracy gives a curve that falls."""
    found = fit_saturation(RATIOS, scores(-rising(0.2, 2.0)))
    assert found.gain_high < 0.0


def test_order_of_ratios_is_nothing_and_the_seed_decides_the_bands():
    """Shuffled arms give the same curve; the same seed the same bands."""
    table = scores(rising(0.1, 3.0))
    order = [3, 0, 5, 1, 4, 2]
    assert fit_saturation([RATIOS[i] for i in order], table[order]) == fit_saturation(RATIOS, table)


@pytest.mark.parametrize(
    ("ratios", "shape", "reason"),
    [
        ((0, 1), (2, 3, 5), "TOO_FEW_RATIOS"),
        ((0, 1, 1), (3, 3, 5), "RATIO_TWICE"),
        ((1, 2, 5), (3, 3, 5), "NO_BASELINE"),
        ((0, 1, 2), (4, 3, 5), "SCORE_SHAPE"),
        ((0, 1, 2), (3, 3, 0), "SCORE_SHAPE"),
    ],
)
def test_curves_that_cannot_be_fitted_are_refused(ratios, shape, reason):
    """Too few points, or points that are not what they say."""
    with pytest.raises(Invalid) as caught:
        fit_saturation(ratios, np.zeros(shape))
    assert caught.value.reason == reason


def test_a_missing_score_is_refused():
    """NaN does not become a curve."""
    with pytest.raises(Invalid):
        fit_saturation((0, 1, 2), np.full((3, 2, 2), np.nan))


def test_cost_of_a_point():
    """Seconds divided by points, bounds from the gain's interval."""
    found = cost_per_point(600.0, 0.03, 0.01, 0.06)
    assert (found.estimate, found.low, found.high) == pytest.approx((200.0, 100.0, 600.0))


def test_no_gain_has_no_price():
    """Where nothing, or perhaps nothing, is gained no price is named."""
    found = cost_per_point(600.0, 0.01, -0.01, 0.03)
    assert found.estimate == pytest.approx(600.0)
    assert found.high is None
    assert cost_per_point(600.0, -0.01, -0.03, -0.001).low is None
    with pytest.raises(Invalid):
        cost_per_point(-1.0, 0.01, 0.0, 0.02)
