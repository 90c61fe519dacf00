"""A watch tells every change once, over restarts of the service, and ends when it should."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from mien.api.training.v1 import training_pb2 as pb
from mien.api.training.v1.training_pb2_grpc import (
    TrainingServiceServicer,
    add_TrainingServiceServicer_to_server,
)
from mien.api.type.v1 import job_pb2
from mien.core.errors import NotFound, Unavailable
from mien.wire import watching
from mien.wire.errors import status_of
from mien.wire.training_client import TrainingClient

from .servers import serving

RUNNING, DONE = job_pb2.STATE_RUNNING, job_pb2.STATE_SUCCEEDED


def job(revision, state=RUNNING):
    status = job_pb2.JobStatus(state=state, revision=revision)
    return pb.TrainingJob(name="trial-1", trial=pb.Trial(plan="p"), status=status)


class Training(TrainingServiceServicer):
    """Plays one scene a watch: jobs to tell, and then how the watch ends."""

    def __init__(self) -> None:
        self.now = job(1)
        self.scenes: list[tuple[list[pb.TrainingJob], Any]] = []
        self.behind: list[int] = []
        self.gone = threading.Event()
        self.slow_s = 0.0

    def GetTrainingJob(self, request, context):
        time.sleep(self.slow_s)
        if request.name != "trial-1":
            error = NotFound("UNKNOWN_JOB", "no such job")
            context.abort_with_status(rpc_status.to_status(status_of(error)))
        return self.now

    def WatchTrainingJob(self, request, context):
        context.add_callback(self.gone.set)
        self.behind.append(request.after_revision)
        jobs, end = self.scenes.pop(0) if self.scenes else ([], "wait")
        yield from jobs
        if end == "wait":
            self.gone.wait(20)
        elif end is not None:
            context.abort(end, "broke off")


@pytest.fixture
def servicer():
    return Training()


@pytest.fixture
def client(servicer, monkeypatch):
    monkeypatch.setattr(watching, "_ASK_S", 0.02)
    with serving(add_TrainingServiceServicer_to_server, servicer) as channel:
        yield TrainingClient(channel)


def seen(client, **options):
    return [j.revision for j in client.watch("trial-1", **options)]


def test_changes_are_told_until_the_end(client, servicer):
    """The last is the end."""
    servicer.scenes = [([job(1), job(3), job(4, DONE)], "wait")]
    assert seen(client) == [1, 3, 4]


@pytest.mark.parametrize(
    "end",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED],
)
def test_a_watch_that_breaks_off_is_opened_again(client, servicer, end, monkeypatch):
    """Behind what was seen; nothing is told twice."""
    monkeypatch.setattr(watching, "retry_after_s", lambda _: 0.01)
    servicer.scenes = [([job(1), job(2)], end), ([job(2), job(5, DONE)], "wait")]
    assert seen(client) == [1, 2, 5]
    assert (servicer.behind[0], servicer.behind[-1]) == (0, 2)


def test_a_service_that_stops_ends_its_watches_and_is_asked_again(client, servicer):
    """A stream that ends well while the job goes on says nothing about the job."""
    servicer.scenes = [([job(1)], None), ([], None), ([job(2, DONE)], None)]
    assert seen(client) == [1, 2]


def test_a_job_that_ended_before_has_nothing_new(client, servicer):
    """Only what is newer than the revision is told, and then it ends."""
    servicer.now = job(9, DONE)
    servicer.scenes = [([], None)]
    assert seen(client, after_revision=9) == []


def test_an_unknown_job_is_an_error_of_the_call(client):
    """Not of the first change."""
    with pytest.raises(NotFound, match="UNKNOWN_JOB"):
        client.watch("trial-2")


def test_stop_ends_a_watch_in_which_nothing_happens(client, servicer):
    """And the service hears of it."""
    stop = threading.Event()
    found = client.watch("trial-1", stop=stop.is_set)
    servicer.scenes = [([job(1)], "wait")]
    assert next(found).revision == 1
    threading.Timer(0.1, stop.set).start()
    assert list(found) == []
    assert servicer.gone.wait(20)


def test_a_service_that_stays_away_is_an_error(client, servicer, monkeypatch):
    """After a while."""
    monkeypatch.setattr(watching, "PATIENCE_S", 0.2)
    monkeypatch.setattr(watching, "retry_after_s", lambda _: 0.01)
    servicer.scenes = [([], grpc.StatusCode.UNAVAILABLE)] * 1000
    began = time.monotonic()
    with pytest.raises(Unavailable):
        seen(client)
    assert time.monotonic() - began < 20


def test_a_look_that_is_late_may_be_repeated(client, servicer, monkeypatch):
    """Whoever looks at a job again and again need not know of deadlines."""
    monkeypatch.setattr("mien.wire.channel.DEADLINE_S", 0.1)
    servicer.slow_s = 1.0
    with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
        client.get("trial-1")
