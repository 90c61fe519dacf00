"""The challenger's package: made from its trial, taken from the registry, or trained once more."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from mien.core.errors import Corrupt, MienError, NotFound
from mien.core.ports import Models
from mien.core.serving import CHALLENGER, CHAMPION, MODEL, ModelInfo
from mien.recognition.package import Package, read_package
from mien.stages import register, sweep, trial
from mien.stages.context import Context

log = logging.getLogger(__name__)


def package_of(context: Context, models: Models) -> Package:
    """Return the package of the challenger that was decided for.

    A machine that found the verdict in the data's remote has not run its trials. Then the package
    is that of the registered model of this trial, or the one trial is run again: the same
    parameters, rows, seed and code make the same network.

    Args:
        context: of the project, its pipeline finished.
        models: the registry.

    Raises:
        WrongState: ``STAGE_MISSING``. NotFound: ``TRIAL_MISSING`` when this code plans no such
            trial.
    """
    decided = context.read_json("decide", "decision.json")["challenger"]
    try:
        return register.package_challenger(context, decided)
    except NotFound as error:
        if error.reason != "TRIAL_MISSING":
            raise
        for alias in (CHALLENGER, CHAMPION):
            if (version := models.pointed(MODEL, alias)) is None:
                continue
            with suppress(MienError):
                there = registered_package(context, models, models.get(f"{MODEL}/{version}"))
                wanted = (decided["trial"], decided["temperature"], context.params.gate.threshold)
                if (there.spec.trial, there.spec.temperature, there.spec.threshold) == wanted:
                    return there
        _train_again(context, decided["trial"], error)
    return register.package_challenger(context, decided)


def registered_package(context: Context, models: Models, info: ModelInfo) -> Package:
    """Fetch a registered model's package into the cache, once, verified.

    Raises:
        Corrupt: ``MODEL_FILES``. Unavailable: ``REGISTRY_UNAVAILABLE``.
    """
    folder = context.cache / "packages" / "registered" / info.lineage.model_digest
    with suppress(NotFound, Corrupt):
        return read_package(folder)
    return read_package(models.fetch(info.name, folder))


def _train_again(context: Context, key: str, missing: NotFound) -> None:
    log.warning("the challenger's trial is not in this cache: it is run again", extra={"of": key})
    file = context.folder("notes") / "plans.json"
    sweep.write_plans(context, file)
    planned = json.loads(file.read_text(encoding="utf-8"))
    plan = next((p["plan"] for p in planned if p["key"] == key), None)
    if plan is None:
        raise missing
    trial.run(Path(plan), progress=context.progress, cancelled=context.cancelled)
