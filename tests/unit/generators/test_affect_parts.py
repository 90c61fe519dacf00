"""The pieces of the affect engine: surface, folds, eyes, variation."""

import numpy as np
import pytest

from mien.core.arrays import Double
from mien.core.expression import EXPRESSIONS, Expression
from mien.generators.affect_eyes import close_eyes, open_eyes
from mien.generators.affect_folds import find_folds, fold_strengths, shade_folds
from mien.generators.affect_invent import invent
from mien.generators.affect_params import AffectParams
from mien.generators.affect_photo import Photo, prepare
from mien.generators.affect_pose import deform
from mien.generators.affect_surface import Surface, eye_openings, make_surface
from mien.generators.affect_variation import draw_variation
from mien.generators.affect_warp import OUTSIDE, warp
from mien.morphable.head import load_head
from mien.morphable.landmarks import LEFT_EYE, inter_ocular
from mien.morphable.tissue import Tissue

HEAD = load_head("builtin", None)
PARAMS = AffectParams(scene_spread=0.2)


@pytest.fixture(scope="module")
def surface() -> Surface:
    return make_surface(HEAD)


@pytest.fixture(scope="module")
def photo(surface: Surface) -> Photo:
    made = invent(HEAD, PARAMS, 21, 192)
    return prepare(surface, made.image, made.landmarks, known=made.fit)


def marks(photo: Photo) -> Double:
    return photo.texture[HEAD.landmarks68].astype(np.float64)


def test_landmark_pulls_are_local_and_sum_to_one(surface):
    """Moving all landmarks alike moves everything alike; one moves mostly its surroundings."""
    assert np.allclose(surface.influence.sum(axis=1), 1.0, atol=1e-3)
    own = surface.influence[HEAD.landmarks68]
    assert np.median(np.diag(own)) > 0.9
    assert np.abs(own - np.diag(np.diag(own))).max() < 0.35


def test_touching_lips_follow_different_landmarks(surface):
    """Upper and lower inner lip lie together, yet each follows its own landmark."""
    upper, lower = HEAD.landmarks68[[62, 66]]
    assert surface.influence[upper, 62] > surface.influence[upper, 66] + 0.5
    assert surface.influence[lower, 66] > surface.influence[lower, 62] + 0.5


def test_the_front_has_no_skull_and_no_neck(surface):
    """Skin that carries the photo lies between forehead and chin."""
    mean = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))
    chin = mean[HEAD.landmarks68[8], 1]
    assert mean[surface.skin, 1].min() > chin - 0.05
    assert mean[surface.skin, 2].min() > mean[:, 2].min() + 0.5
    assert set(np.unique(surface.tissue)) <= {Tissue.SKIN, Tissue.EYE, Tissue.MOUTH, Tissue.TEETH}


def test_the_corrected_head_hits_the_landmarks(surface):
    """A fit that is off is corrected: texture positions are the photo's landmarks."""
    made = invent(HEAD, PARAMS, 22, 192)
    moved = made.landmarks.copy()
    moved[48:] += (2.0, 3.0)
    placed = prepare(surface, made.image, moved, known=made.fit)
    gap = np.linalg.norm(marks(placed) - moved, axis=1)[17:]
    assert gap.mean() < 0.5


def test_an_unmoved_head_is_an_unmoved_picture(surface, photo):
    """No offsets, no turn: every pixel of the face comes from its own place, unshaded."""
    still = deform(surface, photo, np.zeros_like(photo.vertices), np.eye(3))
    traced = warp(surface, photo, still)
    height, width = traced.tissue.shape
    x = np.arange(traced.left, traced.left + width)[None, :]
    y = np.arange(traced.top, traced.top + height)[:, None]
    skin = traced.tissue == Tissue.SKIN
    assert skin.mean() > 0.2
    assert np.abs(traced.x - x)[skin].max() < 0.02
    assert np.abs(traced.y - y)[skin].max() < 0.02
    assert np.allclose(traced.ratio[skin], 1.0, atol=0.02)


def test_displacement_dies_away_beyond_the_face(surface, photo):
    """At the window's border nothing of the new picture is left."""
    offsets = HEAD.offsets(HEAD.prototype(Expression.SURPRISE))
    traced = warp(surface, photo, deform(surface, photo, offsets, np.eye(3)))
    assert (traced.tissue[:, [0, -1]] == OUTSIDE).all()
    assert traced.share[:, [0, -1]].max() == 0.0
    assert traced.share[traced.tissue == Tissue.SKIN].min() == 1.0


def test_the_chin_does_not_rise(surface, photo):
    """Skin slides over the jaw's edge; the edge itself only falls."""
    lifted = np.zeros_like(photo.vertices)
    lifted[:, 1] = 0.1
    chin = HEAD.landmarks68[8]
    still = deform(surface, photo, np.zeros_like(lifted), np.eye(3)).points[chin, 1]
    up = deform(surface, photo, lifted, np.eye(3)).points[chin, 1]
    down = deform(surface, photo, -lifted, np.eye(3)).points[chin, 1]
    assert abs(up - still) < 0.2 * abs(down - still)


def test_narrow_eyes_move_their_lids_less(surface):
    """The way a lid goes is measured by the eye's own opening."""
    made = invent(HEAD, PARAMS, 23, 192)
    narrow = made.landmarks.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        middle = (narrow[upper] + narrow[lower]) / 2
        narrow[upper] = middle + 0.5 * (narrow[upper] - middle)
        narrow[lower] = middle + 0.5 * (narrow[lower] - middle)
    assert np.allclose(eye_openings(narrow), 0.5 * eye_openings(made.landmarks))
    wide = prepare(surface, made.image, made.landmarks, known=made.fit).lid_travel
    less = prepare(surface, made.image, narrow, known=made.fit).lid_travel
    lid = HEAD.landmarks68[37]
    assert less[lid] < wide[lid]
    assert less[HEAD.landmarks68[8]] == 1.0


def test_folds_come_with_the_brows(photo):
    """None at rest; lowered brows frown, raised ones wrinkle the forehead."""
    points = marks(photo)
    apart = inter_ocular(points)
    assert fold_strengths(points, points) == (0.0, 0.0)
    lowered, raised = points.copy(), points.copy()
    lowered[17:27, 1] += 0.1 * apart
    raised[17:27, 1] -= 0.1 * apart
    assert fold_strengths(points, lowered)[0] > 0.5
    assert fold_strengths(points, lowered)[1] == 0.0
    assert fold_strengths(points, raised)[1] > 0.5
    shifted = points + np.array([5.0, -3.0])
    assert fold_strengths(points, shifted) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_folds_darken_where_they_lie_and_nowhere_else(photo):
    """Factor 1 away from brows and forehead, darker on a fold."""
    folds = find_folds(photo.image, marks(photo))
    height, width = photo.image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shade = shade_folds(folds, 1.0, 1.0, x, y)
    assert shade.min() < 0.95
    assert shade.max() < 1.15
    below = int(marks(photo)[30, 1])
    assert (shade[below:] == 1.0).all()
    assert (shade_folds(folds, 0.0, 0.0, x, y) == 1.0).all()


def test_eyes_go_on_behind_their_lids(photo):
    """Around the opening there is eyeball, not lid; within it the photo's own eye."""
    points = marks(photo)
    apart = inter_ocular(points)
    opened, white = open_eyes(photo.image, points, apart)
    centre = points[LEFT_EYE].mean(axis=0)
    above = np.rint(centre - (0.0, 0.13 * apart)).astype(int)
    lid, eye = photo.image[above[1], above[0]], opened[above[1], above[0]]
    assert np.abs(lid - eye).max() > 10
    assert (white > 60).all()
    closed = close_eyes(photo.image, points, apart)
    x, y = np.rint(centre).astype(int)
    assert np.abs(closed[y, x] - photo.image[y, x]).max() > 10
    far = photo.image[: int(points[17:27, 1].min()) - 5]
    assert (closed[: len(far)] == far).all()


def test_eyes_that_cannot_be_seen_are_left(photo):
    """Shut eyes have no opening to fill; nothing fails."""
    points = marks(photo)
    shut = points.copy()
    shut[37:39, 1] = shut[40:42, 1] = shut[36, 1]
    shut[43:45, 1] = shut[46:48, 1] = shut[42, 1]
    opened, white = open_eyes(photo.image, shut, inter_ocular(shut))
    assert np.isfinite(opened).all()
    assert np.isfinite(white).all()


def test_all_but_the_expression_is_drawn_alike():
    """Turn, gain, noise and camera of a seed do not depend on the expression."""
    drawn = [
        draw_variation(HEAD, PARAMS, e, 0.8, np.random.default_rng(4), work=(96, 96), out=(48, 48))
        for e in EXPRESSIONS
    ]
    for other in drawn[1:]:
        assert np.array_equal(other.turn, drawn[0].turn)
        assert np.array_equal(other.affine, drawn[0].affine)
        assert np.array_equal(other.gain, drawn[0].gain)
        assert other.noise == drawn[0].noise


def test_smiles_differ_in_teeth_and_eyes():
    """Of one seed's smiles some show teeth and some do not; without variation all are the same."""

    def opening(params: AffectParams, seed: int) -> float:
        rng = np.random.default_rng(seed)
        drawn = draw_variation(
            HEAD, params, Expression.HAPPINESS, 1.0, rng, work=(96, 96), out=(48, 48)
        )
        lips = drawn.offsets[HEAD.landmarks68[[62, 66]], 1]
        return float(lips[0] - lips[1])

    gaps = [opening(PARAMS, s) for s in range(12)]
    assert max(gaps) > 2.5 * max(min(gaps), 0.005)


def test_the_deformation_is_never_nothing():
    """The random part alone moves vertices, at its smallest too."""
    params = AffectParams(deformation=0.01, variation=0.0, turn_deg=0.0)
    for seed in range(10):
        drawn = draw_variation(
            HEAD,
            params,
            Expression.NEUTRAL,
            1.0,
            np.random.default_rng(seed),
            work=(96, 96),
            out=(48, 48),
        )
        assert np.abs(drawn.offsets).max() > 1e-4


def test_prepared_photos_hold_what_painting_needs(photo):
    """Shapes and ranges of a prepared photo."""
    count = len(HEAD.gloss)
    assert photo.texture.shape == (count, 2)
    assert photo.normals.shape == (count, 3)
    assert np.allclose(np.linalg.norm(photo.normals[HEAD.landmarks68], axis=1), 1.0, atol=1e-3)
    assert photo.eyes.shape == photo.image.shape == photo.lids.shape
    assert photo.fit.residual == 0.0
    assert photo.light[0] > 0
