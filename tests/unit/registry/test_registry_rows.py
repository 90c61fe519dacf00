"""Samples as columns: nothing is lost."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.columns import COLUMNS, from_table, to_columns
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS
from mien.core.manifest import Manifest
from mien.core.sample import Sample
from mien.registry.rows import stored

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
unit = st.floats(-1, 1)
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
samples = st.builds(
    Sample,
    id=name,
    source=name,
    origin=st.sampled_from(["real", "synthetic"]),
    subject=st.none() | text,
    expression=st.none() | st.sampled_from(EXPRESSIONS),
    valence=st.none() | unit,
    arousal=st.none() | unit,
    intensity=st.none() | st.floats(0, 1),
    file=text,
    frame=st.none() | st.integers(-(2**63), 2**63 - 1),
    sequence=text,
    usage=text,
    identity=text,
    parents=st.lists(text, max_size=3).map(tuple),
    attributes=st.dictionaries(text, text, max_size=3),
    landmarks=st.lists(st.tuples(finite, finite), max_size=4).map(tuple),
    failure=text,
    digest=text,
    width=st.integers(0, 2**31),
    height=st.integers(0, 2**31),
)
PLAIN = Sample(id="a/1", source="a")


def test_columns_are_the_fields_of_a_sample_in_their_order():
    """A field added to Sample cannot be forgotten here."""
    assert list(COLUMNS) == [f.name for f in fields(Sample)]


@settings(deadline=None)
@given(st.lists(samples, max_size=6))
def test_samples_come_back_exactly(rows):
    """All fields, floats to the last bit, None, empty and any Unicode; through Parquet."""
    kept = [stored(s, s.digest) for s in rows]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(to_columns(kept)), sink, row_group_size=2)
    back = list(from_table(pq.read_table(pa.BufferReader(sink.getvalue()))))
    assert back == kept == rows
    assert [repr(s) for s in back] == [repr(s) for s in kept]  # -0.0 and int against float too
    assert Manifest(tuple(back)).digest == Manifest(tuple(kept)).digest


def test_numbers_of_other_types_become_plain():
    """What is digested at writing is what is digested after reading: 0 is 0.0, NumPy is plain."""
    odd: dict[str, Any] = {
        "valence": 0,
        "arousal": np.float32(0.5),
        "intensity": 1,
        "frame": np.int16(3),
        "width": np.int64(8),
        "landmarks": [[np.float32(1.5), 2]],
        "parents": ["x"],
        "expression": "anger",
    }
    kept = stored(replace(PLAIN, **odd), "d")
    assert kept == Sample(
        id="a/1",
        source="a",
        expression=EXPRESSIONS[0],
        valence=0.0,
        arousal=0.5,
        intensity=1.0,
        frame=3,
        parents=("x",),
        landmarks=((1.5, 2.0),),
        digest="d",
        width=8,
    )
    assert "np." not in repr(kept)
    assert type(kept.valence) is float


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": 3},
        {"source": ""},
        {"origin": "painted"},
        {"expression": "joy"},
        {"valence": 1.01},
        {"arousal": float("nan")},
        {"intensity": -0.1},
        {"valence": "0.5"},
        {"file": "\udcff"},
        {"file": None},
        {"subject": 7},
        {"frame": 1.5},
        {"frame": 2**63},
        {"parents": (1,)},
        {"parents": None},
        {"attributes": {"age": 30}},
        {"attributes": {1: "x"}},
        {"landmarks": ((1.0, 2.0, 3.0),)},
        {"landmarks": ((1.0, float("nan")),)},
        {"landmarks": ((float("inf"), 1.0),)},
        {"width": -1},
        {"height": 1.5},
    ],
)
def test_a_sample_that_cannot_be_stored_is_refused_by_name(change):
    """The error names the sample and the field at fault."""
    with pytest.raises(Invalid) as caught:
        stored(replace(PLAIN, **change), "")
    assert caught.value.reason == "BAD_SAMPLE"
    assert repr(replace(PLAIN, **change).id) in caught.value.message
