"""What every ``Registry`` does, whichever it is."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mien.adapters.catalogue_registry import open_registry
from mien.core.digest import digest_bytes
from mien.core.errors import AlreadyExists, Conflict, Corrupt, Invalid, NotFound
from mien.core.manifest import Licence, Manifest, Provenance, VersionInfo
from mien.core.ports import Registry
from mien.core.sample import Item, Sample
from mien.registry import name_index
from mien.registry.folder_registry import FolderRegistry
from tests.contract.stores import bucket_url, object_store, postgres, postgres_url
from tests.contract.wired import registry_service

Opener = Callable[[], Registry]
# An implementation adds itself here: name → given a folder and the test's request, what opens a
# registry over one store again and again.
REGISTRIES: dict[str, Callable[[Path, pytest.FixtureRequest], Opener]] = {
    "folder": lambda folder, _: lambda: FolderRegistry(folder),
    "sqlite": lambda folder, _: lambda: open_registry("", "", folder),
    "postgres": lambda folder, request: _on_postgres(folder, request),
    "s3": lambda folder, request: _on_s3(folder, request),
    "wire": registry_service,
}
MADE = Provenance("contract", {"seed": 3}, {"source": "f" * 64}, code="0", device="cpu")
FREE = {"a": Licence("CC0-1.0", True, "no person is shown", "")}


def faces(count: int, mark: int = 0) -> list[Item]:
    return [
        Item(
            Sample(id=f"a/{i:03d}", source="a", subject=f"a:{i // 2}", attributes={"age": "é"}),
            b"image %d of %d" % (i, mark),
        )
        for i in range(count)
    ]


@pytest.fixture(params=list(REGISTRIES))
def make(request, tmp_path):
    """Open the registry under test again and again, over the same store."""
    return REGISTRIES[request.param](tmp_path / "store", request)


@pytest.fixture(scope="module")
def postgres_socket():
    with postgres() as socket:
        yield socket


@pytest.fixture(scope="module")
def s3_server():
    with object_store() as where:
        yield where


def _on_postgres(folder: Path, request: pytest.FixtureRequest) -> Opener:
    url = postgres_url(request.getfixturevalue("postgres_socket"))
    return lambda: open_registry(url, "", folder)


def _on_s3(folder: Path, request: pytest.FixtureRequest) -> Opener:
    request.getfixturevalue("s3_server")
    url = bucket_url()
    return lambda: open_registry("", url, folder)


def create(registry: Registry, name: str, items: Iterable[Item], **changes: Any) -> VersionInfo:
    plain: dict[str, Any] = {"provenance": MADE, "licences": FREE, **changes}
    return registry.create(name, items, **plain)


def test_what_is_created_is_found_by_name_and_digest(make):
    """With provenance and licences, also by another client."""
    info = create(make(), "faces", faces(10))
    assert (info.name, info.rows, info.provenance, info.licences) == ("faces", 10, MADE, FREE)
    assert make().get("faces") == info
    assert make().get(info.digest) == info


def test_items_come_back_in_manifest_order_with_digests(make):
    """Whatever the order they were given in."""
    create(make(), "faces", faces(10)[::-1])
    back = list(make().items("faces"))
    assert back == [
        Item(replace(i.sample, digest=digest_bytes(i.image)), i.image) for i in faces(10)
    ]


def test_the_digest_names_the_content(make):
    """It is the manifest's, everywhere the same."""
    info = create(make(), "faces", faces(10))
    assert info.digest == Manifest.of(i.sample for i in make().items("faces")).digest


def test_the_same_content_is_the_same_version(make):
    """Under its name nothing is added; under another name it is found there too."""
    registry = make()
    first = create(registry, "faces", faces(10))
    assert create(registry, "faces", faces(10)[::-1]) == first
    assert len(registry.versions()) == 1
    again = create(registry, "copy", faces(10))
    assert again == replace(first, name="copy")
    assert registry.get("copy").digest == registry.get("faces").digest
    assert [v.name for v in registry.versions()] == ["faces", "copy"]


def test_a_name_means_its_latest_version(make):
    """Older ones stay, in order, and are found by digest."""
    registry = make()
    made = [create(registry, "faces", faces(5, mark)) for mark in range(3)]
    create(registry, "other", faces(2))
    assert registry.get("faces") == made[2]
    assert list(registry.versions("faces")) == made
    assert registry.get(made[0].digest) == made[0]
    assert next(iter(registry.items(made[0].digest))).image == b"image 0 of 0"
    back = create(registry, "faces", faces(5, 0))  # back to the first
    assert registry.get("faces") == back == made[0]


def test_unknown_references_are_not_found(make):
    """Name or digest, in an empty registry or not."""
    registry = make()
    assert list(registry.versions()) == []
    for prepare in (lambda: None, lambda: create(registry, "faces", faces(1))):
        prepare()
        for reference in ("nothing", "0" * 64, "../faces", ""):
            with pytest.raises(NotFound) as caught:
                registry.get(reference)
            assert caught.value.reason == "UNKNOWN_VERSION"
            with pytest.raises(NotFound):
                list(registry.items(reference))
    assert list(registry.versions("nothing")) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "0" * 64, "é"])
def test_names_are_plain(make, name):
    """A name is no path and no digest."""
    with pytest.raises(Invalid) as caught:
        create(make(), name, faces(1))
    assert caught.value.reason == "VERSION_NAME"
    assert list(make().versions()) == []


def test_bad_items_create_nothing(make):
    """Duplicate ids, one image under two subjects, a source that breaks half-way."""
    registry = make()
    twin = Item(replace(faces(1)[0].sample, id="a/twin", subject="a:9"), faces(1)[0].image)

    def breaking() -> Iterator[Item]:
        yield from faces(5)
        raise RuntimeError("the source broke")

    for items, error in (
        ([*faces(3), faces(1)[0]], Invalid),
        ([*faces(3), twin], Invalid),
        (breaking(), RuntimeError),
    ):
        with pytest.raises(error):
            create(registry, "faces", items)
    assert list(registry.versions()) == []
    with pytest.raises(NotFound):
        registry.get("faces")


def test_rights_are_not_changed_by_writing_again(make):
    """The same content under other licences is refused."""
    create(make(), "faces", faces(3))
    with pytest.raises(AlreadyExists):
        create(make(), "faces", faces(3), licences={"a": Licence("other", True)})


def test_many_threads_at_once(make):
    """Eight writers, four of them of the same content: every name found, nothing lost."""
    registry, failures = make(), []

    def work(number):
        try:
            create(registry, f"n{number}", faces(40, number % 5))
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(v.name for v in registry.versions()) == [f"n{n}" for n in range(8)]
    assert len({v.digest for v in registry.versions()}) == 5
    for n in range(8):
        assert len(list(registry.items(f"n{n}"))) == 40


def _create_in_process(root, number):
    registry = FolderRegistry(root)
    for round_number in range(2):
        create(registry, f"p{number}-{round_number}", faces(20, number % 2))


def test_many_processes_share_a_folder(tmp_path):
    """The folder registry's own promise: the index keeps every line."""
    context = multiprocessing.get_context("spawn")
    root = tmp_path / "store"
    workers = [context.Process(target=_create_in_process, args=(root, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0] * 3
    registry = FolderRegistry(root)
    assert len(registry.versions()) == 6
    assert len(list((root / "versions").iterdir())) == 2
    assert sorted(p.name for p in root.iterdir()) == [".lock", "names.jsonl", "versions"]


def test_a_locked_index_is_a_conflict(tmp_path, monkeypatch):
    """Another process that never lets go: said, and tried again later it works."""
    monkeypatch.setattr(name_index, "_LOCK_TIMEOUT_S", 0.05)
    registry = FolderRegistry(tmp_path)
    create(registry, "one", faces(2))
    with FileLock(tmp_path / ".lock"), pytest.raises(Conflict) as caught:
        create(registry, "two", faces(3))
    assert caught.value.reason == "REGISTRY_LOCKED"
    assert [v.name for v in registry.versions()] == ["one"]
    create(registry, "two", faces(3))
    assert [v.name for v in registry.versions()] == ["one", "two"]


def test_damage_in_a_folder_is_named(tmp_path):
    """A wrong byte in an image, a swapped folder, a broken index."""
    root = tmp_path / "store"
    registry = FolderRegistry(root)
    one, two = create(registry, "one", faces(3)), create(registry, "two", faces(4))
    shard = root / "versions" / one.digest / "shards" / "00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole.replace(b"image 1", b"imagE 1"))
    with pytest.raises(Corrupt) as caught:
        list(registry.items("one"))
    assert caught.value.details == {"item": "a/001"}
    shard.write_bytes(whole)

    (root / "versions" / one.digest).rename(root / "aside")
    (root / "versions" / two.digest).rename(root / "versions" / one.digest)
    with pytest.raises(Corrupt):
        registry.get("one")

    for line in (b"{", b"[]\n", b'{"name": "x", "digest": "../../etc"}\n'):
        (root / "names.jsonl").write_bytes(line)
        with pytest.raises(Corrupt) as caught:
            registry.versions()
        assert caught.value.reason == "NAME_INDEX"
