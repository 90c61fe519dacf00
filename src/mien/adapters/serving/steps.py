"""Steps that every promotion takes, on one machine and on a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from mien.adapters.serving.state import Served, State
from mien.adapters.triton.repository import HostSpec, hosted_name
from mien.core.errors import AlreadyExists, Corrupt, NotFound, WrongState
from mien.core.ports import Models
from mien.core.serving import GateCheck, ModelInfo, Promotion
from mien.recognition.package import Package, Variant, read_package

GOLDEN_TIMEOUT_S = 20.0
Gate = Callable[[Package, Variant, Package | None], Sequence[GateCheck]]


class Promotes(Protocol):
    """What serving asks of whoever decides which model is served."""

    spec: HostSpec
    changed: Callable[[], None]  # called when there is another champion

    @property
    def state(self) -> State:
        """What is served now."""
        ...

    def vacant(self) -> bool:
        """Whether the service is ready without a champion: only it can make the first one."""
        ...

    def package(self, served: Served) -> Package:
        """Open the package of a promoted model, verified."""
        ...

    def recover(self) -> None:
        """Find out where things stand, and serve what is so."""
        ...

    def promote(self, reference: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a model the champion; any failure leaves the old one serving."""
        ...

    def rollback(self, *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again."""
        ...


def registry_of(models: Models | None) -> Models:
    """Return the registry of models.

    Raises:
        WrongState: ``NO_MODEL_REGISTRY`` where there is none.
    """
    if models is None:
        raise WrongState(
            "NO_MODEL_REGISTRY",
            "there is no model registry: nothing records who is champion",
            hint="set MIEN_TRACKING_URI to an MLflow database or server",
        )
    return models


def earlier_of(state: State) -> Served:
    """Return the champion before this one.

    Raises:
        WrongState: ``NO_EARLIER_CHAMPION``.
    """
    if not state.earlier:
        raise WrongState(
            "NO_EARLIER_CHAMPION",
            "there was no champion before this one",
            hint="promote another model",
        )
    return state.earlier[-1]


def package_folder(packages: Path, model: str, version: str) -> Path:
    """Name the folder of a promoted model's package."""
    return packages / f"{model}-{version}"


def fetch_package(packages: Path, models: Models, info: ModelInfo) -> Package:
    """Copy the package here once; what is here is verified against the registry's digest.

    Raises:
        Corrupt: ``MODEL_FILES``.
    """
    folder = package_folder(packages, info.lineage.model, info.lineage.model_version)
    with suppress(NotFound, Corrupt):
        package = read_package(folder)
        if package.digest == info.lineage.model_digest:
            return package
    shutil.rmtree(folder, ignore_errors=True)
    package = read_package(models.fetch(info.name, folder))
    if package.digest != info.lineage.model_digest:
        raise Corrupt(
            "MODEL_FILES",
            f"the files of {info.name} are not those that were registered",
            hint="register the model again",
        )
    return package


def served_of(info: ModelInfo, package: Package, variant: Variant, digest: str = "") -> Served:
    """Describe a registered model as it is hosted."""
    model, version = info.lineage.model, info.lineage.model_version
    hosted = hosted_name(model, version, variant)
    return Served(model, version, package.digest, hosted, variant, digest, info.lineage.run_id)


def judged(
    gate: Gate | None,
    models: Models,
    info: ModelInfo,
    package: Package,
    before: Package | None,
    variant: Variant,
    *,
    refuse: bool,
) -> tuple[GateCheck, ...]:
    """Hold a challenger against the gate, and note on it what came of that.

    Raises:
        WrongState: ``NO_GATE``; ``GATE_REFUSED`` with ``refuse``.
    """
    if gate is None:
        raise WrongState(
            "NO_GATE",
            "params.gate.set names no faces to judge a challenger on",
            hint="name a preprocessed set that nothing was trained or selected on",
        )
    checks = tuple(gate(package, variant, before))
    failed = [c for c in checks if not c.passed]
    noted = "; ".join(f"{c.check}: {c.finding}" for c in checks)
    models.note(info.name, {"mien.gate": "refused" if failed else "passed", "mien.why": noted})
    if failed and refuse:
        raise WrongState(
            "GATE_REFUSED",
            f"{info.name} does not pass the gate: "
            + "; ".join(f"{c.check}: {c.finding}" for c in failed),
            hint="the champion goes on serving; look at the challenger's report",
            details={c.check: c.finding for c in checks},
        )
    return checks


def known_answer(
    requests: Mapping[str, Any], request_id: str, asked: str
) -> Mapping[str, Any] | None:
    """Return the answer that a request was given before; None when it is new.

    Raises:
        AlreadyExists: ``REQUEST_ID_REUSED``.
    """
    known: Mapping[str, Any] | None = requests.get(request_id) if request_id else None
    if known is not None and known["asked"] != asked:
        raise AlreadyExists(
            "REQUEST_ID_REUSED",
            f"the request id {request_id!r} was used for: {known['asked']}",
            hint="take a new id for a new request",
        )
    return known


def promotion_of(models: Models, answer: Mapping[str, Any]) -> Promotion:
    """Build the answer to a promotion from its plain values."""
    champion, previous = (
        models.get(answer[who]) if answer[who] else None for who in ("champion", "previous")
    )
    return Promotion(
        champion=champion,
        previous=previous,
        checks=tuple(GateCheck(**c) for c in answer["checks"]),
        repository_digest=answer["repository_digest"],
        took_s=answer["took_s"],
        promoted=answer["promoted"],
    )
