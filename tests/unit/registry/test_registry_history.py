"""Comparing versions, following them back, and erasing a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.registry.diff import diff
from mien.registry.erase import derived_from, erase
from mien.registry.lineage import lineage
from mien.registry.read import open_version


def info(
    digest: str, parents: Sequence[str] = (), licences: Mapping[str, Licence] | None = None
) -> VersionInfo:
    provenance = Provenance("t", parents={f"p{i}": p for i, p in enumerate(parents)})
    return VersionInfo(digest, digest, 1, provenance, licences or {}, {})


def test_equal_versions_do_not_differ(write, make_items, tmp_path):
    """No ids and no counts."""
    write(make_items(10), "a")
    manifest = open_version(tmp_path / "a").manifest
    found = diff(manifest, manifest)
    assert found.same
    assert not any(found.counts.values())


def test_each_kind_of_change_is_told(write, make_items, tmp_path):
    """Added, removed, relabelled, replaced; counted by class, subject, source, quality."""
    items = make_items(12)
    write(items, "a")
    relabelled = Item(replace(items[1].sample, expression=Expression.FEAR), items[1].image)
    replaced = Item(items[2].sample, items[9].image[::-1])
    failed = Item(replace(items[3].sample, failure="no_face"), items[3].image)
    added = Item(Sample(id="web/1", source="web"), b"new")
    write([relabelled, replaced, failed, *items[4:], added], "b")
    found = diff(open_version(tmp_path / "a").manifest, open_version(tmp_path / "b").manifest)
    assert (found.added, found.removed) == (("web/1",), ("lab/0000",))
    assert found.relabelled == ("lab/0001", "lab/0003")
    assert found.replaced == ("lab/0002",)
    assert found.counts["expression"] == {
        "": (0, 1),
        "anger": (2, 1),
        "contempt": (2, 1),
        "fear": (2, 3),
    }
    assert found.counts["subject"] == {"": (0, 1), "lab:000": (8, 7)}
    assert found.counts["source"] == {"lab": (12, 11), "web": (0, 1)}
    assert found.counts["quality"] == {"no_face": (0, 1), "usable": (12, 11)}
    assert not found.same


def test_lineage_goes_all_the_way_back():
    """Through shared ancestors, once each; what is no version is listed."""
    known = {
        v.digest: v
        for v in (info("d", ["b", "c"]), info("b", ["a", "w"]), info("c", ["a"]), info("a"))
    }
    found = lineage(known["d"], known.get)
    assert list(found.versions) == ["d", "b", "c", "a"]
    assert found.unresolved == ("w",)
    assert found.parents["b"] == {"p0": "a", "p1": "w"}


def test_lineage_of_a_circle_ends():
    """Damaged records must not hang anybody."""
    known = {"a": info("a", ["b"]), "b": info("b", ["a"])}
    assert set(lineage(known["a"], known.get).versions) == {"a", "b"}


def test_licences_of_all_ancestors_bind():
    """They are collected; two for one source cannot both be right."""
    free, closed = Licence("CC0-1.0", True), Licence("research only", False)
    known = {
        "b": info("b", ["a"], {"made": free}),
        "a": info("a", licences={"lab": closed}),
        "x": info("x", ["a"], {"lab": free}),
    }
    assert lineage(known["b"], known.get).licences() == {"made": free, "lab": closed}
    with pytest.raises(Invalid) as caught:
        lineage(known["x"], known.get).licences()
    assert caught.value.reason == "OTHER_LICENCES"


def derive(item: Item, name: str, **changes: Any) -> Item:
    """An image made from another's, under no subject."""
    digest = digest_bytes(item.image)
    sample = Sample(
        id=f"pool/{name}",
        source="pool",
        origin="synthetic",
        parents=(digest,),
    )
    return Item(replace(sample, **changes), f"image {name}".encode())


def test_erasing_removes_the_person_and_all_made_from_them(write, make_items, tmp_path):
    """Own images, children, grandchildren, and faces of their identity; all others stay."""
    items = make_items(16)  # lab:000 and lab:001
    child = derive(items[0], "child")
    grandchild = derive(child, "grandchild")
    looks = derive(items[9], "looks", identity=digest_bytes(items[3].image))
    named = derive(items[9], "named", subject="lab:000")
    stranger = derive(items[9], "stranger")
    write([*items, child, grandchild, looks, named, stranger], "a")
    version = open_version(tmp_path / "a")
    done = erase(version, tmp_path / "b", subject="lab:000")
    gone = {f"lab/{i:04d}" for i in range(8)} | {
        f"pool/{n}" for n in ("child", "grandchild", "looks", "named")
    }
    assert {s.id for s in done.removed} == gone
    after = open_version(tmp_path / "b")
    after.verify()
    assert after.info == done.info
    assert {s.id for s in after.manifest} == {f"lab/{i:04d}" for i in range(8, 16)} | {
        "pool/stranger"
    }
    assert {i.sample.id: i.image for i in after.items()}["pool/stranger"] == stranger.image
    assert done.info.provenance.parents == {"version": version.info.digest}
    assert "lab:000" not in (tmp_path / "b" / "version.json").read_text()
    assert digest_bytes(grandchild.image) in done.images


def test_erasing_finds_ancestors_in_related_versions(write, make_items, tmp_path):
    """A pool that never names the person is traced through the version it was made from."""
    items = make_items(16)
    write(items, "real")
    write([derive(items[0], "theirs"), derive(items[9], "other")], "pool")
    real = open_version(tmp_path / "real").manifest
    pool = open_version(tmp_path / "pool")
    done = erase(pool, tmp_path / "clean", subject="lab:000", related=[real])
    assert [s.id for s in done.removed] == ["pool/theirs"]
    assert len(derived_from("lab:000", [real])) == 8


def test_erasing_somebody_unknown_is_an_error(version, tmp_path):
    """A typing error must not look like a person removed."""
    with pytest.raises(NotFound) as caught:
        erase(version, tmp_path / "b", subject="lab:0000")
    assert caught.value.reason == "UNKNOWN_SUBJECT"
    assert not (tmp_path / "b").exists()
