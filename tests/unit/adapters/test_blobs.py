"""Versions in an object store: cached, healed, packed twice, out of reach."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import pytest

from mien.adapters.catalogue.blobs import FolderBlobs, RemoteBlobs, open_blobs
from mien.adapters.catalogue.registry import open_registry
from mien.core.errors import AlreadyExists, Corrupt, Exhausted, Invalid, Unavailable
from mien.core.manifest import Licence, Provenance
from mien.core.sample import Item, Sample
from mien.registry.staging import is_left, move_in, staged

_NUMBERS = itertools.count()


def items(count: int) -> list[Item]:
    return [Item(Sample(id=f"a/{i}", source="a"), b"image %d" % i * 20) for i in range(count)]


@pytest.fixture
def url():
    return f"memory://blobs-{next(_NUMBERS)}"


@pytest.fixture
def registry(tmp_path, url):
    return open_registry("", url, tmp_path)


def create(registry, given, name="n"):
    return registry.create(name, given, provenance=Provenance("t"), licences={})


def stored(url: str) -> list[str]:
    import fsspec

    return sorted(fsspec.filesystem("memory").find(url.removeprefix("memory:/")))


def test_an_address_chooses(tmp_path):
    """A folder for paths and file://, fsspec for the rest; nonsense is refused."""
    assert isinstance(open_blobs(str(tmp_path), tmp_path), FolderBlobs)
    assert isinstance(open_blobs(f"file://{tmp_path}", tmp_path), FolderBlobs)
    assert isinstance(open_blobs("memory://x", tmp_path), RemoteBlobs)
    with pytest.raises(Invalid) as caught:
        open_blobs("nosuch://x", tmp_path)
    assert caught.value.reason == "BLOBS_URL"


def test_a_version_is_its_files_and_nothing_else(registry, url, tmp_path):
    """The bytes a folder would hold; nothing stays in the scratch folder but what was read."""
    info = create(registry, items(5))
    names = [Path(p).name for p in stored(url)]
    assert sorted(names) == ["00000.parquet", "manifest.parquet", "version.json"]
    assert all(f"/versions/{info.digest}/" in p for p in stored(url))
    assert [p for p in (tmp_path / "scratch").rglob("*") if p.is_file()] == []
    assert len(list(registry.items("n"))) == 5
    assert {p.name for p in (tmp_path / "scratch").rglob("*") if p.is_file()} == set(names)


def test_one_content_in_two_packings_stays_one_version(registry, url):
    """In another order of arrival the shards differ; what is there and whole stays."""
    first = create(registry, items(5))
    before = stored(url)
    assert create(registry, items(5)[::-1]) == first
    assert stored(url) == before


def test_damage_in_the_cache_heals(registry, tmp_path):
    """It is said once, by item; the next reader has the store's bytes."""
    create(registry, items(5))
    assert len(list(registry.items("n"))) == 5
    shard = next((tmp_path / "scratch" / "cache").rglob("00000.parquet"))
    shard.write_bytes(shard.read_bytes().replace(b"image 3", b"imagE 3"))
    assert registry.verify("n").damage == ()  # the store's own bytes are right
    with pytest.raises(Corrupt) as caught:
        list(registry.items("n"))
    assert caught.value.details == {"item": "a/3"}
    assert len(list(registry.items("n"))) == 5


def test_a_file_that_is_gone_is_said_and_made_again(registry, url):
    """By reader and inspection; the same content again repairs it."""
    import fsspec

    create(registry, items(5))
    shard = next(p for p in stored(url) if p.endswith("00000.parquet"))
    fsspec.filesystem("memory").rm_file(shard)
    with pytest.raises(Corrupt) as caught:
        list(registry.items("n"))
    assert caught.value.reason == "CORRUPT_SHARD"
    assert registry.verify("n").items_right == 0
    assert len(registry.verify("n").damage) == 1
    create(registry, items(5))
    assert registry.verify("n").items_right == 5
    assert len(list(registry.items("n"))) == 5


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ConnectionError("gone"), Unavailable, "BLOBS_UNAVAILABLE"),
        (OSError(errno.ENOSPC, "full"), Exhausted, "DISK_FULL"),
    ],
)
def test_a_store_that_refuses_makes_no_version(registry, monkeypatch, error, kind, reason):
    """At any of its files; tried again it works, and nothing is left here."""
    store = registry._blobs._store
    real = store.put_file
    for fails_at in range(3):
        calls = []

        def put(*args, _at=fails_at, _calls=calls, **named):
            _calls.append(args)
            if len(_calls) == _at + 1:
                raise error
            return real(*args, **named)

        monkeypatch.setattr(store, "put_file", put)
        with pytest.raises(kind) as caught:
            create(registry, items(5))
        assert caught.value.reason == reason
        assert list(registry.versions()) == []
        monkeypatch.setattr(store, "put_file", real)
    assert create(registry, items(5)).rows == 5
    assert registry.verify("n").damage == ()


def test_what_nobody_ever_saw_binds_nobody(tmp_path, monkeypatch):
    """Moved in, then the database was away: the same content may come with other licences."""
    registry = open_registry("", "", tmp_path)
    record = registry._catalogue.record

    def away(*_args):
        raise Unavailable("DATABASE_UNAVAILABLE", "away", hint="wait")

    monkeypatch.setattr(registry._catalogue, "record", away)
    with pytest.raises(Unavailable):
        create(registry, items(5))
    monkeypatch.setattr(registry._catalogue, "record", record)
    free = {"a": Licence("CC0-1.0", True)}
    info = registry.create("n", items(5), provenance=Provenance("t"), licences=free)
    assert info.licences == free
    assert registry.verify("n").damage == ()
    with pytest.raises(AlreadyExists) as caught:
        create(registry, items(5))  # now somebody may have seen it
    assert caught.value.reason == "OTHER_LICENCES"


def test_a_folder_that_is_being_published_is_not_left(tmp_path):
    """Its writer's lock goes with it to its place, and ends with the writer's work."""
    place = tmp_path / "place"
    with staged(tmp_path / "new") as temporary:
        (temporary / "version.json").write_text("{}")
        assert move_in(temporary, place, replace=False)
        assert not is_left(place)
    assert is_left(place)
    assert not is_left(tmp_path / "nothing")


def test_a_damaged_version_file_is_repaired_by_the_same_content(tmp_path):
    """Its folder holds nothing that can be named; the place says what it must be."""
    registry = open_registry("", "", tmp_path)
    info = create(registry, items(5))
    file = tmp_path / "blobs" / "versions" / info.digest / "version.json"
    file.write_text("{")
    with pytest.raises(Corrupt):
        list(registry.items("n"))
    assert len(registry.verify("n").damage) == 1
    assert create(registry, items(5)) == info
    assert registry.verify("n").damage == ()
    assert len(list(registry.items("n"))) == 5
