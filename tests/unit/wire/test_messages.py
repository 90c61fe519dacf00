"""What is written as a message is read back the same; digests are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.api.type.v1 import face_pb2, job_pb2, version_pb2
from mien.core.digest import digest_of
from mien.core.errors import ERRORS, Invalid
from mien.core.expression import EXPRESSIONS
from mien.core.jobs import Failure, Job, JobState
from mien.core.manifest import Licence, Manifest, Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.wire.faces import (
    expression_number,
    expression_of,
    item_message,
    item_of,
    sample_message,
    sample_of,
)
from mien.wire.jobs import job_of, job_status
from mien.wire.versions import version_message, version_of

FEW = settings(max_examples=60, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
UNIT = st.floats(0, 1) | st.just(-0.0)
SIGNED = st.floats(-1, 1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=3)
SAMPLES = st.builds(
    Sample,
    id=TEXT,
    source=TEXT,
    origin=st.sampled_from(["real", "synthetic"]),
    subject=st.none() | TEXT,
    expression=st.none() | st.sampled_from(EXPRESSIONS),
    valence=st.none() | SIGNED,
    arousal=st.none() | SIGNED,
    intensity=st.none() | UNIT,
    file=TEXT,
    frame=st.none() | st.integers(-(2**63), 2**63 - 1),
    sequence=TEXT,
    usage=TEXT,
    identity=TEXT,
    parents=st.lists(TEXT, max_size=3).map(tuple),
    attributes=PAIRS,
    landmarks=st.lists(st.tuples(NUMBER, NUMBER), max_size=3).map(tuple),
    failure=TEXT,
    digest=TEXT,
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
VERSIONS = st.builds(
    VersionInfo,
    name=TEXT,
    digest=TEXT,
    rows=st.integers(0, 2**63),
    provenance=st.builds(
        Provenance, maker=TEXT, params=OBJECTS, parents=PAIRS, code=TEXT, device=TEXT
    ),
    licences=st.dictionaries(
        TEXT,
        st.builds(
            Licence,
            name=TEXT,
            commercial=st.none() | st.booleans(),
            consent=TEXT,
            citation=TEXT,
        ),
        max_size=3,
    ),
    shards=PAIRS,
    schema=st.integers(0, 9),
)
MOMENTS = st.none() | st.datetimes(
    datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)
)
JOBS = st.builds(
    Job,
    name=TEXT,
    kind=TEXT,
    spec=OBJECTS,
    parent=TEXT,
    request_id=TEXT,
    state=st.sampled_from(get_args(JobState)),
    done=NUMBER,
    total=NUMBER,
    unit=TEXT,
    message=TEXT,
    metrics=st.dictionaries(TEXT, NUMBER, max_size=3),
    failure=st.none()
    | st.builds(
        Failure,
        kind=st.sampled_from(["", *(e.__name__ for e in ERRORS)]),
        reason=TEXT,
        message=TEXT,
        hint=TEXT,
        details=PAIRS,
        exit_code=st.none() | st.integers(-255, 255),
    ),
    result=OBJECTS,
    created=MOMENTS,
    started=MOMENTS,
    ended=MOMENTS,
    tries=st.integers(0, 99),
    revision=st.integers(0, 2**63),
)


@FEW
@given(SAMPLES)
def test_a_sample_survives(sample):
    """Every field, and with them the digest of a manifest."""
    sent = sample_message(sample).SerializeToString()
    back = sample_of(face_pb2.Sample.FromString(sent))
    assert back == sample
    assert Manifest((back,)).digest == Manifest((sample,)).digest


@FEW
@given(SAMPLES, st.binary(max_size=20))
def test_an_item_survives(sample, image):
    """With every byte of its image."""
    sent = item_message(Item(sample, image)).SerializeToString()
    assert item_of(face_pb2.Item.FromString(sent)) == Item(sample, image)


@FEW
@given(VERSIONS)
def test_a_version_survives(info):
    """With provenance and licences; so does the digest of all of it."""
    back = version_of(version_pb2.Version.FromString(version_message(info).SerializeToString()))
    assert back == info
    assert digest_of(back) == digest_of(info)


@FEW
@given(JOBS)
def test_a_job_survives(job):
    """Its status, with what the resource around it says."""
    status = job_pb2.JobStatus.FromString(job_status(job).SerializeToString())
    back = job_of(
        status,
        name=job.name,
        kind=job.kind,
        spec=job.spec,
        parent=job.parent,
        request_id=job.request_id,
        result=job.result,
    )
    assert back == job


def test_the_numbers_of_expressions_are_the_librarys_order():
    """A new expression takes the next number, and none changes."""
    assert [expression_number(e) for e in EXPRESSIONS] == list(range(1, 9))
    assert [expression_of(n) for n in range(1, 9)] == list(EXPRESSIONS)
    assert expression_number(None) == 0
    assert expression_of(0) is None


@pytest.mark.parametrize(
    "changes",
    [{"width": -1}, {"width": 2**32}, {"id": "\udc80"}, {"valence": "high"}, {"origin": "maybe"}],
)
def test_what_cannot_be_sent_is_refused_by_name(changes):
    """No half of it is sent, and the sample is named."""
    with pytest.raises(Invalid) as caught:
        sample_message(Sample(**{"id": "a/1", "source": "a", **changes}))
    assert caught.value.reason == "BAD_SAMPLE"


def strange(**numbers: Any) -> face_pb2.Sample:
    """A sample whose numbers may be none of this release's."""
    return face_pb2.Sample(id="a", **numbers)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (face_pb2.Sample(id="a"), "BAD_SAMPLE"),
        (strange(origin=77), "BAD_SAMPLE"),
        (strange(origin=1, expression=77), "UNKNOWN_EXPRESSION"),
    ],
)
def test_a_strange_sample_is_refused(message, reason):
    """Numbers that this release does not know are no labels."""
    with pytest.raises(Invalid) as caught:
        sample_of(message)
    assert caught.value.reason == reason


@pytest.mark.parametrize("text", ["[1]", "3", "{", "null"])
def test_parameters_that_are_no_object_are_refused(text):
    """JSON of another kind, or none."""
    version = version_pb2.Version(provenance=version_pb2.Provenance(params_json=text))
    with pytest.raises(Invalid, match="PROVENANCE_NOT_PLAIN"):
        version_of(version)
    with pytest.raises(Invalid, match="PROVENANCE_NOT_PLAIN"):
        version_message(VersionInfo("a", "", 0, Provenance("m", {"x": object()}), {}, {}))


def test_a_job_of_an_unknown_state_is_refused():
    """A newer server may know more states."""
    with pytest.raises(Invalid, match="JOB_STATE"):
        job_of(job_pb2.JobStatus(state=77), name="n", kind="k", spec={})
