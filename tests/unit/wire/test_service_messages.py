"""What services are asked and answer survives as messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.api.registry.v1 import registry_pb2
from mien.api.serving.v1 import serving_pb2
from mien.api.training.v1 import training_pb2
from mien.api.type.v1 import version_pb2
from mien.core.catalogue import (
    Alias,
    Diff,
    Edge,
    Entry,
    Group,
    ItemFilter,
    Relations,
    Verification,
)
from mien.core.errors import Corrupt, Invalid
from mien.core.expression import EXPRESSIONS, Affect
from mien.core.face import Box
from mien.core.jobs import GeneratorWork, Job, JobLog, SweepWork, TrialWork, work_of
from mien.core.serving import (
    GateCheck,
    ModelInfo,
    ModelLineage,
    Promotion,
    Query,
    RecognisedFace,
    Recognition,
    Refusal,
)
from mien.wire import catalogue, serving, training

from .test_messages import NUMBER, TEXT, UNIT, VERSIONS

FEW = settings(max_examples=40, deadline=None)
COUNT = st.integers(0, 2**63)
MOMENT = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
LABELS = st.sampled_from(EXPRESSIONS)
TEXTS = st.lists(TEXT, max_size=3)
SETS = st.frozensets(TEXT, max_size=3)
LINEAGES = st.builds(ModelLineage, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)
FACES = st.builds(
    RecognisedFace,
    box=st.builds(Box, NUMBER, NUMBER, NUMBER, NUMBER),
    detection_score=UNIT,
    expression=st.none() | LABELS,
    probabilities=st.dictionaries(LABELS, UNIT, max_size=8),
    abstained=st.booleans(),
    affect=st.none() | st.builds(Affect, st.floats(-1, 1), st.floats(-1, 1)),
)
RECOGNITIONS = st.builds(Recognition, TEXT, st.lists(FACES, max_size=3).map(tuple), LINEAGES)
MODELS = st.builds(
    ModelInfo,
    lineage=LINEAGES,
    expressions=st.lists(LABELS, max_size=8).map(tuple),
    size_px=st.integers(0, 2**32 - 1),
    aliases=TEXTS.map(tuple),
    figures=st.dictionaries(TEXT, NUMBER, max_size=3),
    created=st.none() | MOMENT,
    loaded=st.booleans(),
)
WORK = (
    st.builds(TrialWork, TEXT, TEXT, TEXT)
    | st.builds(SweepWork, TEXT, TEXT, TEXTS.map(tuple))
    | st.builds(GeneratorWork, TEXT, TEXT, TEXT, TEXTS.map(tuple))
)


def over(message, kind):
    return kind.FromString(message.SerializeToString())


@FEW
@given(st.builds(Entry, VERSIONS, COUNT, MOMENT))
def test_an_entry(entry):
    """A version with its place in the history."""
    message = over(catalogue.entry_message(entry), version_pb2.Version)
    assert catalogue.entry_of(message) == entry


@FEW
@given(
    st.builds(
        ItemFilter,
        expressions=st.frozensets(LABELS),
        subjects=SETS,
        sources=SETS,
        origin=st.sampled_from([None, "real", "synthetic"]),
        ids=SETS,
    )
)
def test_a_filter(where):
    """Which items are wanted."""
    message = over(catalogue.filter_message(where), registry_pb2.ItemFilter)
    assert catalogue.filter_of(message) == where


@pytest.mark.parametrize("wrong", [{"expressions": [0]}, {"expressions": [99]}, {"origin": 9}])
def test_a_filter_by_unknown_words_is_refused(wrong):
    """It would silently keep nothing, or all."""
    with pytest.raises(Invalid) as caught:
        catalogue.filter_of(registry_pb2.ItemFilter(**wrong))
    assert caught.value.reason == "FILTER"


@FEW
@given(
    st.builds(
        Diff,
        *[TEXT] * 2,
        *[COUNT] * 3,
        *[TEXTS.map(tuple)] * 3,
        st.lists(st.builds(Group, TEXT, TEXT, COUNT, COUNT), max_size=3).map(tuple),
    )
)
def test_a_difference(diff):
    """Counts and some names."""
    message = over(catalogue.diff_message(diff), registry_pb2.DiffVersionsResponse)
    assert catalogue.diff_of(message) == diff


@FEW
@given(
    st.builds(Alias, TEXT, TEXT, TEXT, MOMENT),
    st.builds(
        Relations,
        TEXT,
        st.lists(st.builds(Edge, TEXT, TEXT, TEXT), max_size=3).map(tuple),
        st.dictionaries(TEXT, VERSIONS, max_size=2),
    ),
    st.builds(Verification, TEXT, COUNT, TEXTS.map(tuple)),
)
def test_an_alias_a_lineage_an_inspection(alias, relations, found):
    """As the registry told them."""
    assert catalogue.alias_of(over(catalogue.alias_message(alias), registry_pb2.Alias)) == alias
    message = over(catalogue.lineage_message(relations), registry_pb2.Lineage)
    assert catalogue.lineage_of(message) == relations
    message = over(catalogue.verification_message(found), registry_pb2.VerifyVersionResponse)
    assert catalogue.verification_of(message) == found


@FEW
@given(WORK, TEXTS.map(tuple), st.builds(JobLog, TEXT, st.booleans()))
def test_training_work(work, children, log):
    """What was asked, also from the job that does it."""
    from dataclasses import asdict

    assert training.asked_of(over(training.work_message(work), training_pb2.TrainingJob)) == work
    kind = {TrialWork: "trial", SweepWork: "sweep", GeneratorWork: "generator"}[type(work)]
    job = Job(f"{kind}-1", kind, asdict(work), parent="sweep-2", children=children, revision=3)
    back = training.training_job_of(
        over(training.training_job_message(job), training_pb2.TrainingJob)
    )
    assert work_of(back) == work
    assert (back.name, back.parent, back.children, back.revision) == (
        job.name,
        job.parent,
        job.children,
        3,
    )
    assert training.log_of(over(training.log_message(log), training_pb2.TrainingLog)) == log


def test_work_that_is_none_is_refused():
    """A job that says not what shall be done."""
    with pytest.raises(Invalid, match="JOB_SPEC"):
        training.asked_of(training_pb2.TrainingJob(name="trial-1"))


@FEW
@given(
    st.builds(
        Query, st.binary(max_size=9), TEXT, st.none() | st.floats(0, 1), st.integers(0, 2**32 - 1)
    )
)
def test_a_query(query):
    """A picture with what is asked of it."""
    message = over(serving.query_message(query), serving_pb2.RecogniseExpressionRequest)
    assert serving.query_of(message) == query


def test_an_impossible_threshold_is_refused():
    """NaN as well."""
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(Invalid, match="THRESHOLD"):
            serving.query_of(serving_pb2.RecogniseExpressionRequest(threshold=threshold))


@FEW
@given(RECOGNITIONS | st.builds(Refusal, TEXT, TEXT, TEXT, TEXT))
def test_an_outcome(found):
    """Faces with box, probabilities, affect, abstention and lineage; or why there are none."""
    message = over(serving.outcome_message(found), serving_pb2.RecogniseStreamResponse)
    assert serving.outcome_of(message) == found


@FEW
@given(
    st.builds(
        Promotion,
        st.none() | MODELS,
        st.none() | MODELS,
        st.lists(st.builds(GateCheck, TEXT, st.booleans(), TEXT), max_size=3).map(tuple),
        TEXT,
        NUMBER,
        st.booleans(),
    )
)
def test_a_promotion(made):
    """Champions now and before, and every check."""
    message = over(serving.promotion_message(made), serving_pb2.Promotion)
    assert serving.promotion_of(message) == made


def test_a_label_of_a_newer_service_is_an_error():
    """It is never left out in silence."""
    with pytest.raises(Corrupt, match="UNKNOWN_EXPRESSION"):
        serving.model_of(serving_pb2.Model(expressions=[99]))
