"""Writing versions."""

from __future__ import annotations

import json
import logging
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mien.core.digest import digest_bytes, digest_file
from mien.core.errors import AlreadyExists, Invalid
from mien.core.expression import Expression
from mien.core.manifest import Licence, Manifest, Provenance
from mien.core.sample import Item, Sample
from mien.registry import shards
from mien.registry.read import open_version


def test_items_come_back_sorted_with_their_digests(write, make_items, tmp_path):
    """Arrival in any order; the manifest is by id, each row has its image's digest."""
    items = make_items(40)
    shuffled = random.Random(1).sample(items, len(items))
    info = write(shuffled, shard_rows=16)
    back = list(open_version(tmp_path / "faces").items())
    assert [i.image for i in back] == [i.image for i in items]
    assert [i.sample for i in back] == [
        replace(i.sample, digest=digest_bytes(i.image)) for i in items
    ]
    assert info.rows == 40
    assert list(info.shards) == ["00000.parquet", "00001.parquet", "00002.parquet"]


def test_the_digest_is_the_contents_whatever_the_order_or_shards(write, make_items):
    """Same content, same digest; one changed label, another digest."""
    items = make_items(30)
    info = write(items, "a")
    assert write(items[::-1], "b", shard_rows=7).digest == info.digest
    wrong = replace(items[3].sample, expression=Expression.ANGER)
    changed = [*items[:3], Item(wrong, items[3].image), *items[4:]]
    assert write(changed, "c").digest != info.digest


def test_the_digest_is_the_manifests(write, make_items, tmp_path):
    """Anybody can recompute it from the samples."""
    info = write(make_items(5))
    assert info.digest == Manifest.of(open_version(tmp_path / "faces").manifest).digest


def test_the_folder_holds_only_what_version_json_names(version, tmp_path):
    """And nothing is left beside it."""
    files = {str(p.relative_to(version.folder)) for p in version.folder.rglob("*") if p.is_file()}
    plain = json.loads((version.folder / "version.json").read_text())
    assert files == {"version.json", "manifest.parquet"} | {f"shards/{s}" for s in plain["shards"]}
    for shard, digest in plain["shards"].items():
        assert digest_file(version.folder / "shards" / shard) == digest
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_the_manifest_says_where_each_image_lies(version):
    """Shard, row, offset and size are true, as any other tool can check."""
    table = pq.read_table(version.folder / "manifest.parquet").to_pylist()
    assert [row["id"] for row in table] == sorted(row["id"] for row in table)
    for row in table:
        path = version.folder / "shards" / row["shard"]
        there = pq.read_table(path).slice(row["row"], 1).to_pylist()[0]
        assert there["id"] == row["id"]
        data = path.read_bytes()[row["offset"] : row["offset"] + row["size"]]
        assert data == there["image"]["bytes"]
        assert digest_bytes(data) == row["digest"]


@pytest.mark.parametrize("shard_rows", [1, 2, 7, 1024, 1025, 3000])
def test_any_shard_size(write, tmp_path, shard_rows):
    """Shards never exceed it; sizes around a row group's too; images from one byte up."""
    items = [
        Item(Sample(id=f"a/{i:05d}", source="a"), b"\x01" * (1 + i % 5) + i.to_bytes(3, "big"))
        for i in range(2100 if shard_rows > 100 else 15)
    ]
    info = write(items, shard_rows=shard_rows)
    rows = [
        pq.read_metadata(tmp_path / "faces" / "shards" / shard).num_rows for shard in info.shards
    ]
    assert max(rows) <= shard_rows
    assert sum(rows) == len(items)
    version = open_version(tmp_path / "faces")
    assert list(version.images()) == [i.image for i in items]


def test_memory_stays_bounded(write, tmp_path, monkeypatch):
    """Of many large images, one row group is held at a time, and shards end by size too."""
    monkeypatch.setattr(shards, "GROUP_BYTES", 2 << 20)
    monkeypatch.setattr(shards, "SHARD_BYTES", 8 << 20)

    def large() -> Iterator[Item]:
        for i in range(48):
            yield Item(Sample(id=f"a/{i:03d}", source="a"), bytes([i]) * (1 << 20))

    tracemalloc.start()
    try:
        info = write(large())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    assert len(info.shards) == 6
    open_version(tmp_path / "faces").verify()


def test_an_empty_version_is_a_version(write, tmp_path):
    """No items: no shards, zero rows, readable."""
    info = write([])
    version = open_version(tmp_path / "faces")
    assert (info.rows, dict(info.shards), list(version.items())) == (0, {}, [])
    version.verify()


def test_what_is_returned_is_what_is_read_back(write, make_items, tmp_path):
    """Provenance as plain JSON values, licences, consent: equal after reading."""
    params: dict[Any, Any] = {"sizes": (1, 2), "label": Expression.FEAR, 3: None}
    info = write(
        make_items(3),
        provenance=Provenance("reader:x", params),
        licences={"lab": Licence("CC0-1.0", None, "é", "")},
    )
    assert open_version(tmp_path / "faces").info == info
    assert info.provenance.params == {"sizes": [1, 2], "label": "fear", "3": None}


def test_provenance_that_is_not_plain_is_refused(write, make_items, tmp_path):
    """An object that JSON does not know would not come back."""
    with pytest.raises(Invalid) as caught:
        write(make_items(1), provenance=Provenance("x", {"root": Path()}))
    assert caught.value.reason == "PROVENANCE_NOT_PLAIN"
    assert list(tmp_path.iterdir()) == []


def test_the_same_content_again_changes_nothing(write, make_items, tmp_path):
    """Not one byte, nor a time stamp; the version there is returned."""
    first = write(make_items(20))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert write(make_items(20)[::-1], shard_rows=3, provenance=Provenance("other")) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_the_same_content_heals_a_damaged_version(write, make_items, tmp_path, caplog):
    """Written again, it is whole again, and the log says so."""
    info = write(make_items(20))
    shard = tmp_path / "faces" / "shards" / "00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        write(make_items(20))
    assert "written anew" in caplog.text
    version = open_version(tmp_path / "faces")
    version.verify()
    assert version.info == info


def test_other_content_is_refused_without_replace(write, make_items, tmp_path):
    """Versions are immutable."""
    first = write(make_items(20))
    with pytest.raises(AlreadyExists) as caught:
        write(make_items(20, seed=1))
    assert caught.value.reason == "VERSION_EXISTS"
    assert open_version(tmp_path / "faces").info == first
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_other_licences_for_the_same_content_are_refused(write, make_items):
    """Rights are not lost by writing the images again."""
    write(make_items(3))
    with pytest.raises(AlreadyExists) as caught:
        write(make_items(3), licences={"lab": Licence("CC0-1.0", True)})
    assert caught.value.reason == "OTHER_LICENCES"


def test_replace_takes_the_place_of_another_version(write, make_items, tmp_path):
    """A stage overwrites its own output; nothing of the old one stays."""
    write(make_items(40), shard_rows=5)
    info = write(make_items(3, seed=1), replace=True)
    version = open_version(tmp_path / "faces")
    version.verify()
    assert version.info == info
    assert len(list((tmp_path / "faces" / "shards").iterdir())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_replace_never_removes_a_folder_that_is_no_version(write, make_items, tmp_path):
    """A wrong path does not cost anybody a folder."""
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "thesis.tex").write_text("years")
    for replace_it in (False, True):
        with pytest.raises(AlreadyExists):
            write(make_items(3), replace=replace_it)
    assert (tmp_path / "faces" / "thesis.tex").read_text() == "years"


def test_an_empty_folder_is_no_obstacle(write, make_items, tmp_path):
    """It holds nothing that could be lost."""
    (tmp_path / "faces").mkdir()
    write(make_items(3))
    open_version(tmp_path / "faces").verify()


def test_the_same_id_twice_is_refused_at_once(write, make_items, tmp_path):
    """The message names the id and both files; nothing is left."""
    items = make_items(3)
    twin = Item(replace(items[1].sample, file="other.png"), items[2].image)
    with pytest.raises(Invalid) as caught:
        write([*items, twin])
    assert caught.value.reason == "DUPLICATE_ID"
    assert "lab/0001" in caught.value.message
    assert "other.png" in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", [{"expression": Expression.FEAR}, {"subject": "lab:999"}, {"valence": -1.0}]
)
def test_one_image_under_two_labels(write, make_items, caplog, change):
    """An error naming both; a warning, or nothing, where that is asked for."""
    items = make_items(2)
    twin = Item(replace(items[0].sample, id="lab/twin", **change), items[0].image)
    with pytest.raises(Invalid) as caught:
        write([*items, twin])
    assert caught.value.reason == "DUPLICATE_IMAGE"
    assert "lab/0000" in caught.value.message
    assert "lab/twin" in caught.value.message
    with caplog.at_level(logging.WARNING):
        assert write([*items, twin], "kept", duplicates="keep").rows == 3
        assert caplog.text == ""
        assert write([*items, twin], "warned", duplicates="warn").rows == 3
    assert "1 images have several labels" in caplog.text


def test_one_image_twice_under_one_label_is_kept_and_counted(write, make_items, caplog):
    """Harmless within a subject, worth knowing."""
    items = make_items(2)
    twin = Item(replace(items[0].sample, id="lab/twin", file="copy.png"), items[0].image)
    with caplog.at_level(logging.WARNING):
        assert write([*items, twin]).rows == 3
    assert "1 images are there more than once" in caplog.text


def test_one_enormous_image_is_refused(write, make_items, monkeypatch):
    """A row group could not hold it."""
    monkeypatch.setattr(shards, "MAX_IMAGE_BYTES", 50)
    with pytest.raises(Invalid) as caught:
        write(make_items(1))
    assert caught.value.reason == "IMAGE_TOO_LARGE"


def test_images_without_bytes_or_with_another_digest_are_refused(write, make_items, tmp_path):
    """Both would make a version that lies."""
    sample = make_items(1)[0].sample
    for item, reason in (
        (Item(sample, b""), "EMPTY_IMAGE"),
        (Item(replace(sample, digest="0" * 64), b"x"), "DIGEST_MISMATCH"),
    ):
        with pytest.raises(Invalid) as caught:
            write([item])
        assert caught.value.reason == reason
        assert sample.id in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_passes_unchanged(write, make_items, tmp_path):
    """A file of the database that cannot be read is not this folder's fault; nothing is left."""

    def broken() -> Iterator[Item]:
        yield from make_items(20)
        raise PermissionError(13, "Permission denied", "database/17.png")

    with pytest.raises(PermissionError, match=r"17\.png"):
        write(broken(), shard_rows=8)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_has_at_least_one_row(write):
    """Zero would never end."""
    with pytest.raises(Invalid):
        write([], shard_rows=0)
