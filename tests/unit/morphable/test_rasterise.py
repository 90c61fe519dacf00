"""The rasteriser against brute force, and its promises at edges."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.morphable.rasterise import rasterise

SIDE = 24


def brute_force(points: Any, triangles: Any, side: Any) -> Any:
    """Test every pixel against every triangle, strictly inside only, in float64."""
    nearest = np.full((side, side), -1)
    depth = np.full((side, side), -np.inf)
    doubtful = np.zeros((side, side), bool)
    snapped = points.astype(np.float64).copy()
    snapped[:, :2] = np.rint(snapped[:, :2] * 256) / 256
    for t, (a, b, c) in enumerate(triangles):
        p, q, r = snapped[a], snapped[b], snapped[c]
        area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        if area == 0:
            continue
        for row in range(side):
            for column in range(side):
                w0 = ((q[0] - column) * (r[1] - row) - (q[1] - row) * (r[0] - column)) / area
                w1 = ((r[0] - column) * (p[1] - row) - (r[1] - row) * (p[0] - column)) / area
                w2 = 1 - w0 - w1
                low = min(w0, w1, w2)
                if low < -1e-9:
                    continue
                z = w0 * p[2] + w1 * q[2] + w2 * r[2]
                # On an edge the fill rule decides, at equal depth the order: not compared.
                doubtful[row, column] |= low < 1e-9 or abs(z - depth[row, column]) < 1e-3
                if z > depth[row, column]:
                    depth[row, column], nearest[row, column] = z, t
    return nearest, depth, doubtful


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_pixels_see_the_nearest_triangle(seed):
    """Every pixel inside triangles sees the nearest one, at the right depth and place in it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, SIDE + 6, (15, 3)).astype(np.float32)
    triangles = rng.integers(0, 15, (8, 3)).astype(np.int32)
    raster = rasterise(points, triangles, SIDE, SIDE)
    nearest, depth, doubtful = brute_force(points, triangles, SIDE)
    clear = ~doubtful
    np.testing.assert_array_equal(raster.triangle[clear], nearest[clear])
    seen = clear & (nearest >= 0)
    np.testing.assert_allclose(raster.depth[seen], depth[seen], atol=1e-3)
    corners = points[triangles[raster.triangle[seen]]]
    places = np.einsum("nc,ncd->nd", raster.barycentric[seen], corners)
    rows, columns = np.nonzero(seen)
    np.testing.assert_allclose(places[:, 0], columns, atol=0.02)
    np.testing.assert_allclose(places[:, 1], rows, atol=0.02)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_shared_edges_are_covered_exactly_once(seed):
    """Two triangles that share an edge, on whole-pixel corners too, cover no pixel twice."""
    rng = np.random.default_rng(seed)
    count = 12
    points = np.concatenate([rng.integers(2, SIDE - 2, (count, 2)), np.zeros((count, 1))], axis=1)
    points = np.unique(points, axis=0).astype(np.float32)
    from scipy.spatial import Delaunay, QhullError

    try:
        triangles = Delaunay(points[:, :2]).simplices.astype(np.int32)
    except QhullError:
        return
    shuffled = np.array([rng.permutation(t) for t in triangles], np.int32)  # either winding
    single = [
        rasterise(points, shuffled[k : k + 1], SIDE, SIDE).triangle >= 0
        for k in range(len(shuffled))
    ]
    times = np.sum(single, axis=0)
    assert times.max() <= 1
    together = rasterise(points, shuffled, SIDE, SIDE).triangle >= 0
    np.testing.assert_array_equal(together, times == 1)
    inside = Delaunay(points[:, :2])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    strictly = np.min([inside.find_simplex(pixels + step) for step in _steps()], axis=0) >= 0
    assert times.ravel()[strictly].min(initial=1) == 1


def _steps() -> Any:
    return [np.array([dx, dy]) for dx in (-0.01, 0.01) for dy in (-0.01, 0.01)]


def test_a_square_of_two_triangles_covers_its_area():
    """A 4×4 square on whole pixels covers 16 pixels: left and top edges belong to it."""
    points = np.array([[2, 2, 0], [6, 2, 0], [6, 6, 0], [2, 6, 0]], np.float32)
    raster = rasterise(points, np.array([[0, 1, 2], [0, 2, 3]], np.int32), 8, 8)
    covered = raster.triangle >= 0
    assert covered.sum() == 16
    assert covered[2, 2]
    assert not covered[6, 6]


def test_equal_depth_goes_to_the_earlier_triangle():
    """Two equal triangles: the first one wins."""
    points = np.array([[0, 0, 1], [9, 0, 1], [0, 9, 1]], np.float32)
    raster = rasterise(points, np.array([[0, 1, 2], [0, 1, 2]], np.int32), 8, 8)
    assert set(np.unique(raster.triangle)) == {-1, 0}


def test_back_faces_can_be_left_out():
    """A triangle that runs anticlockwise on the screen is drawn only when back faces are."""
    points = np.array([[0, 0, 1], [9, 0, 1], [0, 9, 1]], np.float32)
    away = np.array([[0, 2, 1]], np.int32)
    assert (rasterise(points, away, 8, 8).triangle >= 0).any()
    assert not (rasterise(points, away, 8, 8, back_faces=False).triangle >= 0).any()


def test_nothing_to_draw_is_fine():
    """No triangles, degenerate ones and ones outside leave the raster empty."""
    points = np.array([[1, 1, 0], [2, 2, 0], [3, 3, 0], [50, 50, 0], [60, 50, 0], [50, 60, 0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    for some in (triangles, triangles[:0]):
        raster = rasterise(points.astype(np.float32), some, 8, 8)
        assert (raster.triangle == -1).all()
        assert np.isneginf(raster.depth).all()


@pytest.mark.parametrize(
    ("points", "triangles", "size"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]], 8),
        (np.zeros((3, 3)), [[0, 1, 3]], 8),
        (np.zeros((3, 3)), [[0, 1, -1]], 8),
        (np.full((3, 3), np.nan), [[0, 1, 2]], 8),
        (np.full((3, 3), 1e9), [[0, 1, 2]], 8),
        (np.zeros((3, 3)), [[0, 1, 2]], 0),
    ],
)
def test_wrong_input_is_refused(points, triangles, size):
    """Wrong shapes, indices without vertex, positions that are no places: RASTER_INPUT."""
    with pytest.raises(Invalid) as caught:
        rasterise(points.astype(np.float32), np.array(triangles, np.int32), size, size)
    assert caught.value.reason == "RASTER_INPUT"
