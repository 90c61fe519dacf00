"""Training jobs as messages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mien.api.training.v1 import training_pb2 as pb
from mien.core.errors import Invalid
from mien.core.jobs import (
    GeneratorWork,
    Job,
    JobLog,
    SweepWork,
    TrainingWork,
    TrialWork,
    work_of,
)
from mien.wire.jobs import job_of, job_status


def work_message(work: TrainingWork) -> pb.TrainingJob:
    """Write work that shall be done, as a job without a name."""
    if isinstance(work, TrialWork):
        return pb.TrainingJob(trial=pb.Trial(plan=work.plan, done=work.done, key=work.key))
    if isinstance(work, SweepWork):
        return pb.TrainingJob(
            sweep=pb.Sweep(
                project=work.project, params_yaml=work.params_yaml, overrides=work.overrides
            )
        )
    return pb.TrainingJob(
        generator=pb.GeneratorTraining(
            project=work.project,
            params_yaml=work.params_yaml,
            generator=work.generator,
            overrides=work.overrides,
        )
    )


def asked_of(message: pb.TrainingJob) -> TrainingWork:
    """Read the work of a job.

    Raises:
        Invalid: ``JOB_SPEC`` when it names none.
    """
    if message.HasField("trial"):
        trial = message.trial
        return TrialWork(trial.plan, trial.done, trial.key)
    if message.HasField("sweep"):
        sweep = message.sweep
        return SweepWork(sweep.project, sweep.params_yaml, tuple(sweep.overrides))
    if message.HasField("generator"):
        training = message.generator
        return GeneratorWork(
            training.project,
            training.generator,
            training.params_yaml,
            tuple(training.overrides),
        )
    raise Invalid(
        "JOB_SPEC",
        "the job says not what shall be done",
        hint="set trial, sweep or generator",
        details={"field:job.work": "is not set"},
    )


def training_job_message(job: Job) -> pb.TrainingJob:
    """Write a training job; ``Corrupt JOB_SPEC`` when it is another kind of job."""
    message = work_message(work_of(job))
    message.name = job.name
    message.parent = job.parent
    message.children.extend(job.children)
    message.status.CopyFrom(job_status(job))
    return message


def training_job_of(message: pb.TrainingJob) -> Job:
    """Read a training job.

    Its result stays with the service: a trial's lies beside its plan.

    Raises:
        Invalid: ``JOB_SPEC``, ``JOB_STATE``.
    """
    work = asked_of(message)
    spec: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(work).items()
    }
    return job_of(
        message.status,
        name=message.name,
        kind=_KINDS[type(work)],
        spec=spec,
        parent=message.parent,
        children=tuple(message.children),
    )


def log_message(log: JobLog) -> pb.TrainingLog:
    """Write the end of a log."""
    return pb.TrainingLog(text=log.text, truncated=log.truncated)


def log_of(message: pb.TrainingLog) -> JobLog:
    """Read the end of a log."""
    return JobLog(message.text, message.truncated)


_KINDS: dict[type[TrainingWork], str] = {
    TrialWork: "trial",
    SweepWork: "sweep",
    GeneratorWork: "generator",
}
