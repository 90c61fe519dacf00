"""Generation jobs whose shards lie in a store and are made as one Indexed Job of a cluster."""

import sys
from pathlib import Path

import pytest

from mien.adapters.executors.artefacts import names
from mien.adapters.executors.local import InlineExecutor
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.generation import LocalGenerationJobs
from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.cli.main import run as mien
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.generators.local import LocalGeneration
from mien.registry.folder_registry import FolderRegistry
from tests.contract.executors import until
from tests.contract.kube_stand_in import StandIn
from tests.contract.stores import bucket_url, object_store
from tests.contract.untrained import untrained

TWO = (Expression.ANGER, Expression.NEUTRAL)
PLAN = FacePlan("affect", TWO, 3, {"size_px": 32}, pool="p")


@pytest.fixture(scope="module")
def s3():
    with object_store():
        yield


@pytest.fixture
def make(tmp_path):
    """Build a service's jobs around an executor; stopped in the end."""
    built = []

    def jobs(executor, *, home="one", generation=None, **options):
        made = LocalGenerationJobs(
            JobBook(f"sqlite:///{tmp_path / 'jobs.db'}"),
            generation or LocalGeneration(),
            executor,
            lambda: FolderRegistry(tmp_path / "registry"),
            tmp_path / home,
            **options,
        )
        built.append(made)
        return made.start()

    yield jobs
    for each in built:
        each.drain(30)
        each.book.close()


@pytest.fixture
def cluster(tmp_path):
    """A cluster whose image is this mien."""
    server = StandIn(tmp_path, command=(sys.executable, "-m", "mien"), slots=2)
    yield server
    server.close()


def executor_of(server):
    profile = KubernetesProfile(
        namespace="mien", image="mien-services", kubeconfig=server.kubeconfig, slots=2, grace_s=10
    )
    return KubernetesJobExecutor(profile, KubernetesApi(profile, rate_per_s=1000.0))


def ended(jobs, name):
    *_, last = jobs.watch(name)
    return last


def here(folder):
    """Run shards in this process."""
    return InlineExecutor(mien, folder / "logs", retries=0)


@pytest.mark.slow
def test_an_indexed_job_makes_the_same_version(make, cluster, tmp_path):
    """On a disk that all see: one Job, as many indexes as shards, the digest as in process."""
    calm = make(here(tmp_path))
    first = ended(calm, calm.create(PLAN, "here", shard_identities=2).name)
    calm.drain(30)
    jobs = make(executor_of(cluster), home="two", outlives=True)
    job = ended(jobs, jobs.create(PLAN, "there", shard_identities=2).name)
    assert job.state == "SUCCEEDED", job.failure
    assert job.result["version"]["digest"] == first.result["version"]["digest"]
    (made,) = cluster.cluster.jobs.values()
    assert (made["spec"]["completionMode"], made["spec"]["completions"]) == ("Indexed", 2)
    assert (job.done, job.total) == (6, 6)


@pytest.mark.slow
def test_a_service_that_restarts_joins_its_shards(make, cluster, s3, tmp_path):
    """Drained while its Pods wait, it leaves the Job; another one, with no disk of it, goes on."""
    cluster.cluster.slots = 0
    store = bucket_url()
    first = make(executor_of(cluster), store=store, outlives=True)
    name = first.create(PLAN, "one", shard_identities=2).name
    until(lambda: cluster.cluster.jobs)
    first.drain(30)
    assert first.get(name).state == "QUEUED"
    assert len(cluster.cluster.jobs) == 1
    cluster.cluster.slots = 2
    second = make(executor_of(cluster), home="another", store=store, outlives=True)
    job = ended(second, name)
    assert job.state == "SUCCEEDED", job.failure
    assert cluster.cluster.created == 1
    (made,) = cluster.cluster.jobs.values()
    assert (made["spec"]["completionMode"], made["spec"]["completions"]) == ("Indexed", 2)
    assert names(f"{store}/generation") == [], "what was needed on the way is gone"


def test_shards_lie_in_an_object_store(make, s3, tmp_path):
    """Workers of this machine, too, may keep their shards there; nothing of them stays here."""
    store = bucket_url()
    jobs = make(here(tmp_path), store=store)
    job = ended(jobs, jobs.create(PLAN, "one", shard_identities=1).name)
    assert job.state == "SUCCEEDED", job.failure
    assert list((tmp_path / "one").rglob("*.parquet")) == []
    registry = FolderRegistry(tmp_path / "registry")
    assert len(list(registry.items("one"))) == 6


def test_a_shard_that_was_damaged_there_is_made_again(make, s3, tmp_path):
    """It is held against its digests before anything is committed."""
    import fsspec

    store = bucket_url()
    system, root = fsspec.core.url_to_fs(store)
    made = []

    def damaging(argv):
        code = mien(argv)
        made.append(argv[2])
        if made == ["0"]:
            system.invalidate_cache()
            (shard,) = [f for f in system.find(root) if f.endswith(".parquet") and "shard" in f][:1]
            system.pipe_file(shard, b"flipped")
        return code

    jobs = make(InlineExecutor(damaging, tmp_path / "logs", retries=0), store=store)
    job = ended(jobs, jobs.create(PLAN, "one", shard_identities=2).name)
    assert job.state == "SUCCEEDED", job.failure
    assert sorted(made) == ["0", "0", "1"]


@pytest.mark.slow
def test_a_trained_generator_is_carried_to_the_workers(make, s3, tmp_path, monkeypatch):
    """Its weights lie in the store once; machines that never saw its folder make the same faces."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "roots").mkdir()
    Path(untrained("noise")).rename(tmp_path / "roots" / "g")
    generation = LocalGeneration(roots=[tmp_path / "roots"])
    plan = FacePlan("noise", TWO, 2, {"generator": "g"}, pool="p")
    digests = []
    for store in ("", bucket_url()):
        jobs = make(here(tmp_path), generation=generation, store=store, home=f"h{len(digests)}")
        job = ended(jobs, jobs.create(plan, f"v{len(digests)}", shard_identities=1).name)
        assert job.state == "SUCCEEDED", job.failure
        digests.append(job.result["version"]["digest"])
        jobs.drain(30)
    assert digests[0] == digests[1]
    assert len({n.split("/")[0] for n in names(f"{store}/generators")}) == 1
    assert (tmp_path / "cache" / "fetched_generators").is_dir()
