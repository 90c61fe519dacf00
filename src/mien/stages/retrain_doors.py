"""What a retraining is asked for, what it needs of the world, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mien.core.serving import CHALLENGER, GateCheck, Promotion
from mien.recognition.package import Package, Variant
from mien.stages.context import Context
from mien.stages.retrain_change import Change
from mien.stages.retrain_report import RunLink

Gate = Callable[[Package, Variant, Package | None], Sequence[GateCheck]]


class Moved(Protocol):
    """What a transfer of data says."""

    @property
    def objects(self) -> int:
        """How many were compared with their names."""
        ...


class Data(Protocol):
    """The remote of a project's data."""

    def pull(self) -> Moved:
        """Fetch what ``dvc.lock`` names, compared before it is used."""
        ...

    def push(self) -> Moved:
        """Push what ``dvc.lock`` names, read back and compared."""
        ...


class Commit(Protocol):
    """What a branch points at."""

    @property
    def commit(self) -> str:
        """Its hash."""
        ...


class Branch(Protocol):
    """The branch that the result goes to; see ``adapters.retrain_branch``."""

    head: str
    branch: str
    onto: str

    def uncommitted(self) -> tuple[tuple[str, ...], str]:
        """Files that differ from the commit, and the digest of how."""
        ...

    def tip(self) -> str:
        """Commit on the remote; "" = none."""
        ...

    def key_of(self, commit: str) -> str:
        """Which retraining made a commit."""
        ...

    def read(self, commit: str, path: str) -> bytes | None:
        """Bytes of a file there."""
        ...

    def below(self, commit: str, folder: str) -> list[str]:
        """Files below a folder there."""
        ...

    def publish(self, files: Mapping[str, Path], message: str, *, key: str, tip: str) -> Commit:
        """Commit and push, if the branch is still at ``tip``."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        change: of the parameters.
        promote: the alias that is moved in the end; ``champion`` after the gate of serving too.
        pull_request: number, ``auto`` = that of the retraining branch, "" = no comment.
    """

    change: Change
    promote: str = CHALLENGER
    pull_request: str = ""


@dataclass(frozen=True, slots=True)
class Doors:
    """What a retraining needs of the world.

    Attributes:
        root: the project.
        folder: of this branch's retrainings: a folder each, with journal and report.
        branch: where the result goes.
        data: the remote of the data.
        given: fetches the data sets that the parameters name by digest.
        repro: runs the pipeline; the challenger is not registered by it.
        context: opens the project with the parameters that are in the file now.
        gate: that those parameters ask for, and the variant that is served.
        runs: of a decided trial in the tracker.
        champion: promotes a registered model through the gate of serving.
        comment: puts a report on a pull request; returns its address.
        cancelled: asked between steps.
    """

    root: Path
    folder: Path
    branch: Branch
    data: Data
    given: Callable[[], object]
    repro: Callable[[Path], None]
    context: Callable[[], Context]
    gate: Callable[[], tuple[Gate | None, Variant]]
    runs: Callable[[str, str], Sequence[RunLink]]
    champion: Callable[[str], Promotion]
    comment: Callable[[str, str], str]
    cancelled: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        state: ``promoted`` or ``refused``.
        report: ``report.md``; pictures lie beside it.
        model: that the challenger is now, ``expression/7``; "" when refused.
        commit: on the retraining branch; "" when refused.
        why: the gate's failing checks in words; "" when none failed.
        again: nothing had changed since the same request was completed.
    """

    state: str
    report: Path
    model: str = ""
    commit: str = ""
    why: str = ""
    again: bool = False
