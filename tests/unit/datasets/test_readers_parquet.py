"""The reader ``parquet`` on tables as Hugging Face and others write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import Expression
from mien.datasets.table import read
from mien.imaging.encode import encode_png

NAMES = ["angry", "happy", "sad"]


def _png(shade: int = 1) -> bytes:
    return encode_png(np.full((4, 3), shade, np.uint8))


def _cell(shade: int = 1, path: str | None = "a.png") -> dict[str, Any]:
    return {"bytes": _png(shade), "path": path}


def _write(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> Path:
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def _samples(root: Path, **params):
    return [item.sample for item in read("parquet", root, params).items]


def _refused(root: Path, **params) -> Invalid:
    with pytest.raises(Invalid) as caught:
        _samples(root, **params)
    return caught.value


def test_class_names_come_from_the_schema(tmp_path):
    """Integer labels are translated by the names that Hugging Face keeps in the file."""
    columns = {"image": [_cell(k) for k in range(3)], "label": [2, 0, 1]}
    _write(tmp_path / "data" / "train-00000-of-00001.parquet", columns, NAMES)
    samples = _samples(tmp_path)
    assert [s.expression for s in samples] == [
        Expression.SADNESS,
        Expression.ANGER,
        Expression.HAPPINESS,
    ]
    assert {s.usage for s in samples} == {"train"}
    assert [(s.width, s.height) for s in samples] == [(3, 4)] * 3
    assert samples[0].id == "parquet/data/train-00000-of-00001.parquet#0"


def test_what_the_datasets_library_writes_is_read(tmp_path, monkeypatch):
    """A data set with Image and ClassLabel features, saved by its own library."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict(
        {"image": [_cell(k, None) for k in range(2)], "label": [1, 2]},
        features=datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
        ),
    )
    made.to_parquet(str(tmp_path / "x.parquet"))
    assert [s.expression for s in _samples(tmp_path / "x.parquet")] == [
        Expression.HAPPINESS,
        Expression.SADNESS,
    ]


def test_names_may_be_given_as_a_parameter(tmp_path):
    """Numbers that nobody explains are an error; the parameter labels explains them."""
    path = _write(tmp_path / "x.parquet", {"image": [_cell()], "label": [1]})
    assert _refused(path).reason == "LABEL_NAMES"
    assert _samples(path, labels=NAMES)[0].expression is Expression.HAPPINESS


@pytest.mark.parametrize("column", ["label", "expression"])
def test_text_labels(tmp_path, column):
    """Labels may be words; bytes may stand without a path."""
    path = _write(tmp_path / "x.parquet", {"image": [_png()], column: ["Afraid"]})
    assert _samples(path)[0].expression is Expression.FEAR


def test_unlabelled_and_missing_values(tmp_path):
    """Null and NaN mean missing."""
    columns = {"image": [_cell()], "expression": [None], "valence": [float("nan")], "frame": [None]}
    sample = _samples(_write(tmp_path / "x.parquet", columns))[0]
    assert (sample.expression, sample.valence, sample.frame) == (None, None, None)


def test_columns_are_renamed_or_dropped(tmp_path):
    """A column that means nothing is an error until the parameter columns says what it is."""
    columns = {"image": [_cell()], "emotion": ["joy"], "person": ["p1"], "age": [30], "x": [0]}
    path = _write(tmp_path / "x.parquet", columns)
    assert _refused(path).reason == "UNKNOWN_COLUMN"
    mapping = {"emotion": "label", "person": "subject", "age": "attributes.age", "x": ""}
    sample = _samples(path, columns=mapping, source="faces")[0]
    assert sample.expression is Expression.HAPPINESS
    assert sample.subject == "faces:p1"
    assert sample.attributes == {"age": "30"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"image": [_cell()], "label": [3]}, "UNKNOWN_LABEL"),
        ({"image": [_cell()], "label": [-1]}, "UNKNOWN_LABEL"),
        ({"image": [_cell()], "label": ["unhappy"]}, "UNKNOWN_LABEL"),
        ({"image": [_cell()], "label": [1], "expression": ["anger"]}, "LABEL_CONFLICT"),
        ({"label": [1]}, "MISSING_COLUMN"),
        ({"image": [5]}, "BAD_ROW"),
        ({"image": [_cell()], "arousal": [7.0]}, "BAD_ROW"),
        ({"image": [{"bytes": b"", "path": "a"}]}, "EMPTY_IMAGE"),
        ({"image": [{"bytes": b"text", "path": "a"}]}, "UNSUPPORTED_FORMAT"),
        ({"image": [{"bytes": None, "path": "../a.png"}]}, "PATH_ESCAPES"),
        ({"image": [{"bytes": None, "path": None}]}, "PATH_ESCAPES"),
    ],
)
def test_wrong_rows_are_named(tmp_path, columns, reason):
    """The message says which file, and which row where it is a row."""
    error = _refused(_write(tmp_path / "x.parquet", columns, NAMES))
    assert error.reason == reason
    assert "x.parquet" in error.message


def test_images_beside_the_table(tmp_path):
    """Where the bytes are not inside, the path is followed, within the folder only."""
    (tmp_path / "a.png").write_bytes(_png())
    path = _write(tmp_path / "x.parquet", {"image": [{"bytes": None, "path": "a.png"}]})
    assert _samples(path)[0].file == "a.png"
    (tmp_path / "a.png").unlink()
    with pytest.raises(NotFound):
        _samples(path)


def test_damaged_files(tmp_path):
    """A file that is no Parquet, and a digest that does not fit."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(Invalid) as caught:
        read("parquet", tmp_path)
    assert caught.value.reason == "NOT_PARQUET"
    columns = {"image": [_cell()], "digest": ["0" * 64]}
    with pytest.raises(Corrupt):
        _samples(_write(tmp_path / "x.parquet", columns))


def test_a_folder_without_tables(tmp_path):
    """Nothing to read is an error."""
    assert _refused(tmp_path).reason == "EMPTY_DATABASE"
