"""The ``Training`` port over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from mien.api.training.v1 import training_pb2 as pb
from mien.api.training.v1.training_pb2_grpc import TrainingServiceStub
from mien.core.hooks import Cancelled, never_cancelled
from mien.core.jobs import Job, JobLog, JobPage, TrainingWork
from mien.wire.channel import translated
from mien.wire.training import log_of, training_job_of, work_message
from mien.wire.watching import watched


class TrainingClient:
    """A training service, used as training in this process.

    Args:
        channel: to the service, from ``mien.wire.channel.open_channel``.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = TrainingServiceStub(channel)

    def create(self, work: TrainingWork, *, request_id: str = "") -> Job:
        """Start a job; the same work is the same job, the same request id never asks twice.

        Raises:
            Invalid: ``JOB_SPEC``. NotFound: ``PLAN_MISSING``. Forbidden: ``PLAN_FORBIDDEN``.
            AlreadyExists: ``REQUEST_ID_REUSED``. Exhausted: ``QUEUE_FULL``.
        """
        request = pb.CreateTrainingJobRequest(job=work_message(work), request_id=request_id)
        with translated(late_is_unavailable=True):
            return training_job_of(self._stub.CreateTrainingJob(request))

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound UNKNOWN_JOB``."""
        with translated(late_is_unavailable=True):
            return training_job_of(self._stub.GetTrainingJob(pb.GetTrainingJobRequest(name=name)))

    def jobs(self, *, parent: str = "", page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; only children of ``parent`` where given.

        Raises:
            Invalid: ``PAGE_TOKEN``, ``PAGE_SIZE``.
        """
        request = pb.ListTrainingJobsRequest(
            parent=parent, page_size=page_size, page_token=page_token
        )
        with translated(late_is_unavailable=True):
            page = self._stub.ListTrainingJobs(request)
        return JobPage(tuple(training_job_of(job) for job in page.jobs), page.next_page_token)

    def cancel(self, name: str) -> Job:
        """Ask a job and its children to stop within one step; ``NotFound UNKNOWN_JOB``."""
        with translated(late_is_unavailable=True):
            return training_job_of(
                self._stub.CancelTrainingJob(pb.CancelTrainingJobRequest(name=name))
            )

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed, until it ends or ``stop`` says so.

        A service that goes away is waited for, a minute at most. ``NotFound UNKNOWN_JOB``.
        """
        return watched(
            lambda revision: self._stub.WatchTrainingJob(
                pb.WatchTrainingJobRequest(name=name, after_revision=revision)
            ),
            training_job_of,
            lambda: self.get(name),
            after_revision,
            stop,
        )

    def log(self, name: str, *, max_bytes: int = 0) -> JobLog:
        """Read the last bytes (0 = 65,536) a job wrote; ``NotFound UNKNOWN_JOB``."""
        request = pb.GetTrainingLogRequest(name=name, max_bytes=max_bytes)
        with translated(late_is_unavailable=True):
            return log_of(self._stub.GetTrainingLog(request))
