"""The book of jobs: idempotent, never two at one job, nothing forgotten, watchers miss no end."""

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.owners import new_owner
from mien.core.errors import AlreadyExists, Conflict, Interrupted, Invalid, NotFound
from mien.core.jobs import Failure
from tests.contract.stores import postgres, postgres_url

SPEC = {"plan": "a", "more": [1, 2.5, None]}


@pytest.fixture(scope="module")
def socket():
    with postgres() as socket:
        yield socket


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/server/jobs.db"
    return postgres_url(request.getfixturevalue("socket"))


@pytest.fixture
def book(url):
    book = JobBook(url)
    yield book
    book.close()


def test_the_same_work_is_the_same_job(book):
    """A name is created once; what was asked comes back as it was."""
    job, queued = book.create("trial", SPEC, name="trial-1")
    again, queued_again = book.create("trial", SPEC, name="trial-1")
    assert (queued, queued_again) == (True, False)
    assert again == job == book.get("trial-1")
    assert (job.spec, job.state, job.revision, job.tries) == (SPEC, "QUEUED", 1, 0)


def test_a_request_is_heard_once(book):
    """A request id known already changes nothing, whatever became of the job since."""
    book.create("trial", SPEC, name="trial-1", request_id="r")
    book.cancel("trial-1")
    job, queued = book.create("trial", SPEC, name="trial-1", request_id="r")
    assert (job.state, queued) == ("CANCELLED", False)
    job, queued = book.create("trial", SPEC, name="trial-1", request_id="other")
    assert (job.state, queued, job.ended) == ("QUEUED", True, None)


@pytest.mark.parametrize(("name", "spec"), [("trial-2", SPEC), ("trial-1", {"plan": "b"})])
def test_a_request_id_is_for_one_request(book, name, spec):
    """A known request id with another spec or name is refused, and nothing is entered."""
    book.create("trial", SPEC, name="trial-1", request_id="r")
    with pytest.raises(AlreadyExists) as caught:
        book.create("trial", spec, name=name, request_id="r")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert len(book.jobs().jobs) == 1


def test_a_name_stands_for_one_spec(book):
    """Other work under a known name is refused."""
    book.create("trial", SPEC, name="trial-1")
    with pytest.raises(AlreadyExists) as caught:
        book.create("trial", {"plan": "b"}, name="trial-1")
    assert caught.value.reason == "JOB_NAME_TAKEN"


def test_everything_survives_another_process(book, url):
    """All fields come back from disk as they were written."""
    failure = Failure("Corrupt", "PLAN", "no plan", "mend it", {"file": "x"}, 42)
    book.create("trial", SPEC, name="trial-1", request_id="r", parent="")
    job = book.change(
        "trial-1",
        state="FAILED",
        done=1.5,
        total=3.0,
        unit="kimg",
        message="said",
        metrics={"loss": float("inf")},
        failure=failure,
        result={"a": [1]},
    )
    assert job.failure == failure
    assert job.ended is not None
    other = JobBook(url)
    assert other.get("trial-1") == job
    other.close()


def test_an_ended_job_does_not_change(book):
    """What comes after the end is not written."""
    book.create("trial", SPEC, name="trial-1")
    ended = book.change("trial-1", state="SUCCEEDED", result={"a": 1})
    assert book.change("trial-1", message="late", state="RUNNING") == ended
    assert book.cancel("trial-1") == ended


def test_unknown_jobs_are_not_found(book):
    """Every way to ask for a job that is not there says so, a watch too before it begins."""
    for ask in (book.get, book.cancel, book.change, book.watch):
        with pytest.raises(NotFound) as caught:
            ask("trial-9")
        assert caught.value.reason == "UNKNOWN_JOB"


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 7), size=st.integers(1, 8))
def test_pages_hold_everything_once(tmp_path_factory, count, size):
    """Pages, newest first, hold every job exactly once, whatever their size."""
    book = JobBook(f"sqlite:///{tmp_path_factory.mktemp('pages')}/jobs.db")
    for i in range(count):
        book.create("trial", {"n": i}, name=f"trial-{i}")
    found, token = [], ""
    while True:
        page = book.jobs(page_size=size, page_token=token)
        assert len(page.jobs) <= size
        found += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    book.close()
    assert found == [f"trial-{i}" for i in reversed(range(count))]


def test_pages_are_checked(book):
    """A size out of range and a token that is none of ours are refused."""
    for wrong, reason in (({"page_size": -1}, "PAGE_SIZE"), ({"page_size": 1001}, "PAGE_SIZE")):
        with pytest.raises(Invalid) as caught:
            book.jobs(**wrong)
        assert caught.value.reason == reason
    for token in ("x", "!!!", "é", "QUJD", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "LTE="):
        with pytest.raises(Invalid) as caught:
            book.jobs(page_token=token)
        assert caught.value.reason == "PAGE_TOKEN"


def test_children_belong_to_every_parent_that_wants_them(book):
    """A child is listed under each parent; cancelling one parent leaves what another waits for."""
    for sweep in ("sweep-1", "sweep-2"):
        book.create("sweep", {"s": sweep}, name=sweep)
        book.create("trial", {"n": "both"}, name="trial-both", parent=sweep)
        book.create("trial", {"n": sweep}, name=f"trial-{sweep}", parent=sweep)
    assert book.get("sweep-2").children == ("trial-both", "trial-sweep-2")
    assert {j.name for j in book.jobs(parent="sweep-1").jobs} == {"trial-both", "trial-sweep-1"}
    book.cancel("sweep-1")
    states = {job.name: job.state for job in book.jobs().jobs}
    assert states == {
        "sweep-1": "CANCELLED",
        "trial-sweep-1": "CANCELLED",
        "sweep-2": "QUEUED",
        "trial-both": "QUEUED",
        "trial-sweep-2": "QUEUED",
    }
    book.cancel("sweep-2")
    assert book.get("trial-both").state == "CANCELLED"


def test_a_job_that_shall_end_starts_nothing_more(book):
    """A sweep cancelled while it plans leaves no trials behind."""
    book.create("sweep", {}, name="sweep-1")
    book.claim(["sweep"], new_owner())
    book.cancel("sweep-1")
    with pytest.raises(Interrupted):
        book.create("trial", {}, name="trial-1", parent="sweep-1")
    assert [job.name for job in book.jobs().jobs] == ["sweep-1"]


def test_jobs_are_counted_by_state(book):
    """Counts by state, of all kinds or some."""
    book.create("trial", {}, name="trial-1")
    book.create("sweep", {}, name="sweep-1")
    book.cancel("sweep-1")
    assert book.count() == {"QUEUED": 1, "CANCELLED": 1}
    assert book.count(["trial"]) == {"QUEUED": 1}


def test_a_job_is_claimed_once(book, url):
    """Two holders never have one job; the oldest comes first; other kinds are left alone."""
    for i in range(2):
        book.create("trial", {"n": i}, name=f"trial-{i}")
    other = JobBook(url)
    mine, theirs = new_owner(), new_owner()
    assert book.claim(["sweep"], mine) is None
    first, second = book.claim(["trial"], mine), other.claim(["trial"], theirs)
    assert (first.name, second.name) == ("trial-0", "trial-1")
    assert (first.state, first.tries, first.started is not None) == ("RUNNING", 1, True)
    assert other.claim(["trial"], theirs) is None
    other.close()


def test_many_claim_at_once(book, url):
    """Threads with books of their own that all claim: every job goes to exactly one of them."""
    names = [f"trial-{i:02}" for i in range(24)]
    for name in names:
        book.create("trial", {"n": name}, name=name)
    got = []

    def claim_all():
        own, owner = JobBook(url), new_owner()
        while (job := own.claim(["trial"], owner)) is not None:
            got.append(job.name)
        own.close()

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == names


def test_many_enter_the_same_at_once(url):
    """Processes that start together make the tables once, and enter a job once."""
    queued = []

    def enter():
        own = JobBook(url)
        asked = (own.create("trial", {"n": i}, name=f"t{i}", request_id=f"r{i}") for i in range(5))
        queued.extend(is_new for _, is_new in asked)
        own.close()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(queued) == [False] * 15 + [True] * 5


def test_a_lease_that_ran_out_is_taken_over(url):
    """Who is not heard of loses the job; what it writes afterwards is refused."""
    book = JobBook(url, lease_s=0.2)
    book.create("trial", SPEC, name="trial-1")
    slow, next_one = new_owner(), new_owner()
    book.claim(["trial"], slow)
    assert book.claim(["trial"], next_one) is None
    time.sleep(0.25)
    assert book.claim(["trial"], next_one).tries == 2
    with pytest.raises(Conflict) as caught:
        book.change("trial-1", owner=slow, state="SUCCEEDED")
    assert caught.value.reason == "LEASE_LOST"
    assert book.release("trial-1", owner=slow).state == "RUNNING"
    book.close()


def test_a_renewed_lease_is_kept(url):
    """Who is heard of keeps the job."""
    book = JobBook(url, lease_s=0.4)
    book.create("trial", SPEC, name="trial-1")
    owner = new_owner()
    book.claim(["trial"], owner)
    for _ in range(4):
        time.sleep(0.15)
        book.renew(owner)
    assert book.claim(["trial"], new_owner()) is None
    assert book.held(owner) == {"trial-1": "RUNNING"}
    book.close()


CLAIM = """
import sys
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.owners import new_owner
print(JobBook(sys.argv[1], lease_s=3600).claim(["trial"], new_owner()).name, flush=True)
sys.stdin.read()
"""


def test_the_jobs_of_a_dead_process_are_free_at_once(book, url):
    """Nobody waits for the lease of a process of this machine that was killed."""
    book.create("trial", SPEC, name="trial-1")
    command = [sys.executable, "-c", CLAIM, url]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline().strip() == "trial-1"
    owner = new_owner()
    assert book.claim(["trial"], owner) is None
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert book.claim(["trial"], owner).tries == 2


def test_cancelling(book):
    """Queued work is CANCELLED at once, running work is CANCELLING until it is given back."""
    for i in range(2):
        book.create("trial", {"n": i}, name=f"trial-{i}")
    owner = new_owner()
    book.claim(["trial"], owner)
    assert book.cancel("trial-0").state == "CANCELLING"
    assert book.cancel("trial-1").state == "CANCELLED"
    job = book.release("trial-0", owner=owner)
    assert (job.state, job.ended is not None) == ("CANCELLED", True)


def test_a_cancelled_job_of_a_dead_holder_is_not_begun_anew(url):
    """It is claimed only to be ended: still CANCELLING, and not one try more."""
    book = JobBook(url, lease_s=0.1)
    book.create("trial", SPEC, name="trial-1")
    book.claim(["trial"], new_owner())
    book.cancel("trial-1")
    time.sleep(0.15)
    job = book.claim(["trial"], new_owner())
    assert (job.state, job.tries) == ("CANCELLING", 1)
    book.close()


def test_given_back_means_queued(book):
    """A job given back without being cancelled waits again, its result so far kept."""
    book.create("trial", SPEC, name="trial-1")
    owner = new_owner()
    book.claim(["trial"], owner)
    book.change("trial-1", owner=owner, result={"so": "far"})
    job = book.release("trial-1", owner=owner)
    assert (job.state, job.result) == ("QUEUED", {"so": "far"})


@pytest.mark.parametrize("apart", [False, True])
def test_a_watch_sees_growing_revisions_and_the_end(book, url, apart):
    """Whether changes come from here or elsewhere: no revision twice, none back, the last seen."""
    writer = JobBook(url) if apart else book
    book.create("trial", SPEC, name="trial-1")

    def write():
        for i in range(20):
            writer.change("trial-1", done=float(i))
        writer.change("trial-1", state="SUCCEEDED", done=20.0)

    thread = threading.Thread(target=write)
    watch = book.watch("trial-1")
    first = next(watch)
    thread.start()
    seen = [first, *watch]
    thread.join()
    revisions = [job.revision for job in seen]
    assert revisions == sorted(set(revisions))
    assert (revisions[0], revisions[-1]) == (1, 22)
    assert (seen[-1].state, seen[-1].done) == ("SUCCEEDED", 20.0)
    if apart:
        writer.close()


def test_a_watch_goes_on_after_a_revision(book):
    """Only what is newer is yielded; of an ended job known to its end, nothing."""
    book.create("trial", SPEC, name="trial-1")
    job = book.change("trial-1", state="SUCCEEDED")
    assert [j.revision for j in book.watch("trial-1", after_revision=1)] == [2]
    assert list(book.watch("trial-1", after_revision=job.revision)) == []


def test_a_watch_can_be_stopped(book):
    """A watch ends when it is told to, though the job does not."""
    book.create("trial", SPEC, name="trial-1")
    stop = threading.Event()
    watch = book.watch("trial-1", stop=stop.is_set)
    assert next(watch).state == "QUEUED"
    stop.set()
    assert list(watch) == []
