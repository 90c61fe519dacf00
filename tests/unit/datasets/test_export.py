"""What is exported is read back identically; and what other tools make of it."""

import dataclasses
import errno
import json
import string
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.core.errors import AlreadyExists, Exhausted, Forbidden, Invalid
from mien.core.expression import EXPRESSIONS
from mien.core.manifest import Licence, Manifest, Provenance
from mien.core.sample import Item, Sample
from mien.datasets.export import Format, export
from mien.datasets.labels import ALIASES
from mien.datasets.table import read
from mien.imaging.encode import encode_png
from mien.registry.write import write_version

FORMAT_NAMES = get_args(Format)

LICENCES = {
    "web": Licence("CC-BY-4.0", commercial=True, consent="signed", citation="A, B (2020) “é”"),
    "made": Licence("CC0-1.0", commercial=None),
}


def _png(shade: int) -> bytes:
    return encode_png(np.full((4, 3), shade, np.uint8))


def _full(shade: int = 0) -> Item:
    """An item with every field set, to values that text formats find hard."""
    sample = Sample(
        id=f'web/é, "x"\n{shade}',
        source="web",
        origin="synthetic",
        subject="web:Ann, B.",
        expression=EXPRESSIONS[shade % 8],
        valence=-1 / 3,
        arousal=1e-17,
        intensity=0.1 + 0.2,
        file="a b/ü;.jpg",
        frame=0,
        sequence="s,1",
        usage="train",
        identity="seed 7",
        parents=("f" * 64, "a,b"),
        attributes={"z": "", "age": "3,5", "a b": "ja\nnein"},
        landmarks=((0.1, -2.5), (1e300, 3.0)),
        failure="no_face",
        width=31,
        height=7,
    )
    return Item(sample, _png(shade))


def _bare(shade: int = 1) -> Item:
    return Item(Sample(id=f"made/{shade}", source="made", width=3, height=4), _png(shade))


def _digested(items: list[Item]) -> Manifest:
    from mien.core.digest import digest_bytes

    return Manifest.of(dataclasses.replace(i.sample, digest=digest_bytes(i.image)) for i in items)


def _back(folder: Path, fmt: str):
    reading = read("parquet" if fmt == "parquet" else "folder", folder)
    items = list(reading.items)
    return items, reading


@pytest.mark.parametrize("fmt", FORMAT_NAMES)
def test_everything_survives(tmp_path, fmt):
    """Every field, every byte and every licence is read back; the manifests' digests agree."""
    items = [_full(0), _bare(1), _full(2)]
    assert export(iter(items), tmp_path / "out", format=fmt, licences=LICENCES) == 3
    found, reading = _back(tmp_path / "out", fmt)
    assert Manifest.of(i.sample for i in found).samples == _digested(items).samples
    assert Manifest.of(i.sample for i in found).digest == _digested(items).digest
    images = {i.sample.id: i.image for i in found}
    assert images == {i.sample.id: i.image for i in items}
    assert dict(reading.licences) == LICENCES
    assert reading.warnings == []


@pytest.mark.parametrize("fmt", FORMAT_NAMES)
def test_exporting_again_changes_nothing(tmp_path, fmt):
    """What was read back exports to the same files."""
    export(iter([_full(3), _bare(4)]), tmp_path / "one", format=fmt, licences=LICENCES)
    found, reading = _back(tmp_path / "one", fmt)
    export(iter(found), tmp_path / "two", format=fmt, licences=reading.licences)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) >= 1
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_NUMBER = st.floats(-1, 1)
_SAMPLES = st.builds(
    Sample,
    id=_TEXT,
    source=_TEXT,
    origin=st.sampled_from(["real", "synthetic"]),
    subject=st.none() | _TEXT.map(lambda t: f"q:{t}"),
    expression=st.none() | st.sampled_from(EXPRESSIONS),
    valence=st.none() | _NUMBER,
    arousal=st.none() | _NUMBER,
    intensity=st.none() | st.floats(0, 1),
    file=st.just("") | _TEXT,
    frame=st.none() | st.integers(0, 10**9),
    sequence=st.just("") | _TEXT,
    usage=st.just("") | _TEXT,
    identity=st.just("") | _TEXT,
    parents=st.lists(_TEXT, max_size=2).map(tuple),
    attributes=st.dictionaries(_TEXT, st.just("") | _TEXT, max_size=3),
    landmarks=st.lists(st.tuples(_NUMBER, _NUMBER), max_size=3).map(tuple),
    failure=st.just("") | _TEXT,
    width=st.integers(1, 9),
    height=st.integers(1, 9),
)


@pytest.mark.parametrize("fmt", FORMAT_NAMES)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(samples=st.lists(_SAMPLES, min_size=1, max_size=4, unique_by=lambda s: s.id))
def test_any_sample_survives(tmp_path_factory, fmt, samples):
    """Whatever a sample says, all three formats give it back."""
    items = [Item(s, _png(k)) for k, s in enumerate(samples)]
    folder = tmp_path_factory.mktemp("any") / "out"
    export(iter(items), folder, format=fmt)
    found, _ = _back(folder, fmt)
    assert Manifest.of(i.sample for i in found).samples == _digested(items).samples


def test_class_folders_and_readable_names(tmp_path):
    """The format folder is one folder a class; names are safe and say what they are."""
    export(iter([_full(0), _bare(1)]), tmp_path / "out")
    images = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.png"))
    assert [p.parts[0] for p in images] == ["anger", "unlabelled"]
    safe = set(string.ascii_letters + string.digits + "_-.")
    assert all(set(p.name) <= safe for p in images)
    assert "made_1" in images[1].name


def test_folders_are_read_without_the_manifest_too(tmp_path):
    """Labels come from the class folders when the manifest is deleted."""
    export(iter([_full(k) for k in range(8)]), tmp_path / "out")
    (tmp_path / "out" / "manifest.csv").unlink()
    found = list(read("folder", tmp_path / "out").items)
    assert [i.sample.expression for i in found] == [
        ALIASES[i.sample.file.split("/")[0]] for i in found
    ]
    assert len(found) == 8


def test_ids_that_look_alike_stay_apart(tmp_path):
    """Names that differ only in case or in what a file system refuses do not meet."""
    items = [Item(Sample(id=i, source="s"), _png(k)) for k, i in enumerate(("s/A", "s/a", "s.a"))]
    assert export(iter(items), tmp_path / "out", format="csv") == 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_pandas_reads_the_parquet_files(tmp_path):
    """The image's bytes and the labels are ordinary columns."""
    export(iter([_full(0), _bare(1)]), tmp_path / "out", format="parquet")
    table = pd.read_parquet(tmp_path / "out" / "part-00000.parquet")
    assert table["image"][0]["bytes"] == _png(0)
    assert table["expression"].tolist()[0] == "anger"
    assert json.loads(table["attributes"][0])["age"] == "3,5"


def test_a_failed_export_leaves_nothing(tmp_path):
    """An error half way leaves neither the folder nor a part of it."""

    def failing():
        yield _bare(1)
        raise RuntimeError("interrupted")

    for fmt in FORMAT_NAMES:
        with pytest.raises(RuntimeError):
            export(failing(), tmp_path / "out", format=fmt)
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path):
    """An existing folder, nothing to write, an unknown format, bytes that are no image."""
    (tmp_path / "there").mkdir()
    with pytest.raises(AlreadyExists):
        export(iter([_bare(1)]), tmp_path / "there")
    with pytest.raises(Invalid) as nothing:
        export(iter([]), tmp_path / "out")
    assert nothing.value.reason == "NOTHING_TO_EXPORT"
    with pytest.raises(Invalid) as unknown:
        export(iter([_bare(1)]), tmp_path / "out", format="zip")
    assert unknown.value.reason == "UNKNOWN_FORMAT"
    with pytest.raises(Invalid) as bad:
        export(iter([Item(_bare(1).sample, b"nothing")]), tmp_path / "out")
    assert bad.value.reason == "UNSUPPORTED_FORMAT"
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_no_permission(tmp_path, monkeypatch):
    """A place that cannot be written to is said to be so."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("mien.datasets.export.tempfile.mkdtemp", refuse)
    with pytest.raises(Forbidden):
        export(iter([_bare(1)]), tmp_path / "out")


@pytest.mark.parametrize("fmt", FORMAT_NAMES)
def test_a_full_disk(tmp_path, monkeypatch, fmt):
    """A full disk is said to be so, and what was written is taken away."""

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mien.datasets.export.pq.write_table", refuse)
    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(Exhausted) as caught:
        export(iter([_bare(1)]), tmp_path / "out", format=fmt)
    assert caught.value.reason == "DISK_FULL"
    assert list(tmp_path.iterdir()) == []


def test_our_dataset_versions_are_read_back_identically(tmp_path):
    """The reader parquet reads a version's shards: same manifest, same licences."""
    items = [_full(0), _bare(1), _full(2)]
    info = write_version(
        iter(items),
        tmp_path / "version",
        name="v",
        provenance=Provenance("test"),
        licences=LICENCES,
        shard_rows=2,
    )
    found, reading = _back(tmp_path / "version", "parquet")
    assert Manifest.of(i.sample for i in found).digest == info.digest
    assert dict(reading.licences) == LICENCES
