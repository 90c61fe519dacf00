"""Reading versions: what is handed out is what was written, or an error names what is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.core.digest import digest_of
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.sample import Item
from mien.registry.read import open_version

FILES = ("version.json", "manifest.parquet", "shards/00000.parquet", "shards/00002.parquet")


def read_all(folder: Path) -> list[Item]:
    return list(open_version(folder).items())


def rewrite(folder: Path, **changes: Any) -> None:
    """Change version.json and make its checksum fit: a forger's, not an accident's, work."""
    path = folder / "version.json"
    plain = {**json.loads(path.read_text()), **changes}
    plain.pop("checksum")
    path.write_text(json.dumps({**plain, "checksum": digest_of(plain)}))


def test_some_items_by_id(version, make_items):
    """In manifest order, each once, whatever the order and repetition of the ids."""
    ids = ["lab/0031", "lab/0002", "lab/0031", "lab/0017"]
    wanted = {i.sample.id: i.image for i in make_items(40)}
    found = list(version.items(ids))
    assert [i.sample.id for i in found] == ["lab/0002", "lab/0017", "lab/0031"]
    assert all(wanted[i.sample.id] == i.image for i in found)
    assert list(version.images(ids)) == [i.image for i in found]
    assert list(version.items([])) == []


def test_unknown_ids_are_named(version):
    """Before anything is read."""
    with pytest.raises(NotFound) as caught:
        next(version.items(["lab/0001", "lab/9999", "lab/9998"]))
    assert caught.value.reason == "UNKNOWN_SAMPLE"
    assert "lab/9998" in caught.value.message


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_region_is_noticed(version, file):
    """A wrong byte at the start, the end, and every few bytes between: verify says so."""
    path = version.folder / file
    whole = path.read_bytes()
    places = {*range(0, len(whole), max(1, len(whole) // 60)), 0, 4, len(whole) - 1, len(whole) - 8}
    for place in sorted(places):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises((Corrupt, Invalid)) as caught:
            open_version(version.folder).verify()
        assert str(path.name) in caught.value.message, place
        assert caught.value.hint
    path.write_bytes(whole)
    open_version(version.folder).verify()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(file=st.sampled_from(FILES), at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_wrong_byte_never_comes_out(version, file, at, flip):
    """Streaming raises, or hands out exactly what was written (the byte was not part of it)."""
    path = version.folder / file
    whole = path.read_bytes()
    good = [(i.sample, i.image) for i in version.items()]
    place = int(at * len(whole))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
    try:
        assert [(i.sample, i.image) for i in open_version(version.folder).items()] == good
    except (Corrupt, Invalid):
        pass  # noticed, which is as good
    finally:
        path.write_bytes(whole)


def test_a_wrong_byte_of_an_image_names_item_and_shard(version):
    """And the items before it are still handed out."""
    place = version._places[20]
    path = version.folder / "shards" / place[0]
    data = bytearray(path.read_bytes())
    data[place[2] + place[3] // 2] ^= 1
    path.write_bytes(data)
    stream = open_version(version.folder).items()
    assert [next(stream).sample.id for _ in range(20)][-1] == "lab/0019"
    with pytest.raises(Corrupt) as caught:
        next(stream)
    assert caught.value.reason == "CORRUPT_ITEM"
    assert caught.value.details == {"item": "lab/0020"}
    assert "lab/0020" in caught.value.message
    assert "00001.parquet" in caught.value.message


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_noticed_while_streaming(version, file, part):
    """Cut anywhere, down to nothing."""
    path = version.folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(Corrupt) as caught:
        read_all(version.folder)
    assert path.name in caught.value.message


@pytest.mark.parametrize("file", FILES[1:])
def test_a_missing_file_is_noticed_while_streaming(version, file):
    """Named, with what to do."""
    (version.folder / file).unlink()
    with pytest.raises(Corrupt, match="is missing") as caught:
        read_all(version.folder)
    assert file.rpartition("/")[2] in caught.value.message


def test_no_version_there(tmp_path):
    """A missing folder, an empty one, and a file are not versions."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("missing", "empty", "file"):
        with pytest.raises(NotFound) as caught:
            open_version(tmp_path / name)
        assert caught.value.reason == "VERSION_MISSING"


def test_a_newer_format_is_refused(version):
    """With what to do, not a guess."""
    rewrite(version.folder, schema=2)
    with pytest.raises(Invalid) as caught:
        open_version(version.folder)
    assert caught.value.reason == "VERSION_SCHEMA"


@pytest.mark.parametrize(
    "name", ["../secret.parquet", "/etc/passwd", "..", "a/../b.parquet", "x", "", "00000.parquet\n"]
)
def test_hostile_shard_names_are_refused(version, name):
    """Even with a checksum that fits, nothing outside the version is opened."""
    rewrite(version.folder, shards={name: "0" * 64})
    with pytest.raises(Corrupt) as caught:
        open_version(version.folder)
    assert caught.value.reason == "VERSION_FILE"


@pytest.mark.parametrize("changes", [{"provenance": 3}, {"licences": []}, {"rows": 41}, {"x": 1}])
def test_forged_fields_are_refused(version, changes):
    """Wrong types, unknown fields, and counts that do not fit the manifest."""
    rewrite(version.folder, **changes)
    with pytest.raises(Corrupt):
        read_all(version.folder)


def test_a_forged_manifest_does_not_pass_under_the_old_digest(version, write, make_items, tmp_path):
    """The version's digest is recomputed from the rows, not believed."""
    write(make_items(40, seed=5), "other")
    shutil.copy(tmp_path / "other" / "manifest.parquet", version.folder / "manifest.parquet")
    other = json.loads((tmp_path / "other" / "version.json").read_text())
    rewrite(version.folder, manifest=other["manifest"])
    with pytest.raises(Corrupt) as caught:
        read_all(version.folder)
    assert caught.value.reason == "CORRUPT_MANIFEST"


@pytest.mark.parametrize("file", FILES)
def test_links_are_refused(version, tmp_path, file):
    """A link may lead anywhere; a version holds plain files."""
    path = version.folder / file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt, match="link"):
        read_all(version.folder)


def test_a_linked_shards_folder_is_refused(version, tmp_path):
    """As a linked file is."""
    (version.folder / "shards").rename(tmp_path / "elsewhere")
    (version.folder / "shards").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt, match="link"):
        read_all(version.folder)


def test_something_that_is_no_file_is_refused(version):
    """A pipe would wait for ever."""
    path = version.folder / "shards" / "00001.parquet"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Corrupt, match="no file"):
        read_all(version.folder)


def test_a_stream_left_early_closes_its_files(version):
    """No descriptor stays open."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    stream = version.items()
    next(stream)
    stream.close()
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    assert after == before


def test_many_shards_need_few_open_files(write, make_items, tmp_path):
    """More shards than may be open at once, in an order that jumps between them."""
    items = make_items(150)
    jumping = [items[i] for i in sorted(range(150), key=lambda i: i % 7)]
    write(jumping, "many", shard_rows=1)
    version = open_version(tmp_path / "many")
    assert [i.image for i in version.items()] == [i.image for i in items]
