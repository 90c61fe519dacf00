"""What generation is asked and answers survives the wire."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.api.generation.v1 import generation_pb2 as pb
from mien.api.type.v1 import face_pb2
from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Invalid
from mien.core.expression import EXPRESSIONS, Affect, Expression
from mien.core.generation import (
    EngineInfo,
    FacePlan,
    FaceRequest,
    GeneratorInfo,
    MadeFace,
    Photo,
    WantedFace,
)
from mien.core.jobs import Job
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.wire.generation import (
    engine_message,
    engine_of,
    face_message,
    face_of,
    generation_job_message,
    generation_job_of,
    generator_message,
    generator_of,
    look_of,
    photo_message,
    photo_of,
    plan_message,
    plan_of,
    wanted_message,
    wanted_of,
)

ANGER = face_pb2.EXPRESSION_ANGER
texts = st.text(max_size=20)
names = st.text("ab1._-", max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False)
unit = st.floats(0, 1)
labels = st.lists(st.sampled_from(EXPRESSIONS), unique=True, min_size=1).map(tuple)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
ranges = st.tuples(unit, unit).map(lambda pair: tuple(sorted(pair))).filter(lambda r: r[1] > 0)
plans = st.builds(
    FacePlan,
    engine=names,
    expressions=labels,
    identities=st.integers(1, 1_000_000),
    params=st.dictionaries(texts, plain, max_size=3),
    images_per_cell=st.integers(1, 1000),
    seed=st.integers(0, 2**63 - 1),
    intensity=st.none() | ranges,
    pool=names,
)
points = st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple)
photos = st.builds(Photo, st.binary(max_size=20), texts, st.none() | texts, points)
requests = st.builds(
    FaceRequest,
    id=st.text(min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    identity=texts,
    expression=st.sampled_from(EXPRESSIONS),
    intensity=unit,
    variation=st.integers(0, 2**32 - 1),
)


@given(plans)
def test_plans(plan):
    """To the last digit of a parameter; as JSON too."""
    assert plan_of(plan_message(plan)) == plan
    assert digest_of(plan_of(plan_message(plan)).to_json()) == digest_of(plan.to_json())
    assert FacePlan.from_json(plan.to_json()) == plan


@given(photos)
def test_photos(photo):
    """Bytes, subject or none, points."""
    assert photo_of(photo_message(photo)) == photo


@given(requests, st.none() | photos)
def test_wanted_faces(request, photo):
    """With a photo or without."""
    wanted = WantedFace(request, photo)
    assert wanted_of(wanted_message(wanted)) == wanted


def test_a_point_of_the_affect_plane():
    """In the place of an expression."""
    wanted = WantedFace(FaceRequest("a", 0, "b", None, Affect(0.5, -0.25)))
    assert wanted_of(wanted_message(wanted)) == wanted


@given(st.dictionaries(texts, numbers, max_size=3), st.binary(min_size=1, max_size=20))
def test_faces_and_what_is_told(scores, image):
    """A made face, an engine, a generator."""
    face = MadeFace(Item(Sample("a/b", "a", "synthetic"), image), "d" * 64, scores)
    assert face_of(face_message(face)) == face
    info = EngineInfo("noise", "Makes.", True, False)
    assert engine_of(engine_message(info)) == info
    found = GeneratorInfo("g", "noise", "d" * 64, (Expression.FEAR,), 64, scores, 7)
    assert generator_of(generator_message(found)) == found


@given(plans)
def test_jobs(plan):
    """Plan, result and shards; what a job of another kind says is not told."""
    version = VersionInfo(
        "v", "d" * 64, 4, Provenance("engine:x", {"a": 1}, {"generator": "e"}), {"x": Licence()}, {}
    )
    spec = {"plan": plan.to_json(), "version_name": "v", "shard_identities": 5}
    result = {"version": version.to_json(), "shards": {"0": "aa", "11": "bb"}}
    job = Job("generation-1", "generation", spec, state="SUCCEEDED", result=result, revision=3)
    assert generation_job_of(generation_job_message(job)) == job
    with pytest.raises(Corrupt, match="JOB_SPEC"):
        generation_job_message(Job("trial-1", "trial", {"plan": "x"}))


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (pb.FacePlan(engine="x"), {"expressions", "identities"}),
        (pb.FacePlan(engine="x", expressions=[ANGER, ANGER], identities=1), {"expressions"}),
        (
            pb.FacePlan(engine="x", expressions=[face_pb2.EXPRESSION_UNSPECIFIED], identities=1),
            {"expressions"},
        ),
        (
            pb.FacePlan(expressions=[ANGER], identities=2_000_000, pool="a/b"),
            {"identities", "pool"},
        ),
        (pb.FacePlan(expressions=[ANGER], identities=1, images_per_cell=5000), {"images_per_cell"}),
        (pb.FacePlan(expressions=[ANGER], identities=1, seed=2**63), {"seed"}),
        (pb.FacePlan(expressions=[ANGER], identities=1, min_intensity=0.5), {"intensity"}),
        (pb.FacePlan(expressions=[ANGER], identities=1, max_intensity=math.nan), {"intensity"}),
    ],
)
def test_wrong_plans_name_every_field(message, fields):
    """And nothing else."""
    with pytest.raises(Invalid, match="FACE_PLAN") as error:
        plan_of(message)
    assert set(error.value.violations) == fields


@pytest.mark.parametrize("text", ["[", "[]", "3", '"a"', "\x00", '{"a": "' + "x" * 2**16 + '"}'])
def test_parameters_are_a_small_object(text):
    """Of JSON, and nothing else."""
    message = pb.FacePlan(engine="x", expressions=[1], identities=1, params_json=text)
    with pytest.raises(Invalid, match="ENGINE_PARAMS"):
        plan_of(message)


def test_wrong_requests():
    """No id, no expression, both, an intensity that is none, points that are none."""
    for message in (
        pb.FaceRequest(expression=1),
        pb.FaceRequest(id="x" * 2000, expression=1),
        pb.FaceRequest(id="a"),
        pb.FaceRequest(id="a", expression=1, intensity=1.5),
        pb.FaceRequest(id="a", expression=1, intensity=math.nan),
        pb.FaceRequest(id="a", expression=1, source=pb.Photo(landmarks=[{"x": math.inf, "y": 0}])),
    ):
        with pytest.raises(Invalid, match="FACE_REQUEST"):
            wanted_of(message)
    with pytest.raises(Invalid, match="FACE_REQUEST"):
        look_of(1, Affect(0, 0), None)
    with pytest.raises(Invalid, match="UNKNOWN_EXPRESSION"):
        look_of(99, None, None)
