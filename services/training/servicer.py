"""Training jobs over the wire: messages to words and back, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import grpc

from mien.api.training.v1 import training_pb2 as pb
from mien.api.training.v1.training_pb2_grpc import TrainingServiceServicer
from mien.core.ports import Training
from mien.wire.training import asked_of, log_message, training_job_message

SERVICE = "mien.api.training.v1.TrainingService"


class TrainingServicer(TrainingServiceServicer):
    """The port ``Training`` as a service.

    Args:
        training: does the work.
        ended: gives an event that is set when a call is over or the server shall end.
    """

    def __init__(self, training: Training, ended: Callable[[grpc.ServicerContext], Event]) -> None:
        self._training = training
        self._ended = ended

    def CreateTrainingJob(
        self, request: pb.CreateTrainingJobRequest, context: grpc.ServicerContext
    ) -> pb.TrainingJob:
        """Start a job."""
        work = asked_of(request.job)
        return training_job_message(self._training.create(work, request_id=request.request_id))

    def GetTrainingJob(
        self, request: pb.GetTrainingJobRequest, context: grpc.ServicerContext
    ) -> pb.TrainingJob:
        """Read a job."""
        return training_job_message(self._training.get(request.name))

    def ListTrainingJobs(
        self, request: pb.ListTrainingJobsRequest, context: grpc.ServicerContext
    ) -> pb.ListTrainingJobsResponse:
        """List jobs."""
        page = self._training.jobs(
            parent=request.parent, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListTrainingJobsResponse(
            jobs=[training_job_message(job) for job in page.jobs],
            next_page_token=page.next_page_token,
        )

    def CancelTrainingJob(
        self, request: pb.CancelTrainingJobRequest, context: grpc.ServicerContext
    ) -> pb.TrainingJob:
        """Ask a job to stop."""
        return training_job_message(self._training.cancel(request.name))

    def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.TrainingJob]:
        """Stream a job's changes."""
        over = self._ended(context)
        changes = self._training.watch(
            request.name, after_revision=request.after_revision, stop=over.is_set
        )
        for job in changes:
            yield training_job_message(job)

    def GetTrainingLog(
        self, request: pb.GetTrainingLogRequest, context: grpc.ServicerContext
    ) -> pb.TrainingLog:
        """Read the end of a log."""
        return log_message(self._training.log(request.name, max_bytes=request.max_bytes))
