"""Other tools read our shards as they are."""

from __future__ import annotations

import io

import duckdb
import numpy as np
import pandas as pd
from PIL import Image

from mien.core.expression import EXPRESSIONS
from mien.imaging.decode import decode


def test_hugging_face_datasets(version, make_items, tmp_path, monkeypatch):
    """``load_dataset("parquet")`` decodes images and knows the label's names."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    files = sorted(str(p) for p in (version.folder / "shards").glob("*.parquet"))
    table = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(table.features["image"], datasets.Image)
    assert table.features["label"].names == [str(e) for e in EXPRESSIONS]
    items = make_items(40)
    assert table["id"][:] == [i.sample.id for i in items]
    assert [table.features["label"].int2str(n) for n in table["label"]] == table["expression"][:]
    assert np.array_equal(np.asarray(table[7]["image"]), decode(items[7].image))
    assert table[7]["landmarks"] == [list(p) for p in items[7].sample.landmarks]


def test_pandas(version, make_items):
    """One frame of all shards; bytes that Pillow opens."""
    frame = pd.read_parquet(version.folder / "shards")
    items = make_items(40)
    assert list(frame["subject"]) == [i.sample.subject for i in items]
    assert list(frame["valence"]) == [i.sample.valence for i in items]
    picture = Image.open(io.BytesIO(frame["image"][5]["bytes"]))
    assert np.array_equal(np.asarray(picture), decode(items[5].image))


def test_duckdb(version):
    """SQL over shards and manifest alike, attributes as JSON."""
    shards = str(version.folder / "shards" / "*.parquet")
    counts = duckdb.sql(
        f"select expression, count(*), min(octet_length(image.bytes)) from '{shards}' group by 1"  # noqa: S608
    ).fetchall()
    assert {row[0]: row[1] for row in counts} == dict.fromkeys(map(str, EXPRESSIONS), 5)
    assert all(row[2] > 50 for row in counts)
    ages = duckdb.sql(
        f"select attributes->>'age' from '{version.folder / 'manifest.parquet'}' order by id"  # noqa: S608
    ).fetchall()
    assert [row[0] for row in ages] == [str(i) for i in range(40)]
