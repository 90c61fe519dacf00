"""Landmark sets and the Multi-PIE 68."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.morphable.landmarks import (
    JAW,
    LEFT_EYE,
    RIGHT_EYE,
    along,
    inter_ocular,
    london_68,
    multi_pie_68,
)


def london_like() -> np.ndarray:
    """189 points whose named ones lie where a face has them (y down)."""
    points = np.random.default_rng(0).uniform(0, 10, (189, 2))
    jaw = (109, 110, 111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114, 113, 112)
    angle = np.linspace(np.pi, 0, len(jaw))
    points[list(jaw)] = np.stack([300 + 100 * np.cos(angle), 300 + 130 * np.sin(angle)], axis=1)
    points[[18, 19, 20, 21, 22]] = [(230, 300), (240, 294), (250, 292), (260, 294), (270, 300)]
    points[[28, 29, 30]] = [(240, 305), (250, 307), (260, 305)]
    points[[23, 24, 25, 26, 27]] = [(330, 300), (340, 294), (350, 292), (360, 294), (370, 300)]
    points[[31, 32, 33]] = [(340, 305), (350, 307), (360, 305)]
    points[[87, 93, 129]] = [(270, 390), (330, 390), (300, 430)]
    return points


def test_london_points_land_in_multi_pie_order():
    """Corners, chin and eyes take the places the order gives them."""
    points = london_like()
    mapped = london_68(points)
    assert mapped.shape == (68, 2)
    assert np.allclose(mapped[[36, 39, 42, 45]], points[[18, 22, 23, 27]])
    assert np.allclose(mapped[[0, 8, 16]], points[[109, 129, 112]])
    assert np.allclose(mapped[[48, 54]], points[[87, 93]])
    assert (np.diff(mapped[JAW, 0]) > 0).all()
    assert mapped[37, 1] < mapped[41, 1]
    assert mapped[LEFT_EYE, 0].max() < mapped[RIGHT_EYE, 0].min()
    assert inter_ocular(mapped) == pytest.approx(100.0, abs=2.0)


def test_along_walks_by_length():
    """Half the length of a bent line is not half its points."""
    line = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 30.0)])
    assert np.allclose(along(line, (0.0, 0.5, 1.0)), [(0, 0), (10, 10), (10, 30)])


def test_68_points_pass_and_189_are_mapped():
    """Both numbers are accepted."""
    points = london_like()
    mapped = multi_pie_68([(float(x), float(y)) for x, y in points])
    assert np.allclose(mapped, london_68(points))
    assert np.allclose(multi_pie_68([(float(x), float(y)) for x, y in mapped]), mapped)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([], "LANDMARKS_MISSING"),
        ([(1.0, 1.0)] * 5, "LANDMARKS_SHAPE"),
        ([(1.0, 1.0)] * 68, "LANDMARKS_SHAPE"),
        ([(float("nan"), 1.0)] * 68, "LANDMARKS_SHAPE"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused(points, reason):
    """None, a wrong number, one place, NaN."""
    with pytest.raises(Invalid) as error:
        multi_pie_68(points)
    assert error.value.reason == reason


def test_london_mapping_needs_189():
    """Another number of points is no London face."""
    with pytest.raises(Invalid, match="189"):
        london_68(np.zeros((68, 2)))
