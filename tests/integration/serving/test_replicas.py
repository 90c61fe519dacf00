"""Several replicas as one host, and the store that all of them read from."""

from __future__ import annotations

import pytest

from mien.adapters.serving.state import Served
from mien.adapters.serving.store import EMPTY, Catalogue, ModelStore
from mien.adapters.triton.fleet import TritonFleet, addresses_of
from mien.adapters.triton.repository import HostSpec, render_front, render_model
from mien.adapters.triton.server import free_port
from mien.core.errors import Corrupt, NotFound, Unavailable
from tests.contract.stores import bucket_url, object_store
from tests.integration.serving.rollout_stand_in import TritonLike
from tests.integration.serving.tiny import tiny_package

MODEL = "expression-1"


@pytest.fixture
def repository(tmp_path):
    """A folder with one model and a front before it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    package = tiny_package(tmp_path / "package", 1)
    render_model(folder, package, "1", MODEL, "fp32", HostSpec())
    render_front(folder, package.spec, "expression", MODEL, 64)
    return folder, package.golden()


@pytest.fixture
def replicas(repository):
    """Three servers, nothing loaded, and the fleet of them."""
    port = free_port()
    addresses = [f"127.0.0.{n}:{port}" for n in (2, 3, 4)]
    servers = [TritonLike(repository[0], a, explicit=True) for a in addresses]
    fleet = TritonFleet("ipv4:" + ",".join(addresses))
    yield servers, fleet
    fleet.close()
    for server in servers:
        server.stop()


def test_a_load_call_reaches_every_replica(replicas, repository):
    """One that reached the first alone would leave two of three calls without an answer."""
    servers, fleet = replicas
    fleet.load(MODEL)
    assert [list(s.host.loaded()) for s in servers] == [[MODEL]] * 3
    assert fleet.loaded() == [MODEL]
    servers[1].host.unload(MODEL)
    assert fleet.loaded() == [], "loaded is what every replica has"
    assert list(fleet.ask_each(MODEL, repository[1], timeout_s=5)) == [fleet.addresses()[1]]
    fleet.unload(MODEL)
    assert [list(s.host.loaded()) for s in servers] == [[]] * 3


def test_calls_go_round_and_round(replicas, repository):
    """Each replica gets its share."""
    servers, fleet = replicas
    fleet.load(MODEL)
    for _ in range(9):
        fleet.infer(MODEL, repository[1].images, timeout_s=30)
    assert [s.calls for s in servers] == [3, 3, 3]


def test_a_replica_that_cannot_answer_costs_no_call(replicas, repository):
    """Gone, or without the model: another one is asked; with none left that is said."""
    servers, fleet = replicas
    fleet.load(MODEL)
    servers[0].stop()
    servers[1].host.unload(MODEL)
    for _ in range(6):
        fleet.infer(MODEL, repository[1].images, timeout_s=30)
    servers[2].stop()
    with pytest.raises((Unavailable, NotFound)):
        fleet.infer(MODEL, repository[1].images, timeout_s=30)
    with pytest.raises(Unavailable, match="no replica"):
        TritonFleet("nobody", resolve=list).infer(MODEL, repository[1].images, timeout_s=1)


def test_a_replica_that_fails_its_canary_is_asked_last(replicas, repository):
    """It may call itself ready; what counts is a known answer."""
    servers, fleet = replicas
    fleet.load(MODEL)
    golden = {MODEL: repository[1]}
    assert fleet.examine(golden, timeout_s=30, tolerance=1e-3) == ""
    servers[0].wrong = (MODEL,)
    assert fleet.addresses()[0] in fleet.examine(golden, timeout_s=30, tolerance=1e-3)
    assert fleet.reliable() == 2
    before = servers[0].calls
    for _ in range(6):
        assert repository[1].deviation(fleet.infer(MODEL, repository[1].images, timeout_s=30)) == 0
    assert servers[0].calls == before
    servers[0].wrong = ()
    fleet.examine(golden, timeout_s=30, tolerance=1e-3)
    assert fleet.reliable() == 3


def test_replicas_that_come_and_go_are_followed():
    """Those that stay keep their channel; when nobody can say, nothing changes."""
    found: list[str] = ["127.0.0.2:1", "127.0.0.3:1"]

    def resolve():
        if not found:
            raise OSError("the name server does not answer")
        return found

    fleet = TritonFleet("dns:///triton:8001", resolve=resolve)
    assert fleet.refresh() == ("127.0.0.2:1", "127.0.0.3:1")
    kept = fleet._clients["127.0.0.3:1"]
    found[:] = ["127.0.0.3:1", "127.0.0.4:1"]
    assert fleet.refresh() == ("127.0.0.3:1", "127.0.0.4:1")
    assert fleet._clients["127.0.0.3:1"] is kept
    found.clear()
    assert fleet.refresh() == ("127.0.0.3:1", "127.0.0.4:1")


def test_targets_are_looked_up():
    """A name with every address behind it, or addresses as they are."""
    assert "127.0.0.1:8001" in addresses_of("dns:///localhost:8001")
    assert addresses_of("127.0.0.1:8001") == ["127.0.0.1:8001"]
    assert addresses_of("ipv4:127.0.0.2:1,127.0.0.3:1") == ["127.0.0.2:1", "127.0.0.3:1"]


# The store


def served(version):
    return Served("expression", version, "d", f"expression-{version}", "fp32", "r")


def test_the_catalogue_says_what_an_alias_means():
    """During promotions and rollbacks the alias and the front differ; the alias is right."""
    promoted = Catalogue(served("3"), (served("1"), served("2")))
    assert [s.version for s in promoted.hosted] == ["3", "2"]
    assert promoted.state("3").earlier == (served("1"), served("2"))
    back = promoted.state("2")
    assert (back.champion, back.earlier) == (served("2"), (served("1"),))
    assert promoted.state("1").champion is None, "it is not hosted"
    left = Catalogue(served("2"), (served("1"),), served("3"))
    assert [s.version for s in left.hosted] == ["2", "1", "3"]
    assert Catalogue().state("1").champion is None


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """A folder, or an object store."""
    if request.param == "folder":
        yield ModelStore(str(tmp_path / "models"))
        return
    with object_store():
        yield ModelStore(bucket_url())


def test_what_is_promoted_is_whole_before_it_has_a_name(store, repository):
    """The same content has the same name; damage is written over, and half is nothing."""
    folder, _ = repository
    catalogue = Catalogue(served("2"), (served("1"),))
    name = store.keep(folder, catalogue)
    assert store.catalogue(name) == catalogue
    kept = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]
    assert "expression-1/1/model.onnx" in kept
    for file in kept:
        assert store._read(name, file) == (folder / file).read_bytes()
    store._put(name, "expression-1/1/model.onnx", b"half")
    assert store.keep(folder, catalogue) == name
    assert store._read(name, "expression-1/1/model.onnx") != b"half"
    assert store.keep(folder, Catalogue(served("2"))) != name
    store._put(name, "checksums.json", b"{}")
    with pytest.raises(Corrupt, match="MODEL_FILES"):
        store.catalogue(name)
    with pytest.raises(NotFound, match="NO_SUCH_PROMOTION"):
        store.catalogue("0" * 32)


def test_there_is_something_to_start_from(store):
    """Triton does not start on a repository that is not there; nothing is served from `empty`."""
    store.make_empty()
    store.make_empty()
    assert store._read(EMPTY, "README")
    assert store.catalogue(EMPTY) == Catalogue()


def test_a_store_that_is_away_is_told(tmp_path):
    """With what to do, and as something that may be tried again."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="MODELS_UNAVAILABLE"):
        ModelStore(str(tmp_path / "file")).make_empty()


def test_triton_is_told_of_other_stores_in_its_own_way(monkeypatch, tmp_path):
    """Amazon's is the default; another one stands in the address."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    pytest.importorskip("s3fs", reason="SKIPPED: s3fs is not installed")
    store = ModelStore("s3://mien/models/")
    assert store.address("abc") == "s3://mien/models/abc"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.storage:9000")
    assert store.address("abc") == "s3://https://minio.storage:9000/mien/models/abc"
    assert ModelStore(f"file://{tmp_path}/m").address("abc") == f"{tmp_path}/m/abc"
