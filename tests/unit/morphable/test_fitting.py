"""Fitting a head to 68 landmarks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mien.core.errors import Invalid
from mien.morphable.fitting import Fit, camera, fit
from mien.morphable.head import load_head
from mien.morphable.landmarks import JAW, inter_ocular

HEAD = load_head("builtin", None)


def placed(seed: int, degrees: float = 8.0) -> tuple[Fit, np.ndarray]:
    rng = np.random.default_rng(seed)
    identity = np.clip(0.8 * rng.standard_normal(HEAD.identity_size), -2, 2).astype(np.float32)
    angles = np.clip(degrees * rng.standard_normal(3), -20, 20)
    turn = Rotation.from_euler("yxz", angles, degrees=True).as_matrix()
    scale = float(rng.uniform(20, 200)) / HEAD.scale
    truth = Fit(identity, scale, turn, rng.uniform(50, 500, 2), 0.0, np.zeros(68))
    points = truth.project(HEAD.shape(identity))[HEAD.landmarks68, :2]
    return truth, points.astype(np.float64)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_recovers_the_camera_from_exact_projections(seed):
    """From noise-free points of any head the camera comes back and nothing is left over."""
    truth, points = placed(seed)
    found = fit(HEAD, points, slide=False, ridge=1e-3, rounds=20)
    assert found.residual < 0.003
    assert abs(found.scale / truth.scale - 1) < 0.15
    assert degrees_between(found.rotation, truth.rotation) < 6.0
    assert np.allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found.rotation) > 0


def test_depth_comes_back_for_most_heads():
    """Depth is hardly seen from the front; half of it comes back on the median head."""
    errors = []
    for seed in range(20):
        truth, points = placed(seed)
        found = fit(HEAD, points, slide=False, ridge=1e-3, rounds=20)
        mean = fit(HEAD, points, modes=0, slide=False)
        errors.append((depth_error(found, truth), depth_error(mean, truth)))
    fitted, unfitted = np.median(errors, axis=0)
    assert fitted < 0.7 * unfitted


def depth_error(found: Fit, truth: Fit) -> float:
    """Mean error of the landmarks' depth, in eye distances."""
    depths = [f.project(HEAD.shape(f.identity))[HEAD.landmarks68, 2] for f in (found, truth)]
    gap = (depths[0] - depths[0].mean()) - (depths[1] - depths[1].mean())
    eyes = truth.project(HEAD.shape(truth.identity))[HEAD.landmarks68, :2]
    return float(np.abs(gap).mean()) / inter_ocular(eyes.astype(np.float64))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0), st.floats(-300, 300))
def test_fit_follows_a_moved_and_scaled_photo(seed, factor, shift):
    """The same face in a larger or shifted photo gives the same identity and residual."""
    _, points = placed(seed)
    first, second = fit(HEAD, points), fit(HEAD, points * factor + shift)
    assert np.allclose(first.identity, second.identity, atol=1e-3)
    assert second.scale == pytest.approx(first.scale * factor, rel=1e-4)
    assert second.residual == pytest.approx(first.residual, abs=1e-5)


def test_residual_is_what_the_projection_leaves():
    """Residuals are distances of the projected landmarks, in eye distances."""
    _, points = placed(3)
    noisy = points + np.random.default_rng(0).normal(0, 0.02 * inter_ocular(points), points.shape)
    found = fit(HEAD, noisy, slide=False)
    again = found.project(HEAD.shape(found.identity))[HEAD.landmarks68, :2]
    expected = np.linalg.norm(again - noisy, axis=1) / inter_ocular(noisy)
    assert np.allclose(found.residuals, expected, atol=1e-4)
    assert found.residual == pytest.approx(expected.mean(), abs=1e-4)
    assert 0.005 < found.residual < 0.04


def test_jaw_points_may_slide_along_the_jaw():
    """Jaw points set elsewhere along the same line cost nothing when the jaw slides."""
    truth, points = placed(5, degrees=0.0)
    jaw = points[JAW]
    slid = points.copy()
    slid[1:16] = 0.7 * jaw[1:16] + 0.3 * jaw[2:17]
    fixed = fit(HEAD, slid, slide=False).residuals[JAW].mean()
    sliding = fit(HEAD, slid).residuals[JAW].mean()
    assert sliding < 0.5 * fixed
    del truth


def test_more_noise_expected_means_closer_to_the_mean_head():
    """The ridge shrinks identity."""
    _, points = placed(7)
    sizes = [np.linalg.norm(fit(HEAD, points, ridge=r).identity) for r in (0.001, 0.02, 0.5)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_fewer_modes_leave_the_others_at_zero():
    """Only the first modes are used."""
    _, points = placed(8)
    assert not fit(HEAD, points, modes=5).identity[5:].any()
    assert not fit(HEAD, points, modes=0).identity.any()


def test_camera_is_exact_for_a_scaled_rotation():
    """Three or more points in general position determine the camera."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((12, 3))
    turn = Rotation.from_euler("xyz", (10, -20, 5), degrees=True).as_matrix()
    target = 3.0 * (points @ turn.T)[:, :2] + (4.0, -2.0)
    scale, rotation, shift = camera(points, target)
    assert scale == pytest.approx(3.0)
    assert np.allclose(rotation, turn)
    assert np.allclose(shift, (4.0, -2.0))


@pytest.mark.parametrize(
    "points",
    [np.zeros((67, 2)), np.full((68, 2), np.nan), np.zeros((68, 2))],
    ids=["67", "nan", "one place"],
)
def test_unusable_points_are_refused(points):
    """Another number, NaN, and all points in one place are errors, not fits."""
    with pytest.raises(Invalid) as error:
        fit(HEAD, points)
    assert error.value.reason == "LANDMARKS_SHAPE"
