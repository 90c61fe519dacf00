"""Planted copies of training faces are found, other faces are not accused."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from mien.core.errors import Invalid
from mien.evaluation.copy_candidates import VIEWS, copy_candidates
from mien.evaluation.feature_neighbours import nearest
from mien.evaluation.memorisation import find_copies, training_neighbours

SIDE = 48


def faces(n, seed, side=SIDE, *, colour=False):
    """Head, eyes, brows and mouth of random place, size and tone, on a random ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    found = np.empty((n, side, side))
    for i in range(n):
        image = rng.uniform(20, 235) + rng.uniform(-60, 60) * (x - 0.5) + 0 * y

        def blob(cx, cy, rx, ry, tone, image=image):
            inside = expit(12 * (1 - np.hypot((x - cx) / rx, (y - cy) / ry)))
            image += inside * (tone - image)

        cx, cy = rng.normal(0.5, 0.03, 2)
        blob(cx, cy, rng.uniform(0.28, 0.4), rng.uniform(0.36, 0.48), rng.uniform(60, 230))
        eye, mouth = rng.uniform(0.1, 0.17), rng.uniform(0.08, 0.18)
        for sign in (-1, 1):
            blob(cx + sign * eye, cy - rng.uniform(0.04, 0.12), 0.05, rng.uniform(0.01, 0.05), 30)
            blob(cx + sign * eye, cy - rng.uniform(0.14, 0.2), 0.07, 0.015, rng.uniform(10, 90))
        blob(cx, cy + rng.uniform(0.15, 0.24), mouth, rng.uniform(0.01, 0.08), rng.uniform(20, 120))
        for _ in range(6):  # freckles, shadows, hair
            blob(*rng.uniform(0.1, 0.9, 2), *rng.uniform(0.02, 0.12, 2), rng.uniform(20, 220))
        found[i] = image + rng.normal(0, 4, image.shape)
    gray = np.clip(found, 0, 255).astype(np.uint8)
    return np.stack([gray, gray // 4 * 3, gray // 2 + 30], axis=-1) if colour else gray


def crop(image, left, top, share):
    side = image.shape[0]
    matrix = np.array(
        [[share, 0, left * side + share / 2 - 0.5], [0, share, top * side + share / 2 - 0.5]],
        np.float32,
    )
    return cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def recompress(image, quality):
    mode = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], mode)


TRAINING = faces(150, 0)
STRANGERS = faces(150, 1)


def test_exact_copies_are_named_with_their_source():
    """The same pixels, mirrored or not, are exact copies of the face they are of."""
    generated = STRANGERS[:40].copy()
    generated[3], generated[17] = TRAINING[99], TRAINING[5][:, ::-1]
    found = find_copies(generated, TRAINING)
    assert [(c.row, c.source, c.kind) for c in found.copies] == [
        (3, 99, "exact"),
        (17, 5, "mirrored"),
    ]
    assert (found.exact, found.near, found.faces, found.training) == (2, 0, 40, 150)
    assert found.to_json()["copies"][0]["source"] == 99


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("kind", ["cropped", "recompressed", "lighter", "all"])
def test_changed_copies_are_found(kind, colour):
    """Cropped, recompressed, lightened copies, and all of it mirrored: the right source each."""
    training, generated = faces(80, 2, colour=colour), faces(60, 3, colour=colour)
    rng = np.random.default_rng(0)
    source = rng.permutation(80)[:30]
    for row, chosen in enumerate(source):
        image = training[chosen]
        if kind in ("cropped", "all"):
            share = rng.uniform(0.82, 0.95)
            image = crop(image, *rng.uniform(0, 1 - share, 2), share)
        if kind in ("recompressed", "all"):
            image = recompress(image, int(rng.integers(40, 80)))
        if kind in ("lighter", "all"):
            image = np.clip(image * 0.8 + 30, 0, 255).astype(np.uint8)
        generated[row] = image[:, ::-1] if kind == "all" else image
    found = find_copies(generated, training)
    assert [(c.row, c.source) for c in found.copies] == list(enumerate(source))
    assert found.near == 30
    assert found.near_share == 0.5


def test_strangers_are_not_accused():
    """Faces of the same making that are nobody's copy: none is taken for one."""
    found = find_copies(STRANGERS, TRAINING)
    assert found.copies == ()
    assert found.highest < found.level


@settings(max_examples=15, deadline=None)
@given(st.integers(0, len(VIEWS) - 1), st.integers(0, 149))
def test_every_view_finds_its_face(index, row):
    """A picture cut out at a view's very place is most like that face in that view."""
    view = VIEWS[index]
    image = TRAINING[row][:, ::-1] if view.mirrored else TRAINING[row]
    cut = crop(np.ascontiguousarray(image), view.left, view.top, view.side)
    found = copy_candidates(cut[None], TRAINING)
    assert found.sources[0, 0] == row
    assert VIEWS[int(found.views[0, 0])].mirrored == view.mirrored
    assert len(set(found.sources[0].tolist())) == found.sources.shape[1]


def test_sizes_may_differ():
    """A generator of 32 px is held against training faces of 48 px."""
    small = np.stack([cv2.resize(f, (32, 32), interpolation=cv2.INTER_AREA) for f in TRAINING[:5]])
    found = find_copies(small, TRAINING)
    assert [c.source for c in found.copies] == [0, 1, 2, 3, 4]


def test_flat_pictures_are_no_copies_unless_equal():
    """A generator that makes plain grey has copied nobody, and nothing is divided by zero."""
    flat = np.full((3, SIDE, SIDE), 128, np.uint8)
    assert find_copies(flat, TRAINING).copies == ()
    training = np.concatenate([flat[:1], TRAINING[:10]])
    assert find_copies(flat, training).exact == 3


def test_fewer_training_faces_than_candidates():
    """One training face alone is enough to be copied."""
    found = find_copies(np.stack([recompress(TRAINING[0], 60), STRANGERS[0]]), TRAINING[:1])
    assert [(c.row, c.source) for c in found.copies] == [(0, 0)]


@pytest.mark.parametrize(
    ("synthetic", "training", "reason"),
    [
        (STRANGERS.astype(np.float32), TRAINING, "IMAGE_SHAPES"),
        (STRANGERS[0], TRAINING, "IMAGE_SHAPES"),
        (STRANGERS, TRAINING[:0], "EMPTY_BASE"),
        (STRANGERS[:0], TRAINING, "TOO_FEW_FACES"),
    ],
)
def test_what_cannot_be_compared_is_refused(synthetic, training, reason):
    """Wrong types and empty sets: a clear error."""
    with pytest.raises(Invalid) as caught:
        find_copies(synthetic, training)
    assert caught.value.reason == reason


def test_features_of_copies_lie_below_what_strangers_have():
    """Features on top of training faces are nearer than the limit; fresh ones hardly ever are."""
    rng = np.random.default_rng(0)
    training, held_out, fresh = rng.standard_normal((3, 1500, 16)).astype(np.float32)
    copied = training + 0.01 * rng.standard_normal(training.shape).astype(np.float32)
    assert training_neighbours(copied, training, held_out, space="x").below == 1.0
    clean = training_neighbours(fresh, training, held_out, space="x")
    assert clean.below < 0.01
    assert clean.median == pytest.approx(clean.held_out_median, rel=0.05)
    assert clean.to_json()["limit"] == clean.limit


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_nearest_is_that_of_all_distances(seed, same):
    """Blocks find what the full table of distances holds; equal features are exactly 0 apart."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((60, 4)).astype(np.float32) + 100
    queries = points if same else rng.standard_normal((30, 4)).astype(np.float32) + 100
    table = np.linalg.norm(queries[:, None].astype(float) - points[None].astype(float), axis=-1)
    if same:
        np.fill_diagonal(table, np.inf)
    index, distance = nearest(queries, points, same=same)
    assert np.allclose(distance, table.min(axis=1), atol=1e-9)
    assert np.allclose(table[np.arange(len(queries)), index], table.min(axis=1))
    assert nearest(points[:3], points)[1].tolist() == [0.0, 0.0, 0.0]
