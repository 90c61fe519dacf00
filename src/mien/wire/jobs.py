"""The state of long work as a message, the same in every kind of job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from mien.api.type.v1 import job_pb2 as pb
from mien.core.errors import Invalid
from mien.core.jobs import Failure, Job, JobState
from mien.wire.versions import moment_of, timestamp

_STATES: dict[JobState, pb.State.ValueType] = {
    state: pb.State.Value(f"STATE_{state}") for state in get_args(JobState)
}
_STATES_BACK = {number: state for state, number in _STATES.items()}


def failure_message(failure: Failure) -> pb.Failure:
    """Write why a job ended without a result."""
    return pb.Failure(
        kind=failure.kind,
        reason=failure.reason,
        message=failure.message,
        hint=failure.hint,
        details=failure.details,
        exit_code=failure.exit_code,
    )


def failure_of(message: pb.Failure) -> Failure:
    """Read why a job ended without a result."""
    return Failure(
        message.kind,
        message.reason,
        message.message,
        message.hint,
        dict(sorted(message.details.items())),
        message.exit_code if message.HasField("exit_code") else None,
    )


def job_status(job: Job) -> pb.JobStatus:
    """Write how far a job is."""
    return pb.JobStatus(
        state=_STATES[job.state],
        done=job.done,
        total=job.total,
        unit=job.unit,
        message=job.message,
        metrics=job.metrics,
        failure=None if job.failure is None else failure_message(job.failure),
        create_time=timestamp(job.created),
        start_time=timestamp(job.started),
        end_time=timestamp(job.ended),
        tries=job.tries,
        revision=job.revision,
    )


def job_of(
    status: pb.JobStatus,
    *,
    name: str,
    kind: str,
    spec: Mapping[str, Any],
    parent: str = "",
    request_id: str = "",
    result: Mapping[str, Any] | None = None,
    children: tuple[str, ...] = (),
) -> Job:
    """Read a job: its status, and what the resource around it says.

    Raises:
        Invalid: ``JOB_STATE`` for a state that this release does not know.
    """
    state = _STATES_BACK.get(status.state)
    if state is None:
        raise Invalid(
            "JOB_STATE",
            f"the job {name!r} has the unknown state {status.state}",
            hint="use a newer client",
        )
    return Job(
        name=name,
        kind=kind,
        spec=spec,
        parent=parent,
        request_id=request_id,
        state=state,
        done=status.done,
        total=status.total,
        unit=status.unit,
        message=status.message,
        metrics=dict(sorted(status.metrics.items())),
        failure=failure_of(status.failure) if status.HasField("failure") else None,
        result=dict(result or {}),
        created=moment_of(status.create_time) if status.HasField("create_time") else None,
        started=moment_of(status.start_time) if status.HasField("start_time") else None,
        ended=moment_of(status.end_time) if status.HasField("end_time") else None,
        tries=status.tries,
        revision=status.revision,
        children=children,
    )
