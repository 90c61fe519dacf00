"""The built-in head: linear identities, units that do what they are called, eyes in their lids."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound
from mien.core.expression import EXPRESSIONS, Expression
from mien.morphable import builtin
from mien.morphable.builtin import BuiltinHead
from mien.morphable.head import load_head
from mien.morphable.rasterise import rasterise
from mien.morphable.render import project
from mien.morphable.scene import Scene

HEAD = BuiltinHead.load()


def identities(count: Any, seed: Any = 0) -> Any:
    rng = np.random.default_rng(seed)
    return np.clip(rng.standard_normal((count, HEAD.identity_size)), -2.5, 2.5).astype(np.float32)


def marks(**units: Any) -> Any:
    """Return the 68 landmarks of the mean head under some units, y up."""
    return (HEAD.shape(np.zeros(HEAD.identity_size, np.float32)) + HEAD.offsets(units))[
        HEAD.landmarks68
    ]


def test_it_is_as_large_as_promised():
    """At least 30 identity parameters, 4,000 to 8,000 vertices, arrays of the agreed shapes."""
    count = len(HEAD.gloss)
    assert HEAD.identity_size >= 30
    assert 4000 <= count <= 8000
    assert HEAD.identity_basis().shape == (HEAD.identity_size, count, 3)
    assert HEAD.landmarks68.shape == (68,)
    assert HEAD.triangles.max() == count - 1
    assert HEAD.canonical.shape == (count, 2)
    assert all(w.shape == (count,) for w in HEAD.regions.values())
    assert all(w.min() >= 0 and 0 < w.max() <= 1 for w in HEAD.regions.values())


def test_identity_is_linear():
    """shape(a) is the mean plus Σ aᵢ·basisᵢ, and every parameter moves something."""
    zero = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))
    basis = HEAD.identity_basis()
    for a in identities(3):
        np.testing.assert_allclose(
            HEAD.shape(a), zero + np.einsum("i,ivc->vc", a, basis), atol=1e-5
        )
    assert (np.abs(basis).max(axis=(1, 2)) > 0.005).all()


def test_identity_parameters_are_independent():
    """No parameter is a combination of the others."""
    flat = HEAD.identity_basis().reshape(HEAD.identity_size, -1).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    assert np.linalg.svd(flat, compute_uv=False).min() > 0.05


def test_the_mean_head_is_symmetric():
    """Landmarks of the mean head mirror each other; so do left and right units."""
    mean = marks()
    pairs = [(0, 16), (17, 26), (36, 45), (39, 42), (48, 54), (31, 35)]
    for right, left in pairs:
        np.testing.assert_allclose(mean[right] * [-1, 1, 1], mean[left], atol=0.02)
    left, right = marks(AU12_L=1.0), marks(AU12_R=1.0)
    np.testing.assert_allclose(left[54] * [-1, 1, 1], right[48], atol=1e-3)


def test_the_skin_has_holes_for_eyes_and_mouth_only():
    """Every edge belongs to two triangles, but for two lid loops, the lips, crown and collar."""
    skin = HEAD.parts["skin"]
    triangles = HEAD.triangles[(HEAD.triangles < skin.stop).all(axis=1)]
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    )
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert times.max() == 2
    ends, _ = np.unique(edges, axis=0)[times == 1], None
    place = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))[ends[:, 0]]
    face = place[(place[:, 1] > -1.5) & (place[:, 1] < 1.4)]
    eyes = np.abs(face[:, 1]) < 0.15
    mouth = np.abs(face[:, 1] + 0.91) < 0.1
    assert (eyes | mouth).all()
    assert eyes.sum() == 80


@pytest.mark.parametrize(
    ("unit", "landmark", "axis", "sign"),
    [
        ("AU1_L", 22, 1, 1),
        ("AU2_L", 25, 1, 1),
        ("AU4_L", 22, 1, -1),
        ("AU4_L", 22, 0, -1),
        ("AU5_L", 43, 1, 1),
        ("AU7_L", 46, 1, 1),
        ("AU43_L", 43, 1, -1),
        ("AU9_L", 35, 1, 1),
        ("AU10_L", 52, 1, 1),
        ("AU12_L", 54, 1, 1),
        ("AU12_L", 54, 0, 1),
        ("AU14_L", 54, 0, 1),
        ("AU15_L", 54, 1, -1),
        ("AU20_L", 54, 0, 1),
        ("AU17", 57, 1, 1),
        ("AU23", 57, 1, 1),
        ("AU24", 51, 1, -1),
        ("AU25", 66, 1, -1),
        ("AU26", 8, 1, -1),
        ("AU27", 8, 1, -1),
    ],
)
def test_units_move_what_they_are_named_for(unit, landmark, axis, sign):
    """Each action unit moves its landmark the way FACS says, visibly; the other side stays."""
    moved = (marks(**{unit: 1.0}) - marks())[landmark, axis] * sign
    assert moved > 0.008
    if unit.endswith("_L"):
        twin = {22: 21, 25: 18, 43: 38, 46: 41, 35: 31, 52: 50, 54: 48}[landmark]
        assert abs((marks(**{unit: 1.0}) - marks())[twin, axis]) < 0.35 * moved


def test_intensity_is_monotone():
    """A stronger prototype moves the landmarks further, step by step."""
    for expression in EXPRESSIONS:
        if expression is Expression.NEUTRAL:
            continue
        prototype = HEAD.prototype(expression)
        travelled = [
            np.linalg.norm(marks(**{n: s * w for n, w in prototype.items()}) - marks())
            for s in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        assert (np.diff(travelled) > 0).all()


def test_offsets_are_linear_off_the_eyes():
    """Away from lids and eyeballs, the offsets of a sum are the sum of the offsets."""
    away = np.ones(len(HEAD.gloss), bool)
    for part in ("eye_L", "eye_R", "rim_L", "rim_R"):
        away[HEAD.parts[part]] = False
    away &= HEAD.regions["eyelids"] == 0
    both = HEAD.offsets({"AU12_L": 0.5, "AU4_R": 0.7})
    apart = HEAD.offsets({"AU12_L": 0.5}) + HEAD.offsets({"AU4_R": 0.7})
    np.testing.assert_allclose(both[away], apart[away], atol=1e-6)


def eyeball(vertices: Any, part: Any) -> Any:
    """Fit a sphere to the eyeball: centre and radius."""
    points = vertices[HEAD.parts[part]].astype(np.float64)
    rows = np.c_[2 * points, np.ones(len(points))]
    solution, *_ = np.linalg.lstsq(rows, (points**2).sum(axis=1), rcond=None)
    centre = solution[:3]
    return centre, np.sqrt(solution[3] + centre @ centre)


def test_eyes_never_poke_through_their_lids():
    """Whatever the identity and units, the lids' skin stays outside the eyeball."""
    rng = np.random.default_rng(7)
    lids = HEAD.regions["eyelids"] > 0.05
    mean = HEAD.shape(np.zeros(HEAD.identity_size, np.float32))
    for identity in identities(40, seed=8):
        units = {n: float(rng.uniform()) for n in HEAD.units if rng.uniform() < 0.4}
        vertices = HEAD.shape(identity) + HEAD.offsets(units)
        for part, side in (("eye_L", 1), ("eye_R", -1)):
            centre, radius = eyeball(vertices, part)
            here = lids & (mean[:, 0] * side > 0)
            assert np.linalg.norm(vertices[here] - centre, axis=1).min() > radius


def visible_eye(vertices: Any, scene: Any, side: Any = 128) -> Any:
    """Count the pixels of eyeballs that hair and glasses do not hide."""
    drawn = HEAD.triangles[(HEAD.triangles < HEAD.parts["hair_cap"].start).all(axis=1)]
    raster = rasterise(project(HEAD, vertices, scene, side), drawn, side, side)
    eye = HEAD.regions["eyeballs"][drawn[:, 0]] > 0
    return int((eye[raster.triangle] & (raster.triangle >= 0)).sum())


def test_shut_eyes_show_no_eyeball():
    """AU43 hides the eyeballs; neutral shows them; AU5 shows more."""
    rng = np.random.default_rng(9)
    for identity in identities(12, seed=10):
        scene = Scene(yaw_deg=float(rng.uniform(-25, 25)), pitch_deg=float(rng.uniform(-15, 15)))
        neutral = HEAD.shape(identity)
        shut = neutral + HEAD.offsets({"AU43_L": 1.0, "AU43_R": 1.0})
        wide = neutral + HEAD.offsets({"AU5_L": 1.0, "AU5_R": 1.0})
        seen = visible_eye(neutral, scene)
        assert seen > 30
        assert visible_eye(shut, scene) <= 0.03 * seen
        assert visible_eye(wide, scene) > 1.15 * seen


def test_a_closed_mouth_shows_no_inside():
    """Neutral faces show neither teeth nor tongue; surprise shows the open mouth."""
    inside = HEAD.regions["teeth"] + HEAD.regions["mouth_inside"] > 0
    drawn = HEAD.triangles[(HEAD.triangles < HEAD.parts["hair_cap"].start).all(axis=1)]
    for identity in identities(10, seed=11):
        counts = []
        for expression in (Expression.NEUTRAL, Expression.SURPRISE):
            vertices = HEAD.shape(identity) + HEAD.offsets(HEAD.prototype(expression))
            raster = rasterise(project(HEAD, vertices, Scene(), 128), drawn, 128, 128)
            seen = inside[drawn].all(axis=1)[raster.triangle] & (raster.triangle >= 0)
            counts.append(int(seen.sum()))
        assert counts[0] <= 4
        assert counts[1] > 60


def test_colours_hide_what_is_not_worn():
    """Glasses and hair that are not worn are NaN, everything else is an albedo in [0, 1]."""
    rng = np.random.default_rng(0)
    bare = HEAD.colours({"hair_style": 0.0}, rng)
    for part in ("hair_cap", "hair_fringe", "hair_long", "glasses"):
        assert np.isnan(bare[HEAD.parts[part]]).all()
    assert np.isfinite(bare[: HEAD.parts["hair_cap"].start]).all()
    worn = HEAD.colours({"hair_style": 4.0, "glasses": 1.0}, rng)
    assert np.isfinite(worn).all()
    assert worn.min() >= 0
    assert worn.max() <= 1


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: HEAD.offsets({"AU99": 0.5}), "UNKNOWN_UNIT"),
        (lambda: HEAD.offsets({"AU12": 0.5}), "UNKNOWN_UNIT"),
        (lambda: HEAD.offsets({"AU12_L": 1.01}), "UNIT_OUT_OF_RANGE"),
        (lambda: HEAD.offsets({"AU12_L": -0.01}), "UNIT_OUT_OF_RANGE"),
        (lambda: HEAD.offsets({"AU12_L": float("nan")}), "UNIT_OUT_OF_RANGE"),
        (lambda: HEAD.shape(np.zeros(3, np.float32)), "IDENTITY_SHAPE"),
        (lambda: HEAD.shape(np.full(HEAD.identity_size, np.nan, np.float32)), "IDENTITY_SHAPE"),
        (lambda: HEAD.colours({"nose_ring": 1.0}, np.random.default_rng(0)), "UNKNOWN_APPEARANCE"),
        (lambda: HEAD.colours({"skin": 1.5}, np.random.default_rng(0)), "APPEARANCE_OUT_OF_RANGE"),
        (lambda: load_head(cast("Any", "flame"), None), "UNKNOWN_BACKEND"),
    ],
)
def test_wrong_input_is_refused(call, reason):
    """Unknown names and values out of range are Invalid, each with its reason."""
    with pytest.raises(Invalid) as caught:
        call()
    assert caught.value.reason == reason


def test_a_missing_asset_says_how_to_get_it():
    """The ict backend without assets is NotFound with a hint; never another head."""
    with pytest.raises(NotFound) as caught:
        load_head("ict", None)
    assert caught.value.reason == "ASSET_MISSING"
    assert "mien assets pull" in caught.value.hint


def test_the_digest_covers_all_code_of_the_head():
    """Every module of the built-in head is part of its digest, so a change renames it."""
    folder = Path(builtin.__file__).parent
    modules = {p.stem for p in folder.glob("builtin*.py")}
    assert modules <= set(builtin._CODE)
    code = b"".join((folder / f"{name}.py").read_bytes() for name in builtin._CODE)
    assert HEAD.digest == digest_bytes(code)
