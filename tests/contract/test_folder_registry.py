"""What the registry in a folder promises besides: processes share it, damage is named."""

from __future__ import annotations

import multiprocessing

import pytest
from filelock import FileLock

from mien.core.errors import Conflict, Corrupt
from mien.registry import name_index
from mien.registry.folder_registry import FolderRegistry
from tests.contract.registry_faces import create, faces


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
