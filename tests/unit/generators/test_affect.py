"""The engine affect: what it changes, what it leaves, what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mien.core.arrays import Double
from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX, Affect, Expression
from mien.core.generation import FaceRequest, GeneratedFace, SourceFace
from mien.generators.affect import AffectEngine
from mien.generators.affect_invent import draw_appearance, invent
from mien.generators.affect_params import AffectParams
from mien.generators.affect_photo import Photo, prepare
from mien.generators.requests import plan_requests
from mien.morphable.appearance import complete
from mien.morphable.head import load_head
from mien.morphable.landmarks import inter_ocular

STILL = {"gain": 0.0, "tint": 0.0, "shift": 0.0, "roll_deg": 0.0, "noise": 0.0}
HEAD = load_head("builtin", None)


@pytest.fixture(scope="module")
def still() -> AffectEngine:
    """An engine without camera faults: what differs is the deformation."""
    return AffectEngine.from_params({"size_px": 96, "photo_px": 128, **STILL}, None)


@pytest.fixture(scope="module")
def photo() -> SourceFace:
    made = invent(HEAD, AffectParams(scene_spread=0.2), 11, 128)
    points = tuple((float(x), float(y)) for x, y in made.landmarks)
    return SourceFace("x/1", "digest", "x:1", made.image, points)


def one(engine: AffectEngine, request: FaceRequest) -> GeneratedFace:
    return next(iter(engine.synthesise([request])))


def ask(
    expression: Expression,
    source: SourceFace | None = None,
    intensity: float = 1.0,
    variation: int = 0,
) -> FaceRequest:
    return FaceRequest(
        "r",
        3,
        "000000",
        expression,
        intensity=intensity,
        variation=variation,
        source=source,
    )


def marks(face: GeneratedFace) -> Double:
    return np.array(face.landmarks)


def hull(points: Double) -> tuple[int, int, int, int]:
    low, high = points.min(axis=0), points.max(axis=0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def test_neutral_is_deformed_too(still, photo):
    """No neutral face is the untouched photo; the deformation is small."""
    face = one(still, ask(Expression.NEUTRAL, photo))
    left, top, right, bottom = hull(np.array(photo.landmarks))
    before = photo.image[top:bottom, left:right].astype(int)
    after = face.image[top:bottom, left:right].astype(int)
    assert np.abs(after - before).mean() > 0.5
    moved = np.linalg.norm(marks(face) - np.array(photo.landmarks), axis=1)
    assert 0.1 < moved.max() < 0.25 * inter_ocular(np.array(photo.landmarks))


@pytest.mark.parametrize("expression", [Expression.NEUTRAL, *EKMAN_SIX])
def test_what_is_not_the_face_stays(still, photo, expression):
    """Away from the face the photo is kept, whatever the expression."""
    face = one(still, ask(expression, photo))
    points = np.concatenate([marks(face), np.array(photo.landmarks)])
    reach = 0.25 * inter_ocular(np.array(photo.landmarks))
    y, x = np.mgrid[: face.image.shape[0], : face.image.shape[1]]
    left, _, right, bottom = hull(points)
    away = (x < left - reach) | (x > right + reach) | (y > bottom + reach)
    assert away.mean() > 0.05
    change = np.abs(face.image.astype(int) - photo.image.astype(int))[away]
    assert change.max() <= 2  # rounding, and the resampling back from the working size


def test_expressions_move_the_face_their_way(still, photo):
    """Corners rise in happiness, the chin falls in surprise, brows fall in anger; by intensity."""
    base = one(still, ask(Expression.NEUTRAL, photo))
    apart = inter_ocular(marks(base))

    def lift(expression: Expression, which: list[int], intensity: float = 1.0) -> float:
        drawn = [one(still, ask(expression, photo, intensity, variation=v)) for v in range(4)]
        plain = [one(still, ask(Expression.NEUTRAL, photo, variation=v)) for v in range(4)]
        gap = [
            (marks(a) - marks(a)[27]) - (marks(b) - marks(b)[27])
            for a, b in zip(drawn, plain, strict=True)
        ]
        return float(-np.mean(gap, axis=0)[which, 1].mean() / apart)

    assert lift(Expression.HAPPINESS, [48, 54]) > 0.06
    assert lift(Expression.SADNESS, [48, 54]) < -0.03
    assert lift(Expression.SURPRISE, [8]) < -0.08
    assert lift(Expression.ANGER, [20, 21, 22, 23]) < -0.03
    assert lift(Expression.SURPRISE, [19, 24]) > 0.05
    assert lift(Expression.HAPPINESS, [48, 54], 1.0) > lift(Expression.HAPPINESS, [48, 54], 0.4)


def test_faces_of_one_identity_share_scene_and_look(still):
    """Invented: the surroundings of all expressions are one picture; other identities' differ."""
    requests = plan_requests(
        pool="p", pool_seed=1, expressions=(Expression.NEUTRAL, Expression.FEAR), identities=2
    )
    faces = list(still.synthesise(requests))
    corners = [f.image[:12, :12].astype(int) for f in faces]
    assert np.abs(corners[0] - corners[1]).max() <= 1
    assert np.abs(corners[0] - corners[2]).mean() > 2


def test_invented_faces_are_where_their_landmarks_say():
    """The exact placement of an invented head is the one its picture was made with."""
    made = invent(HEAD, AffectParams(), 5, 96)
    placed = made.fit.project(HEAD.shape(made.fit.identity))[HEAD.landmarks68, :2]
    assert np.allclose(placed, made.landmarks, atol=0.02)


def test_appearances_are_within_what_heads_understand():
    """Every drawn word exists and lies in its range."""
    for seed in range(200):
        complete(draw_appearance(seed))


def test_small_and_grey_photos_work(still, photo):
    """A small grey photo keeps its size and becomes RGB."""
    import cv2

    grey = cv2.cvtColor(cv2.resize(photo.image, (48, 48)), cv2.COLOR_RGB2GRAY)
    points = tuple(
        ((x + 0.5) * 48 / 128 - 0.5, (y + 0.5) * 48 / 128 - 0.5) for x, y in photo.landmarks
    )
    face = one(
        still, ask(Expression.SURPRISE, replace(photo, image=grey, landmarks=points, digest=""))
    )
    assert face.image.shape == (48, 48, 3)
    assert np.abs(face.image[:, :, 0].astype(int) - face.image[:, :, 1]).mean() < 4


def test_large_photos_are_made_smaller(photo):
    """The longest side becomes photo_px; the landmarks follow."""
    engine = AffectEngine.from_params({"photo_px": 64, **STILL}, None)
    wide = np.pad(photo.image, ((0, 0), (0, 64), (0, 0)), mode="edge")
    face = one(engine, ask(Expression.NEUTRAL, replace(photo, image=wide, digest="w")))
    assert face.image.shape == (43, 64, 3)
    ratio = inter_ocular(marks(face)) / inter_ocular(np.array(photo.landmarks))
    assert ratio == pytest.approx(1 / 3, rel=0.06)


@pytest.mark.parametrize(
    ("landmarks", "reason"),
    [
        ((), "LANDMARKS_MISSING"),
        (((1.0, 1.0),) * 5, "LANDMARKS_SHAPE"),
        ("outside", "LANDMARKS_OUTSIDE"),
    ],
)
def test_photos_that_cannot_be_fitted_are_refused(still, photo, landmarks, reason):
    """No landmarks, too few, or those of another picture."""
    if landmarks == "outside":
        landmarks = tuple((x + 500.0, y) for x, y in photo.landmarks)
    with pytest.raises(Invalid) as error:
        one(still, ask(Expression.FEAR, replace(photo, landmarks=landmarks, digest="other")))
    assert error.value.reason == reason


def test_points_of_the_affect_plane_are_refused_with_the_reason(still):
    """Only the categorical half exists: it says so."""
    with pytest.raises(Invalid, match="AFFECT_UNSUPPORTED"):
        one(still, FaceRequest("r", 0, "a", affect=Affect(0.5, 0.5)))


@pytest.mark.parametrize("intensity", [-0.1, 1.1])
def test_intensity_is_a_share(still, intensity):
    """Outside [0, 1] there is no expression."""
    with pytest.raises(Invalid, match="INTENSITY_OUT_OF_RANGE"):
        one(still, ask(Expression.FEAR, intensity=intensity))


def test_photos_are_prepared_once(still, photo, monkeypatch):
    """Requests of one photo share its fit; the cache does not grow."""
    import mien.generators.affect as module

    fits: list[int] = []

    def counted(*given: Any, **named: Any) -> Photo:
        fits.append(1)
        return prepare(*given, **named)

    monkeypatch.setattr(module, "prepare", counted)
    engine = AffectEngine.from_params({"size_px": 32, "photo_px": 64, **STILL}, None)
    list(engine.synthesise([ask(e, photo) for e in EKMAN_SIX]))
    assert len(fits) == 1
    requests = plan_requests(
        pool="p", pool_seed=1, expressions=(Expression.NEUTRAL,), identities=12
    )
    list(engine.synthesise(requests))
    assert len(fits) == 13
    assert len(engine._starts) == 8
