"""Long work as a resource: what is asked, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mien.core.errors import ERRORS, Corrupt, MienError, Unavailable

JobState = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"]
ENDED: frozenset[JobState] = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job ended without a result.

    Attributes:
        kind: class of the error, ``Invalid`` …; "" for an unforeseen one.
        reason: UPPER_SNAKE.
        message: what and where.
        hint: what to do.
        details: pairs for programs.
        exit_code: of the worker, where one ran.
    """

    kind: str
    reason: str
    message: str
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None

    @classmethod
    def of(cls, error: BaseException, *, exit_code: int | None = None) -> Failure:
        """Describe an error; of an unforeseen one only its class is told."""
        if isinstance(error, MienError):
            kind = type(error).__name__
            return cls(kind, error.reason, error.message, error.hint, error.details, exit_code)
        said = f"unforeseen: {type(error).__name__}"
        return cls("", "INTERNAL", said, "see the server's log", {}, exit_code)

    def error(self) -> MienError:
        """Return the error again, to be raised; ``Unavailable`` for an unforeseen one."""
        kinds = {kind.__name__: kind for kind in ERRORS}
        kind = kinds.get(self.kind, Unavailable)
        return kind(self.reason, self.message, hint=self.hint, details=self.details)


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of long work.

    Attributes:
        name: ``<kind>-<digest>``, unique.
        kind: what sort of work: ``generation``, ``trial``, ``sweep``, ``generator``.
        spec: what is asked, plain JSON values.
        parent: name of the job that started it, or "".
        request_id: what made its creation idempotent, or "".
        state: where it is in its life.
        done: work done, in ``unit``.
        total: work in all, in ``unit``; 0 = not known yet.
        unit: what is counted.
        message: what it does at present.
        metrics: figures of the moment.
        failure: set when FAILED.
        result: what came of it, plain JSON values; set when SUCCEEDED, may grow before.
        created: when it was created.
        started: when it first ran.
        ended: when it ended.
        tries: how often it was started, resumptions included.
        revision: raised by one with every change.
        children: names of the jobs it started, in the order it started them.
    """

    name: str
    kind: str
    spec: Mapping[str, Any]
    parent: str = ""
    request_id: str = ""
    state: JobState = "QUEUED"
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    tries: int = 0
    revision: int = 0
    children: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of many jobs.

    Attributes:
        jobs: newest first.
        next_page_token: asks for the page after; "" = this is the last.
    """

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class JobLog:
    """The end of what a job wrote.

    Attributes:
        text: broken characters replaced.
        truncated: whether there was more before it.
    """

    text: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class TrialWork:
    """One trial, planned already.

    Attributes:
        plan: URI or path of its plan.json.
        done: URI or path of the marker whose existence means done; "" = result.json beside it.
        key: digest that names the work; "" = of the plan's bytes.
    """

    plan: str
    done: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class SweepWork:
    """Every trial of a project, as the stage ``sweep`` runs them.

    Attributes:
        project: folder with the prepared data.
        params_yaml: parameters as text; "" = the project's own file.
        overrides: ``section.key=value``, applied in order.
    """

    project: str
    params_yaml: str = ""
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GeneratorWork:
    """A generator to train, as the stage ``train_generator`` does.

    Attributes:
        project: folder with the ingested data.
        generator: which one of the section ``train_generator``.
        params_yaml: parameters as text; "" = the project's own file.
        overrides: ``section.key=value``, applied in order.
    """

    project: str
    generator: str
    params_yaml: str = ""
    overrides: tuple[str, ...] = ()


TrainingWork = TrialWork | SweepWork | GeneratorWork


def work_of(job: Job) -> TrainingWork:
    """Read what a training job was asked to do.

    Raises:
        Corrupt: ``JOB_SPEC`` when it is no work of a training service.
    """
    kinds: dict[str, Callable[..., TrainingWork]] = {
        "trial": TrialWork,
        "sweep": SweepWork,
        "generator": GeneratorWork,
    }
    try:
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in job.spec.items()}
        return kinds[job.kind](**given)
    except (KeyError, TypeError):
        raise Corrupt(
            "JOB_SPEC", f"{job.name} is no training job: {job.kind}", hint="ask for it anew"
        ) from None
