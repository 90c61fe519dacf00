"""`mien registry …`: the same words for a folder and for a service."""

from __future__ import annotations

import os

import pytest

from mien.cli.main import run
from mien.core.manifest import Licence, Provenance
from mien.core.sample import Item, Sample
from mien.registry.read import open_version
from mien.registry.write import write_version
from services.chassis.testing import running
from services.registry.mount import mount

FREE = {"a": Licence("CC0-1.0", True, "no person is shown", "")}


@pytest.fixture(params=["folder", "service"], autouse=True)
def where(request, tmp_path, monkeypatch):
    """A project whose registry is its own folder, or a service."""
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        yield request.param
        return
    with running("registry", mount) as target:
        monkeypatch.setenv("MIEN_REGISTRY_TARGET", target)
        yield request.param
    assert not (tmp_path / "registry").exists()


@pytest.fixture
def versions(tmp_path):
    """Two versions in folders; the second has a face more, and was made from the first."""
    made = []
    for count in (6, 7):
        items = [
            Item(
                Sample(f"a/{i}", "a", subject=f"a:{i // 2}", expression=["anger", "fear"][i % 2]),
                b"image %d" % (i // 2 if i < 4 else i),  # one image under two labels
            )
            for i in range(count)
        ]
        parents = {"before": made[0].info.digest} if made else {}
        folder = tmp_path / f"v{count}"
        provenance = Provenance("test", {"count": count}, parents)
        kept = {"provenance": provenance, "licences": FREE, "duplicates": "keep"}
        write_version(items, folder, name="faces", **kept)
        made.append(open_version(folder))
    return made


def mien(*argv):
    return run(["--quiet", "registry", *map(str, argv)])


def test_what_is_pushed_is_pulled(versions, tmp_path, capsys):
    """The same digest, provenance and rights; another name where one is given."""
    first, second = versions
    assert mien("push", first.folder) == 0
    assert mien("push", second.folder, "--name", "more") == 0
    assert mien("pull", "faces", tmp_path / "back") == 0
    back = open_version(tmp_path / "back")
    assert (back.info.digest, back.info.provenance) == (first.info.digest, first.info.provenance)
    assert back.info.licences == FREE
    assert list(back.items()) == list(first.items())
    capsys.readouterr()
    assert mien("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["faces", "more"]
    assert mien("show", "more") == 0
    shown = capsys.readouterr().out
    assert second.info.digest in shown
    assert "CC0-1.0; commercial use" in shown


def test_some_of_a_version_is_pulled(versions, tmp_path):
    """By label, subject, source or origin; it says what it is part of."""
    assert mien("push", versions[0].folder) == 0
    argv = ["pull", "faces", tmp_path / "some", "--expression", "fear", "--subject", "a:1"]
    assert mien(*argv) == 0
    some = open_version(tmp_path / "some")
    assert [s.id for s in some.manifest] == ["a/3"]
    assert some.info.provenance.parents == {"whole": versions[0].info.digest}
    assert mien("pull", "faces", tmp_path / "none", "--expression", "joy") == 2
    assert mien("pull", "faces", tmp_path / "none", "--origin", "painted") == 2
    assert not (tmp_path / "none").exists()


def test_versions_are_compared(versions, capsys):
    """What came, went and changed; counts where they differ."""
    for version in versions:
        assert mien("push", version.folder) == 0
    capsys.readouterr()
    assert mien("diff", versions[0].info.digest, "faces") == 0
    out = capsys.readouterr().out
    assert "a/6" in out
    assert "3 → 4" in " ".join(out.split())


def test_aliases_are_moved_and_removed(versions, capsys):
    """Only from where they are thought to be."""
    for version in versions:
        assert mien("push", version.folder) == 0
    first, second = (v.info.digest for v in versions)
    assert mien("alias", "faces", "good", first, "--expect", "none") == 0
    assert mien("alias", "faces", "good", second, "--expect", second) == 2
    capsys.readouterr()
    assert mien("show", "faces@good") == 0
    assert first in capsys.readouterr().out
    assert mien("list", "faces") == 0
    assert "faces @good" in capsys.readouterr().out
    assert mien("alias", "faces", "good", "--delete") == 0
    assert mien("show", "faces@good") == 2
    assert mien("alias", "faces", "good") == 2


def test_lineage_goes_both_ways(versions, capsys):
    """What a version was made from, and what from it."""
    for version in versions:
        assert mien("push", version.folder, "--name", f"v{version.info.rows}") == 0
    capsys.readouterr()
    assert mien("lineage", "v7") == 0
    assert "before: v6" in capsys.readouterr().out
    assert mien("lineage", "v6", "--down") == 0
    assert "before: v7" in capsys.readouterr().out


def test_a_version_is_verified_where_it_lies(versions, where, tmp_path, capsys):
    """Every byte; damage ends with the exit code of what will fail again."""
    assert mien("push", versions[0].folder) == 0
    assert mien("verify", "faces") == 0
    assert mien("verify", "nothing") == 2
    if where == "folder":
        (shard,) = (tmp_path / "registry").rglob("shards/*.parquet")
        data = bytearray(shard.read_bytes())
        data[data.index(b"image 0")] ^= 1
        shard.write_bytes(bytes(data))
        assert mien("verify", "faces") == 42
        assert "VERSION_DAMAGED" in capsys.readouterr().err
