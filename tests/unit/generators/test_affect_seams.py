"""The surroundings of a synthetic face do not tell its label."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.seam_audit import EXPRESSIONS, audit, face_hull
from mien.core.generation import SourceFace
from mien.generators.affect import AffectEngine
from mien.generators.affect_invent import invent
from mien.generators.affect_params import AffectParams
from mien.generators.requests import plan_requests
from mien.morphable.head import load_head

STILL = {"gain": 0.0, "tint": 0.0, "shift": 0.0, "roll_deg": 0.0, "noise": 0.0}


@pytest.fixture(scope="module")
def invented():
    """Without camera faults, which would only hide a leak."""
    engine = AffectEngine.from_params({"size_px": 48, **STILL}, None)
    plan = plan_requests(pool="p", pool_seed=2, expressions=EXPRESSIONS, identities=24)
    return list(engine.synthesise(plan))


@pytest.fixture(scope="module")
def from_photos():
    head = load_head("builtin", None)
    photos = []
    for seed in range(16):
        made = invent(head, AffectParams(), 900 + seed, 64)
        points = tuple((float(x), float(y)) for x, y in made.landmarks)
        photos.append(SourceFace(f"s/{seed}", f"d{seed}", f"s:{seed}", made.image, points))
    engine = AffectEngine.from_params({"photo_px": 64, **STILL}, None)
    plan = plan_requests(pool="p", pool_seed=2, expressions=EXPRESSIONS, sources=photos)
    return list(engine.synthesise(plan))


def test_the_surroundings_of_invented_faces_say_nothing(invented):
    """A classifier of border, hair and background does not beat chance."""
    found = audit(invented)
    assert found.p_value > 0.01
    assert found.seen > 0.15


def test_the_surroundings_of_faces_from_photos_say_nothing(from_photos):
    """The same for the pool made from photos."""
    found = audit(from_photos)
    assert found.p_value > 0.01
    assert found.seen > 0.15


def test_no_expression_reaches_beyond_the_face(from_photos):
    """Stricter than any classifier: outside the hull, a person's pictures are one picture."""
    changed = 0
    for start in range(0, len(from_photos), len(EXPRESSIONS)):
        own = from_photos[start : start + len(EXPRESSIONS)]
        hull = np.zeros(own[0].image.shape[:2], bool)
        for face in own:
            hull |= face_hull(np.array(face.landmarks), (hull.shape[0], hull.shape[1]))
        stack = np.stack([face.image.astype(int) for face in own])
        spread = (stack.max(axis=0) - stack.min(axis=0)).max(axis=2)
        assert spread[hull].max() > 20
        assert spread[~hull].max() <= 2
        changed += int((spread[~hull] > 0).sum())
    assert changed < 3 * len(from_photos) / len(EXPRESSIONS)


def test_the_audit_finds_a_planted_leak(invented):
    """Four grey levels in one corner, by label: the audit must see them."""
    order = list(EXPRESSIONS)
    leaking = []
    for face in invented:
        image = face.image.astype(int)
        image[:10, : 4 + 6 * order.index(face.request.expression)] += 4
        leaking.append(replace(face, image=np.clip(image, 0, 255).astype(np.uint8)))
    assert audit(leaking).p_value < 1e-4
