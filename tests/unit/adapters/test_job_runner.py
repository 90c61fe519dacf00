"""Jobs run in threads: some at a time, stopped when asked, taken up again by whoever is there."""

import random
import threading
import time

import pytest
from sqlalchemy import update

from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.runner import JobRunner
from mien.adapters.jobs.tables import JOBS, open_tables
from mien.core.errors import Corrupt, Interrupted


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def book(url):
    book = JobBook(url, lease_s=1.0)
    yield book
    book.close()


def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def state(book, name):
    return book.get(name).state


class Steps:
    """Work that counts to ``steps``, keeps its count when stopped, and goes on from it."""

    def __init__(self, steps=10_000):
        self.steps = steps
        self.kept = {}
        self.at_once = 0
        self.most = 0
        self.slots = set()
        self._lock = threading.Lock()

    def __call__(self, job, hooks):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.slots.add(hooks.slot)
        try:
            for step in range(self.kept.get(job.name, 0), self.steps):
                self.kept[job.name] = step
                if hooks.cancelled():
                    raise Interrupted("stopped")
                hooks.progress(step, self.steps, "steps", "counting", {"step": float(step)})
                time.sleep(0.001)
            return {"steps": self.steps}
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def running(book):
    runners = []

    def start(work, slots=2, on=book):
        runners.append(JobRunner(on, {"count": work}, slots).start())
        return runners[-1]

    yield start
    for runner in runners:
        assert runner.drain(10.0)


def test_jobs_succeed_with_their_result(book, running):
    """What the work returns is the result; progress, tries and times are written down."""
    for i in range(5):
        book.create("count", {"n": i}, name=f"count-{i}")
    running(Steps(20))
    until(lambda: book.count() == {"SUCCEEDED": 5})
    job = book.get("count-3")
    assert (job.result, job.tries, job.unit) == ({"steps": 20}, 1, "steps")
    assert job.created <= job.started <= job.ended


def test_jobs_created_later_start_at_once(book, running):
    """A waiting runner is woken by a new job."""
    running(Steps(1))
    for i in range(20):
        book.create("count", {"n": i}, name=f"count-{i}")
        until(lambda i=i: state(book, f"count-{i}") == "SUCCEEDED")


@pytest.mark.parametrize("slots", [1, 3])
def test_never_more_than_slots(book, running, slots):
    """As many at once as there are slots; each has a number of its own."""
    work = Steps(60)
    for i in range(7):
        book.create("count", {"n": i}, name=f"count-{i}")
    running(work, slots)
    until(lambda: book.count() == {"SUCCEEDED": 7})
    assert (work.most, work.slots) == (slots, set(range(slots)))


def test_a_domain_error_is_why_it_failed(book, running):
    """A foreseen error is told whole; of an unforeseen one only the class."""

    def foreseen(job, hooks):
        if job.spec["n"]:
            raise Corrupt("PLAN", "it is broken", hint="mend it", details={"file": "x"})
        raise ZeroDivisionError("secret")

    book.create("count", {"n": 1}, name="count-1")
    book.create("count", {"n": 0}, name="count-0")
    running(foreseen)
    until(lambda: book.count() == {"FAILED": 2})
    failure = book.get("count-1").failure
    assert (failure.kind, failure.reason, failure.hint) == ("Corrupt", "PLAN", "mend it")
    assert isinstance(failure.error(), Corrupt)
    assert "secret" not in str(book.get("count-0"))
    assert book.get("count-0").failure.reason == "INTERNAL"


def test_cancel_stops_the_work(book, running):
    """A running job ends CANCELLED after its work has kept its state; others go on."""
    work = Steps()
    for i in range(2):
        book.create("count", {"n": i}, name=f"count-{i}")
    runner = running(work)
    until(lambda: len(work.kept) == 2 and min(work.kept.values()) > 3)
    assert runner.cancel("count-0").state in ("CANCELLING", "CANCELLED")
    until(lambda: state(book, "count-0") == "CANCELLED")
    assert work.kept["count-0"] > 3
    assert state(book, "count-1") == "RUNNING"
    book.create("count", {"n": 0}, name="count-0")
    until(lambda: state(book, "count-0") == "RUNNING")
    assert book.get("count-0").tries == 2


def test_cancel_from_another_process_is_heard(book, url, running):
    """A job cancelled through another book stops too."""
    book.create("count", {}, name="count-0")
    running(Steps())
    until(lambda: state(book, "count-0") == "RUNNING")
    other = JobBook(url)
    other.cancel("count-0")
    other.close()
    until(lambda: state(book, "count-0") == "CANCELLED")


def test_drained_jobs_queue_again_and_are_taken_up(book, running):
    """Drain lets jobs keep their state; the next runner finishes them from there."""
    work = Steps(200)
    for i in range(3):
        book.create("count", {"n": i}, name=f"count-{i}")
    first = running(work)
    until(lambda: len(work.kept) == 2 and min(work.kept.values()) > 10)
    assert first.drain(10.0)
    assert book.count() == {"QUEUED": 3}
    kept = dict(work.kept)
    running(work)
    until(lambda: book.count() == {"SUCCEEDED": 3})
    assert min(kept.values()) > 10
    assert sorted(book.get(f"count-{i}").tries for i in range(3)) == [1, 2, 2]


def test_deaf_work_does_not_hold_up_the_drain(book):
    """Drain says that something has not stopped, in the time it was given."""
    began, let_go = threading.Event(), threading.Event()

    def deaf(job, hooks):
        began.set()
        let_go.wait()
        return {}

    book.create("count", {}, name="count-0")
    runner = JobRunner(book, {"count": deaf}, 1).start()
    assert began.wait(60)
    assert not runner.drain(0.1)
    let_go.set()
    assert runner.drain(10.0)


def test_two_runners_share_the_work(book, url, running):
    """Runners on books of their own never run a job twice, leases renewed while it runs."""
    seen = []

    def slow(job, hooks):
        seen.append(job.name)
        time.sleep(1.4)
        return {}

    other = JobBook(url, lease_s=1.0)
    for i in range(4):
        book.create("count", {"n": i}, name=f"count-{i}")
    running(slow)
    running(slow, on=other)
    until(lambda: book.count() == {"SUCCEEDED": 4})
    assert sorted(seen) == [f"count-{i}" for i in range(4)]
    assert all(job.tries == 1 for job in book.jobs().jobs)


def test_a_job_whose_lease_was_lost_is_stopped(book, url, running):
    """Work that another process has taken over stops, and its end is not written."""
    work = Steps()
    book.create("count", {}, name="count-0")
    running(work, 1)
    until(lambda: work.at_once == 1)
    engine = open_tables(url)
    with engine.begin() as db:
        db.execute(update(JOBS).values(owner="elsewhere|1|1|1", lease_until=time.time() + 60))
    engine.dispose()
    until(lambda: work.at_once == 0)
    assert (state(book, "count-0"), book.get("count-0").tries) == ("RUNNING", 1)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_cancels_at_random_moments_leave_no_state(book, running, count):
    """Jobs cancelled whenever: each ends, the runner is free, the next job runs."""
    moments = random.Random(4)

    def instant(job, hooks):
        for _ in range(3):
            if hooks.cancelled():
                raise Interrupted("stopped")
            time.sleep(0.001)
        return {"done": True}

    runner = running(instant)
    for i in range(count):
        book.create("count", {"n": i}, name=f"count-{i}")
        time.sleep(moments.random() * 0.01)
        runner.cancel(f"count-{i}")
    until(lambda: set(book.count()) <= {"SUCCEEDED", "CANCELLED"}, 60.0)
    counts = book.count()
    assert sum(counts.values()) == count
    assert counts.get("CANCELLED", 0) > 0  # how many, the machine decides
    until(lambda: runner.running == 0)
    assert book.held(runner.owner) == {}
    book.create("count", {"n": -1}, name="count-last")
    until(lambda: state(book, "count-last") == "SUCCEEDED")
