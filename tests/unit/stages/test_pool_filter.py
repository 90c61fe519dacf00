"""The filter of a pool: refused faces are asked for again, incomplete identities are dropped."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core.expression import EKMAN_SIX, Expression
from mien.core.generation import FaceRequest, GeneratedFace
from mien.core.preprocess import PreprocessSpec
from mien.stages import pool_filter
from mien.stages.pool_filter import Filter


class Painter:
    """An engine whose faces are as bright as ``brightness`` says for their request."""

    def __init__(self, brightness):
        self.brightness = brightness
        self.asked = []

    def synthesise(self, requests):
        for request in requests:
            self.asked.append(request)
            level = self.brightness(request)
            yield GeneratedFace(request, np.full((8, 8), level, np.uint8))


class Bright:
    """A scorer that is as sure of every class as the face is bright."""

    def probabilities(self, images):
        return np.repeat(images.mean(axis=(1, 2))[:, None] / 255, 6, axis=1)


@pytest.fixture(autouse=True)
def scorer(monkeypatch):
    index = {e: i for i, e in enumerate(EKMAN_SIX)}
    monkeypatch.setattr(pool_filter, "_scorer", lambda _: (Bright(), index))


def chosen(tmp_path, tries=3):
    return Filter(
        model=tmp_path,
        spec=PreprocessSpec(size_px=8),
        thresholds=dict.fromkeys(EKMAN_SIX, 0.5),
        tries=tries,
        step=2,
    )


def identities(count):
    return [
        [FaceRequest(f"{n}/{e}", 0, str(n), e, intensity=0.6) for e in EKMAN_SIX]
        for n in range(count)
    ]


def test_what_passes_is_not_asked_for_again(tmp_path):
    """One call for faces that are right at once."""
    engine = Painter(lambda _: 255)
    kept, refused = chosen(tmp_path).keep(engine, identities(2))
    assert [len(faces) for faces in kept] == [6, 6]
    assert len(engine.asked) == 12
    assert not refused


def test_a_refused_face_is_another_variation_and_keeps_its_name(tmp_path):
    """It comes back stronger, under the id that was planned."""
    engine = Painter(lambda r: 255 if r.variation or r.expression != Expression.FEAR else 0)
    kept, refused = chosen(tmp_path).keep(engine, identities(1))
    fear = next(f for f in kept[0] if f.request.expression == Expression.FEAR)
    assert fear.request.id == "0/fear"
    assert fear.request.variation == 2  # after the variations the pool itself has
    assert 0.6 < fear.request.intensity <= 1.0
    assert refused == {"fear": 1}


def test_an_identity_with_an_empty_cell_is_dropped_whole(tmp_path):
    """The others keep all their faces, in the order asked."""
    engine = Painter(lambda r: 0 if r.identity == "1" and r.expression == Expression.ANGER else 255)
    kept, refused = chosen(tmp_path).keep(engine, identities(3))
    assert [faces[0].request.identity for faces in kept] == ["0", "2"]
    assert [f.request.expression for f in kept[0]] == list(EKMAN_SIX)
    assert refused == {"anger": 3}
