"""The demo databases: endless, the same whatever is asked beside, apart from one another."""

import multiprocessing
from collections.abc import Generator
from dataclasses import fields, replace
from itertools import islice
from typing import cast

import cv2
import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX, EXPRESSIONS, Expression
from mien.core.sample import Item
from mien.datasets.demo.anatomy import hidden_anatomy
from mien.datasets.demo.manners import MANNERS, draw_style, show
from mien.datasets.demo.params import DemoParams
from mien.datasets.demo.people import draw_person, move, person_seed
from mien.datasets.demo.pictures import OCCLUDERS
from mien.datasets.demo.render import render_subject
from mien.datasets.demo.shifts import SHIFTS
from mien.datasets.table import READERS, read
from mien.imaging.decode import decode

LAB, WEB, BLIND = (SHIFTS[name] for name in ("demo_lab", "demo_web", "demo_blind"))
TWO = (Expression.ANGER, Expression.HAPPINESS)


def _items(name: str, workers: int = 1, **params):
    return list(read(name, None, params, workers=workers).items)


def _by_id(items) -> dict[str, bytes]:
    return {item.sample.id: item.image for item in items}


@pytest.mark.parametrize("name", list(SHIFTS))
def test_a_database_is_balanced_and_described(name):
    """Every person shows every expression; samples say who, what and how strongly."""
    items = _items(name, subjects=3, images_per_cell=2)
    assert len(items) == 3 * 6 * 2
    samples = [item.sample for item in items]
    assert {s.subject for s in samples} == {f"{name}:{k:04d}" for k in range(3)}
    for expression in EKMAN_SIX:
        assert sum(s.expression is expression for s in samples) == 6
    for sample, item in zip(samples, items, strict=True):
        assert sample.source == name
        assert sample.origin == "real"
        assert len(sample.landmarks) == 68
        assert sample.intensity is not None
        assert 0.0 < sample.intensity <= 1.0
        assert set(sample.attributes) == {"age_group", "skin_tone", "glasses", "beard", "occlusion"}
        assert decode(item.image).shape == (64, 64, 3)
        assert (sample.width, sample.height) == (64, 64)
    assert len({item.image for item in items}) == len(items)
    assert READERS[name].licence.consent == "no person is shown"
    assert READERS[name].licence.commercial is True


@pytest.mark.parametrize("name", list(SHIFTS))
def test_a_picture_does_not_depend_on_what_else_is_asked(name):
    """Count, first subject, expressions and pictures a cell change no picture."""
    every = _by_id(_items(name, subjects=4, images_per_cell=2, expressions=list(EXPRESSIONS)))
    fewer = _by_id(_items(name, subjects=2, first_subject=2, expressions=["sadness", "anger"]))
    assert len(fewer) == 4
    assert all(every[key] == image for key, image in fewer.items())


def test_the_order_of_rendering_changes_nothing():
    """A person is a function of the index alone."""
    params = DemoParams(expressions=TWO)
    forth = [render_subject(WEB, k, params) for k in range(3)]
    back = [render_subject(WEB, k, params) for k in reversed(range(3))][::-1]
    assert [[i.image for i in p] for p in forth] == [[i.image for i in p] for p in back]


def test_processes_render_the_same_in_the_same_order():
    """Worker processes change no byte; a reader left early leaves none of them behind."""
    params = {"subjects": 400, "expressions": ["fear"], "size_px": 16}
    items = iter(read("demo_lab", None, params, workers=2).items)
    found = list(islice(items, 20))
    assert found == _items("demo_lab", **{**params, "subjects": 20})
    cast("Generator[Item]", items).close()
    assert not multiprocessing.active_children()


def test_further_subjects_are_other_people():
    """first_subject asks for people beyond; seeds make other databases under other names."""
    first = _items("demo_lab", subjects=2, expressions=["fear"])
    more = _items("demo_lab", subjects=2, first_subject=2, expressions=["fear"])
    other = _items("demo_lab", subjects=2, seed=7, expressions=["fear"])
    subjects = [{i.sample.subject for i in items} for items in (first, more, other)]
    assert not subjects[0] & subjects[1]
    assert not subjects[0] & subjects[2]
    assert not {i.image for i in first} & {i.image for i in (*more, *other)}


def test_identities_of_the_databases_are_disjoint():
    """No two databases, and no two people, share a seed; nor do the shifts render alike."""
    seeds = [
        person_seed(shift, seed, index)
        for shift in SHIFTS.values()
        for seed in range(3)
        for index in range(2000)
    ]
    assert len(set(seeds)) == len(seeds)
    params = DemoParams(expressions=TWO)
    pictures = [decode(render_subject(shift, 0, params)[0].image) for shift in SHIFTS.values()]
    for k in range(3):
        assert np.abs(pictures[k].astype(int) - pictures[k - 1]).mean() > 10


def test_shifts_differ_as_they_say():
    """The web is more varied in pose, light and sharpness; blind people act more weakly."""

    def figures(name):
        items = _items(name, subjects=25, expressions=["happiness", "sadness"])
        grays = [cv2.cvtColor(decode(i.image), cv2.COLOR_RGB2GRAY) for i in items]
        points = np.array([i.sample.landmarks for i in items])
        eyes = (points[:, 36:42].mean(axis=1) + points[:, 42:48].mean(axis=1)) / 2
        nose = (points[:, 30, 0] - eyes[:, 0]).std()
        light = np.std([g.mean() for g in grays])
        return nose, light, np.mean([i.sample.intensity for i in items])

    lab, web, blind = (figures(name) for name in SHIFTS)
    assert web[0] > 1.5 * lab[0]
    assert web[0] > blind[0] > lab[0]
    assert web[1] > lab[1]
    assert blind[2] < lab[2] - 0.05


def test_only_the_web_is_occluded():
    """About the stated share of demo_web has something before the face, of every kind."""
    items = _items("demo_web", subjects=40, size_px=16)
    kinds = [item.sample.attributes["occlusion"] for item in items]
    share = 1 - kinds.count("none") / len(kinds)
    assert abs(share - WEB.occlusion) < 0.08
    assert set(kinds) == {"none", *OCCLUDERS}
    assert LAB.occlusion == BLIND.occlusion == 0.0


def test_label_noise_has_the_stated_rate():
    """The stated share of labels is wrong, the pictures stay, and the truth is kept."""
    clean = _items("demo_web", subjects=25, size_px=16)
    noisy = _items("demo_web", subjects=25, size_px=16, label_noise=0.3)
    assert [i.image for i in clean] == [i.image for i in noisy]
    wrong = [
        b.sample
        for a, b in zip(clean, noisy, strict=True)
        if a.sample.expression is not b.sample.expression
    ]
    assert abs(len(wrong) / len(noisy) - 0.3) < 0.1
    assert all(s.expression in EKMAN_SIX for s in wrong)
    assert [i.sample.attributes["shown"] for i in noisy] == [i.sample.expression for i in clean]


def test_landmarks_lie_on_the_face():
    """Annotated points have the stated small error, and only that."""
    items = _items("demo_lab", subjects=4, size_px=128)
    for item in items:
        points = np.array(item.sample.landmarks)
        assert points.min() > -20
        assert points.max() < 148
        eyes = points[[36, 39, 42, 45]].mean(axis=0)
        assert abs(eyes[0] - 64) < 14
        assert points[8, 1] > points[57, 1] > points[33, 1] > eyes[1] > points[19, 1]


def test_every_size_shows_the_same_face():
    """A larger picture is the same picture with more pixels."""
    small = decode(_items("demo_lab", subjects=1, expressions=["fear"])[0].image)
    large = decode(_items("demo_lab", subjects=1, expressions=["fear"], size_px=256)[0].image)
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(float) - small).mean() < 6


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"subject": 3}, "subject"),
        ({"subjects": 0}, "subjects"),
        ({"first_subject": -1}, "first_subject"),
        ({"images_per_cell": 0}, "images_per_cell"),
        ({"expressions": []}, "expressions"),
        ({"expressions": ["joy"]}, "expressions.0"),
        ({"expressions": ["fear", "fear"]}, "expressions"),
        ({"size_px": 8}, "size_px"),
        ({"label_noise": 1.5}, "label_noise"),
    ],
)
def test_wrong_parameters_are_named(params, key):
    """Unknown keys and impossible values are errors before anything is rendered."""
    with pytest.raises(Invalid) as caught:
        read("demo_lab", None, params)
    assert key in caught.value.violations


def test_label_noise_needs_a_second_expression(tmp_path):
    """With one expression no label can be wrong; a root means nothing here."""
    with pytest.raises(Invalid) as caught:
        _items("demo_lab", subjects=1, expressions=["fear"], label_noise=0.1)
    assert caught.value.reason == "LABEL_NOISE"
    with pytest.raises(Invalid) as unused:
        read("demo_lab", tmp_path)
    assert unused.value.reason == "ROOT_UNUSED"


def test_manners_name_units_of_the_head():
    """Every manner of every expression can be shown, within the range of its units."""
    anatomy = hidden_anatomy()
    units = anatomy.head.units
    rng = np.random.default_rng(0)
    style = draw_style(WEB, units, rng)
    assert set(MANNERS) == set(EXPRESSIONS)
    for expression in EXPRESSIONS:
        for _ in range(20):
            shown = show(style, expression, 1.0, units, rng)
            assert set(shown) <= set(units)
            assert all(0.0 < w <= 1.0 for w in shown.values())
            assert np.isfinite(anatomy.head.offsets(shown)).all()


def test_no_two_people_move_alike():
    """The same units move two people differently: direction and reach of muscles are personal."""
    anatomy = hidden_anatomy()
    offsets = anatomy.head.offsets({"AU12_L": 1.0, "AU12_R": 1.0})
    moves = []
    for index in range(2):
        person = draw_person(anatomy, LAB, person_seed(LAB, 0, index))
        moves.append(move(person, offsets) - person.neutral)
        # Eyes and their lids keep the head's own motion, or they would come apart.
        eyes = anatomy.head.parts["eye_L"]
        np.testing.assert_allclose(moves[-1][eyes], offsets[eyes], atol=1e-5)
    strongest = np.linalg.norm(offsets, axis=1) > 0.5 * np.linalg.norm(offsets, axis=1).max()
    apart = np.linalg.norm(moves[0] - moves[1], axis=1)[strongest]
    assert apart.mean() > 0.1 * np.linalg.norm(offsets, axis=1)[strongest].mean()


def test_faces_are_not_symmetric():
    """Hidden shape makes left and right differ, as in people; the head model's own does not."""
    anatomy = hidden_anatomy()
    head = anatomy.head
    left, right = head.landmarks68[[36, 48, 31]], head.landmarks68[[45, 54, 35]]
    mirror = np.array([-1.0, 1.0, 1.0])

    def askew(shape):
        return np.abs(shape[left] * mirror - shape[right]).mean() / anatomy.centimetre

    common = head.shape(np.random.default_rng(1).standard_normal(head.identity_size))
    people = [draw_person(anatomy, LAB, person_seed(LAB, 0, k)) for k in range(6)]
    assert askew(common) < 0.02
    assert np.mean([askew(p.neutral) for p in people]) > 0.05


def test_shifts_say_everything():
    """Every parameter is used: a shift with another value renders other pictures."""
    params = DemoParams(expressions=(Expression.ANGER,), size_px=32)

    def pictures(shift):
        return [i.image for k in range(4) for i in render_subject(shift, k, params)]

    before = pictures(WEB)
    shares = {"habits": (0.9, 0.05, 0.05), "occlusion": 0.9, "glasses": 0.9, "beard": 0.9}
    for field in fields(WEB):
        value = getattr(WEB, field.name)
        if isinstance(value, str):
            continue
        halved = tuple(v * 0.5 for v in value) if isinstance(value, tuple) else value * 0.5
        changed = replace(WEB, **{field.name: shares.get(field.name, halved)})
        assert pictures(changed) != before, field.name
