"""Pictures: determinism, framing, pose, light, landmarks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS
from mien.morphable.appearance import sample_appearance
from mien.morphable.builtin import BuiltinHead
from mien.morphable.render import render
from mien.morphable.scene import Background, Light, Scene, sample_scene

HEAD = BuiltinHead.load()
MEAN = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))
PLAIN = HEAD.colours({"hair_style": 0.0}, np.random.default_rng(0))


def face(seed: Any = 0, size: Any = 64, expression: Any = None, **changes: Any) -> Any:
    rng = np.random.default_rng(seed)
    identity = np.clip(rng.standard_normal(HEAD.identity_size, np.float32), -2.5, 2.5)
    vertices = HEAD.shape(identity)
    if expression is not None:
        vertices = vertices + HEAD.offsets(HEAD.prototype(expression))
    colours = HEAD.colours(sample_appearance(rng), rng)
    return render(HEAD, vertices, colours, replace(sample_scene(rng), **changes), size)


def test_the_same_seed_draws_the_same_bytes():
    """Rendering is a function of its arguments; another seed gives another picture."""
    first, again, other = face(3), face(3), face(4)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.landmarks == again.landmarks
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("size", [8, 64, 97])
@pytest.mark.parametrize("supersample", [1, 2, 3])
def test_any_size_can_be_drawn(size, supersample):
    """Image, mask and landmarks have the agreed shapes at every size and sampling."""
    drawn = face(1, size, supersample=supersample)
    assert drawn.image.shape == (size, size, 3)
    assert drawn.image.dtype == np.uint8
    assert drawn.mask.shape == (size, size)
    assert drawn.mask.min() >= 0.0
    assert drawn.mask.max() <= 1.0
    assert len(drawn.landmarks) == 68


def test_eyes_are_where_the_scene_says():
    """Unturned, the eye centres lie eye_distance apart on eye_line, whoever it is."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        vertices = HEAD.shape(rng.standard_normal(HEAD.identity_size, np.float32))
        for distance in (0.0, 14.0):
            scene = Scene(eye_distance=0.3, eye_line=0.4, camera_distance=distance)
            points = np.array(render(HEAD, vertices, PLAIN, scene, 100).landmarks)
            left, right = points[[36, 39]].mean(axis=0), points[[42, 45]].mean(axis=0)
            assert right[0] - left[0] == pytest.approx(30.0, abs=0.6)
            assert (left + right) / 2 == pytest.approx([49.5, 39.5], abs=0.6)


def test_pose_turns_the_way_it_says():
    """Yaw moves the nose to the image right, pitch up, roll tilts clockwise."""
    tip = 30

    def turned(scene: Scene) -> Any:
        return np.array(render(HEAD, MEAN, PLAIN, scene, 64).landmarks)

    straight = turned(Scene())
    assert turned(Scene(yaw_deg=20.0))[tip, 0] > straight[tip, 0] + 2
    assert turned(Scene(pitch_deg=20.0))[tip, 1] < straight[tip, 1] - 2
    tilted = turned(Scene(roll_deg=20.0))
    assert tilted[[42, 45], 1].mean() > tilted[[36, 39], 1].mean() + 3


def test_landmarks_lie_on_the_face():
    """All landmarks but the jaw's silhouette lie inside the mask, in every expression."""
    for seed, expression in enumerate(EXPRESSIONS):
        drawn = face(seed, 128, expression, blur_px=0.0)
        for x, y in drawn.landmarks[17:]:
            column, row = round(x), round(y)
            if 0 <= row < 128 and 0 <= column < 128:
                assert drawn.mask[row, column] > 0.5


def test_the_mask_separates_head_and_background():
    """Outside the mask the picture is the background, inside it is not."""
    colour = (0.0, 1.0, 0.0)
    scene = Scene(background=Background(colour=colour))
    drawn = render(HEAD, MEAN, PLAIN, scene, 64)
    green = drawn.image.astype(int) - np.array([0, 255, 0])
    assert (np.abs(green[drawn.mask == 0]).max()) == 0
    assert np.abs(green[drawn.mask == 1]).sum(axis=1).min() > 50
    assert 0.2 < drawn.mask.mean() < 0.9


def test_light_comes_from_where_it_stands():
    """A light from one side of the image brightens that side of the face."""
    dark = Scene(ambient=0.1, fill=Light(strength=0.0), highlight=0.0)
    left = render(HEAD, MEAN, PLAIN, replace(dark, key=Light(-70.0, 0.0)), 64).image
    right = render(HEAD, MEAN, PLAIN, replace(dark, key=Light(70.0, 0.0)), 64).image
    cheek_left, cheek_right = (slice(36, 44), slice(18, 24)), (slice(36, 44), slice(40, 46))
    assert left[cheek_left].mean() > 1.3 * left[cheek_right].mean()
    assert right[cheek_right].mean() > 1.3 * right[cheek_left].mean()


def test_camera_faults_do_what_they_say():
    """Noise adds its sigma, blur takes detail away."""
    clean = render(HEAD, MEAN, PLAIN, Scene(), 64).image.astype(float)
    noisy = render(HEAD, MEAN, PLAIN, Scene(noise=5.0, seed=1), 64).image.astype(float)
    assert (noisy - clean).std() == pytest.approx(5.0, rel=0.1)
    blurred = render(HEAD, MEAN, PLAIN, Scene(blur_px=1.5), 64).image.astype(float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.8 * np.abs(np.diff(clean, axis=1)).mean()


def test_backgrounds_follow_their_seed():
    """The texture is the seed's; a gradient runs from one colour to the other."""

    def corner(background: Any) -> Any:
        return render(HEAD, MEAN, PLAIN, Scene(background=background), 64).image[:, 0]

    one, two = (corner(Background("texture", seed=s)) for s in (1, 2))
    assert (one != two).any()
    np.testing.assert_array_equal(one, corner(Background("texture", seed=1)))
    ramp = corner(Background("gradient", (0, 0, 0), (1, 1, 1)))
    assert ramp[0, 0] == 0
    assert ramp[-1, 0] == 255


def test_colours_that_are_not_numbers_hide_their_triangles():
    """A head all NaN leaves the background and an empty mask."""
    nothing = np.full_like(PLAIN, np.nan)
    drawn = render(HEAD, MEAN, nothing, Scene(background=Background(colour=(1, 0, 0))), 64)
    assert drawn.mask.max() == 0
    assert (drawn.image == [255, 0, 0]).all()


@pytest.mark.parametrize(
    "field",
    [
        {"yaw_deg": 181.0},
        {"eye_distance": 0.0},
        {"camera_distance": 1.0},
        {"wrap": 1.5},
        {"noise": -1.0},
        {"blur_px": float("nan")},
        {"supersample": 0},
        {"supersample": 5},
    ],
)
def test_impossible_scenes_are_refused(field):
    """Each wrong field is named."""
    with pytest.raises(Invalid) as caught:
        Scene(**field)
    assert caught.value.reason == "SCENE"
    assert set(caught.value.violations) == set(field)


def test_wrong_arrays_are_refused():
    """Vertices or colours of another head, or a size below 8 px: RENDER_INPUT."""
    for vertices, colours, size in (
        (MEAN[:-1], PLAIN, 64),
        (MEAN, PLAIN[:-1], 64),
        (MEAN, PLAIN, 7),
    ):
        with pytest.raises(Invalid) as caught:
            render(HEAD, vertices, colours, Scene(), size)
        assert caught.value.reason == "RENDER_INPUT"
