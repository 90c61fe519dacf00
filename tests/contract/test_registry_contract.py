"""What every ``Registry`` does, whichever it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mien.adapters.catalogue.registry import open_registry
from mien.core.catalogue import ItemFilter, Verification
from mien.core.digest import digest_bytes
from mien.core.errors import AlreadyExists, Conflict, Corrupt, Invalid, NotFound
from mien.core.expression import Expression
from mien.core.manifest import Licence, Manifest, Provenance
from mien.core.ports import Registry
from mien.core.sample import Item
from mien.registry.folder_registry import FolderRegistry
from mien.registry.write import write_version
from tests.contract.registry_faces import FREE, MADE, at_once, create, faces, spoil
from tests.contract.stores import bucket_url, object_store, postgres, postgres_url
from tests.contract.wired import registry_service

Opener = Callable[[], Registry]
# An implementation adds itself here: name → given a folder and the test's request, what opens a
# registry over one store again and again.
REGISTRIES: dict[str, Callable[[Path, pytest.FixtureRequest], Opener]] = {
    "folder": lambda folder, _: lambda: FolderRegistry(folder),
    "sqlite": lambda folder, _: lambda: open_registry("", "", folder),
    "postgres": lambda folder, request: _on_postgres(folder, request),  # noqa: PLW0108
    "s3": lambda folder, request: _on_s3(folder, request),  # noqa: PLW0108
    "wire": registry_service,
}
ORIGINS = ("real", "synthetic")


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


def test_duplicates_are_kept_when_asked_for(make):
    """One image under two subjects: a pool may hold it."""
    twin = Item(replace(faces(1)[0].sample, id="a/twin", subject="a:9"), faces(1)[0].image)
    info = create(make(), "faces", [*faces(3), twin], keep_duplicates=True)
    assert [i.sample.id for i in make().items(info.digest)][-1] == "a/twin"


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


def test_a_filter_keeps_what_every_list_holds(make):
    """By label, subject, source, origin and id; nothing given keeps everything."""
    labels = [Expression.FEAR, Expression.ANGER, None]
    items = [
        Item(replace(item.sample, expression=labels[i % 3], origin=ORIGINS[i % 2]), item.image)
        for i, item in enumerate(faces(12))
    ]
    registry = make()
    create(registry, "faces", items)

    def kept(**lists: Any) -> list[int]:
        return [int(i.sample.id[2:]) for i in registry.items("faces", ItemFilter(**lists))]

    fear = frozenset({Expression.FEAR})
    assert kept() == list(range(12))
    assert kept(expressions=fear) == [0, 3, 6, 9]
    assert kept(expressions=fear | {Expression.ANGER}, origin="synthetic") == [1, 3, 7, 9]
    assert kept(subjects=frozenset({"a:0", "a:5"})) == [0, 1, 10, 11]
    assert kept(ids=frozenset({"a/004", "a/999"}), sources=frozenset({"a"})) == [4]
    assert kept(sources=frozenset({"b"})) == []


def test_history_comes_in_pages(make):
    """Numbered from 1 without gaps; a page starts behind any number."""
    registry = make()
    for number in range(5):
        create(registry, f"n{number % 2}", faces(2, number))
    entries = registry.history()
    assert [e.sequence for e in entries] == [1, 2, 3, 4, 5]
    assert [e.info for e in entries] == list(registry.versions())
    assert all(a.created <= b.created for a, b in pairwise(entries))
    assert [e.sequence for e in registry.history(after=2, limit=2)] == [3, 4]
    assert [e.sequence for e in registry.history("n0", after=1)] == [3, 5]
    assert registry.entry("n0") == entries[4]
    assert registry.entry(f"n0@{entries[0].info.digest}") == entries[0]


def test_a_repeated_request_answers_as_the_first_did(make):
    """Even when the name has moved on; with other content it is refused, and nothing changes."""
    registry = make()
    first = create(registry, "faces", faces(3), request_id="r-1")
    assert create(registry, "faces", faces(3), request_id="r-1") == first
    second = create(registry, "faces", faces(4), request_id="r-2")
    assert create(make(), "faces", faces(3), request_id="r-1") == first
    assert create(registry, "faces", faces(4), request_id="r-3") == second
    assert [v.digest for v in registry.versions()] == [first.digest, second.digest]
    for name, items in (("faces", faces(5)), ("other", faces(3))):
        with pytest.raises(AlreadyExists) as caught:
            create(registry, name, items, request_id="r-1")
        assert caught.value.reason == "REQUEST_ID_REUSED"
    assert len(registry.versions()) == 2
    assert registry.get("faces") == second
    with pytest.raises(Invalid) as wrong:
        create(registry, "faces", faces(5), request_id="a b")
    assert wrong.value.reason == "REQUEST_ID"


def test_an_alias_moves_by_compare_and_set(make):
    """Only from where the caller saw it; it is a reference like any other."""
    registry = make()
    old, new = (create(registry, "faces", faces(n)) for n in (2, 3))
    create(registry, "other", faces(4))
    alias = registry.set_alias("faces", "good", old.digest, expect="none")
    assert (alias.name, alias.alias, alias.digest) == ("faces", "good", old.digest)
    assert registry.get("faces@good") == old
    assert len(list(registry.items("faces@good"))) == 2
    for expect in ("none", new.digest):
        with pytest.raises(Conflict) as caught:
            registry.set_alias("faces", "good", "faces", expect=expect)
        assert caught.value.reason == "ALIAS_MOVED"
        assert caught.value.details["digest"] == old.digest
    registry.set_alias("faces", "good", "faces", expect=old.digest)
    assert make().get("faces@good") == new
    registry.set_alias("faces", "bad", "faces@good")
    assert [(a.alias, a.digest) for a in registry.aliases()] == [
        ("bad", new.digest),
        ("good", new.digest),
    ]
    assert [a.alias for a in registry.aliases("faces", after=("faces", "bad"))] == ["good"]
    assert list(registry.aliases("other")) == []
    registry.delete_alias("faces", "good")
    for reference in ("faces@good", "@bad", "faces@", "other@bad"):
        with pytest.raises(NotFound):
            registry.get(reference)


def test_wrong_aliases_are_refused(make):
    """What is no alias, of no such name, at a version of another name, or already gone."""
    registry = make()
    create(registry, "faces", faces(2))
    other = create(registry, "other", faces(3))
    for alias in ("", "Good", "a b", "0" * 64):
        with pytest.raises(Invalid) as wrong:
            registry.set_alias("faces", alias, "faces")
        assert wrong.value.reason == "ALIAS_NAME"
    for name, reference in (("nobody", "faces"), ("faces", "nobody"), ("faces", other.digest)):
        with pytest.raises(NotFound) as unknown:
            registry.set_alias(name, "good", reference)
        assert unknown.value.reason == "UNKNOWN_VERSION"
    with pytest.raises(NotFound) as gone:
        registry.delete_alias("faces", "good")
    assert gone.value.reason == "UNKNOWN_ALIAS"


def test_only_one_of_many_moves_an_alias(make):
    """Eight at once, all from the same state: one wins, seven are told."""
    registry = make()
    made = [create(registry, "faces", faces(2, mark)) for mark in range(9)]
    registry.set_alias("faces", "good", made[8].digest)
    outcomes: list[str] = []

    def move(number):
        try:
            registry.set_alias("faces", "good", made[number].digest, expect=made[8].digest)
            outcomes.append(made[number].digest)
        except Conflict:
            outcomes.append("")

    at_once(8, move)
    winner = registry.get("faces@good").digest
    assert sorted(outcomes) == [""] * 7 + [winner]


def test_a_difference_is_counted_and_named(make):
    """Added, removed, changed; by class, subject, source and quality."""
    registry = make()
    before = create(registry, "faces", faces(6))
    relabelled = replace(faces(6)[2].sample, expression=Expression.FEAR, failure="no_face")
    items = [*faces(6)[3:], Item(relabelled, faces(6)[2].image), *faces(8, 1)[6:]]
    after = create(registry, "faces", items)
    found = registry.diff(before.digest, "faces")
    assert (found.before, found.after) == (before.digest, after.digest)
    assert (found.added, found.removed, found.changed) == (2, 2, 1)
    assert found.added_ids == ("a/006", "a/007")
    assert found.removed_ids == ("a/000", "a/001")
    assert found.changed_ids == ("a/002",)
    counted = {(g.by, g.value): (g.before, g.after) for g in found.groups}
    assert counted == {
        ("expression", ""): (6, 5),
        ("expression", "fear"): (0, 1),
        ("subject", "a:0"): (2, 0),
        ("subject", "a:3"): (0, 2),
        ("quality", "no_face"): (0, 1),
        ("quality", "usable"): (6, 5),
    }
    assert registry.diff("faces", before.digest, max_ids=1).added_ids == ("a/000",)
    assert registry.diff("faces", "faces").groups == ()


def test_lineage_goes_up_and_down(make):
    """As many steps as asked for; what is no version here is an edge's end."""
    registry = make()

    def made_from(mark, **parents):
        return create(registry, f"n{mark}", faces(2, mark), provenance=Provenance("t", {}, parents))

    root = made_from(0, weights="e" * 64)
    left, right = made_from(1, faces=root.digest), made_from(2, faces=root.digest)
    end = made_from(3, left=left.digest, right=right.digest)
    up = registry.lineage("n3")
    assert up.root == end.digest
    assert set(up.versions) == {v.digest for v in (root, left, right, end)}
    steps = {(e.child, e.role, e.parent) for e in up.edges}
    assert (root.digest, "weights", "e" * 64) in steps
    assert len(up.edges) == len(steps) == 5
    near = registry.lineage("n3", depth=1)
    assert {e.parent for e in near.edges} == {left.digest, right.digest}
    down = registry.lineage("n0", down=True)
    assert {e.child for e in down.edges} == {left.digest, right.digest, end.digest}
    assert {e.child for e in registry.lineage("n0", down=True, depth=1).edges} == {
        left.digest,
        right.digest,
    }
    assert registry.lineage("n3", down=True).edges == ()


def test_a_folder_is_imported_as_it_is(make, tmp_path):
    """The same version as if its items had been given; one that is damaged is refused."""
    folder = tmp_path / "given"
    info = write_version(faces(5), folder, name="given", provenance=MADE, licences=FREE)
    registry = make()
    assert registry.import_version("faces", folder, request_id="r") == replace(info, name="faces")
    assert registry.import_version("faces", folder, request_id="r").digest == info.digest
    assert create(registry, "faces", faces(5)).digest == info.digest
    assert len(registry.versions()) == 1
    assert [i.image for i in registry.items("faces")] == [i.image for i in faces(5)]
    shard = folder / "shards" / "00000.parquet"
    shard.write_bytes(shard.read_bytes().replace(b"image 1", b"imagE 1"))
    with pytest.raises(Corrupt) as caught:
        registry.import_version("other", folder)
    assert caught.value.details["item"] == "a/001"
    assert len(registry.versions()) == 1


def test_a_whole_version_verifies(make):
    """Every item is counted."""
    registry = make()
    info = create(registry, "faces", faces(7))
    assert registry.verify("faces") == Verification(info.digest, 7, ())


def test_a_wrong_byte_is_named_by_its_item(make, tmp_path):
    """In the stream, where it is reached, and in the inspection; written again it is whole."""
    registry = make()
    info = create(registry, "faces", faces(7))
    spoil(tmp_path / "store", b"image 3 of", b"imagE 3 of")
    arriving = make().items("faces")
    assert [next(arriving).sample.id for _ in range(3)] == ["a/000", "a/001", "a/002"]
    with pytest.raises(Corrupt) as caught:
        next(arriving)
    assert caught.value.details["item"] == "a/003"
    found = registry.verify("faces")
    assert found.items_right == 6
    assert len(found.damage) == 1
    assert "a/003" in found.damage[0]
    assert create(registry, "faces", faces(7)).digest == info.digest
    assert registry.verify("faces") == Verification(info.digest, 7, ())
    assert len(list(make().items("faces"))) == 7
