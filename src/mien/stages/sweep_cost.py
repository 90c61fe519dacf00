"""What a sweep would cost before it runs: trials, images, time and disk.

Time is told from trials of the same network that finished on this kind of device, or else from a
few steps of it taken now.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mien.core.digest import canonical_json
from mien.core.errors import Interrupted
from mien.core.faces import FaceArrays
from mien.core.hooks import Cancelled, never_cancelled
from mien.core.split import Protocol
from mien.recognition.fit import fit
from mien.recognition.networks import build
from mien.recognition.predict import predict
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.stages.plans import PlannedTrial
from mien.stages.trial import RESULT
from mien.training.device import place, reproducible

_WARM_UP = 3  # steps that are slower than those that follow
_LEAST_STEPS = 8
_MOST_STEPS = 60
_MOST_S = 2.0  # of steps, once there are enough of them
_JUDGED = 128  # faces, a few times over
_JUDGINGS = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one worker trains a network.

    Attributes:
        train_s: seconds an image trained on.
        judged_s: seconds a face judged; 0 where ``rest_s`` holds it.
        rest_s: seconds a trial besides.
        source: where the figures come from, for people.
    """

    train_s: float
    judged_s: float
    rest_s: float
    source: str


@dataclass(frozen=True, slots=True)
class ProtocolCost:
    """What one protocol's trials would cost.

    Attributes:
        protocol: of the trials.
        trials: in all.
        cached: of them done already.
        kimg: thousands of images to train on; under ``paper`` at most, it may stop early.
        work_s: seconds that one worker would take; None when it was not asked for.
        source: where the time comes from; "" when there is nothing to run.
    """

    protocol: Protocol
    trials: int
    cached: int
    kimg: float
    work_s: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sweep would cost.

    Attributes:
        trials: in all.
        cached: of them done already.
        kimg: thousands of images to train on, upper limit for the paper's protocol.
        disk_mb: for the new trials' folders, about.
        workers: trials at once.
        wall_s: seconds to the end; None when it was not asked for.
        protocols: the same for each protocol.
    """

    trials: int
    cached: int
    kimg: float
    disk_mb: float
    workers: int = 1
    wall_s: float | None = None
    protocols: tuple[ProtocolCost, ...] = ()


def cost_of(
    planned: Sequence[PlannedTrial],
    folders: Mapping[str, Path],
    *,
    workers: int,
    with_time: bool,
    cancelled: Cancelled = never_cancelled,
) -> Estimate:
    """Estimate a sweep.

    Args:
        planned: every trial; one key counts once.
        folders: key → folder in the cache.
        workers: trials at once.
        with_time: tell the time too; takes some seconds where no trial has finished yet.
        cancelled: asked while steps are taken.

    Raises:
        Interrupted: when cancelled.
    """
    unique = {p.plan.key: p for p in planned}
    new = [p for k, p in unique.items() if not (folders[k] / RESULT).exists()]
    seconds: dict[str, float] = {}
    rates: dict[tuple[bytes, Protocol], Rate] = {}
    if with_time and new:
        records = list(_records(next(iter(folders.values())).parent))
        for trial in new:
            speed = (_speed_key(trial.plan.classifier, trial.plan.fit), trial.plan.protocol)
            if speed not in rates:
                rates[speed] = _recorded(trial, records) or _measured(trial, cancelled)
            seconds[trial.plan.key] = trial_seconds(trial, rates[speed])
    each = tuple(
        ProtocolCost(
            protocol=protocol,
            trials=sum(p.plan.protocol == protocol for p in unique.values()),
            cached=sum(p.plan.protocol == protocol for p in unique.values())
            - sum(p.plan.protocol == protocol for p in new),
            kimg=sum(kimg_of(p) for p in new if p.plan.protocol == protocol),
            work_s=sum(seconds[p.plan.key] for p in new if p.plan.protocol == protocol)
            if with_time
            else None,
            source=next((r.source for (_, of), r in rates.items() if of == protocol), ""),
        )
        for protocol in dict.fromkeys(p.plan.protocol for p in unique.values())
    )
    rows = sum(len(rows) for p in new for rows in p.roles.values())
    weights_mb = 34.0 if any(p.plan.classifier["network"] != "small" for p in new) else 2.0
    return Estimate(
        trials=len(unique),
        cached=len(unique) - len(new),
        kimg=sum(cost.kimg for cost in each),
        disk_mb=round(len(new) * weights_mb + rows * 60 / 1e6, 1),
        workers=workers,
        wall_s=wall_seconds(list(seconds.values()), workers) if with_time else None,
        protocols=each,
    )


def kimg_of(trial: PlannedTrial) -> float:
    """Return the thousands of images a trial trains on, before any early stop."""
    described = trial.plan.fit
    if trial.plan.protocol == "steps":
        return float(described["kimg"])
    return float(described["epochs"]) * len(trial.mix.rows) / 1000


def trial_seconds(trial: PlannedTrial, rate: Rate) -> float:
    """Return the seconds that one worker takes for a trial."""
    described, validation = trial.plan.fit, len(trial.roles["validation"])
    steps = trial.plan.protocol == "steps"
    validations = described["evaluations"] if steps else described["epochs"]
    judged = sum(map(len, trial.roles.values())) + validations * validation
    seconds: float = rate.rest_s + 1000 * kimg_of(trial) * rate.train_s + judged * rate.judged_s
    return seconds


def wall_seconds(trials: Sequence[float], workers: int) -> float:
    """Return the seconds until all trials are done: the work shared, or the longest of them."""
    return max(sum(trials) / workers, max(trials, default=0.0))


def _speed_key(classifier: Mapping[str, Any], described: Mapping[str, Any]) -> bytes:
    """Name what decides the time of a step: the network, its input, the batch, the precision."""
    network = {k: v for k, v in classifier.items() if k != "classes"}
    return canonical_json([network, described["batch"], described["precision"]])


def _records(trials: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Read (plan, result) of every trial that has finished in this cache, whatever its sweep."""
    for result in sorted(trials.glob(f"*/{RESULT}")):
        try:
            plan = json.loads((result.parent / "plan.json").read_text(encoding="utf-8"))["plan"]
            yield plan, json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError):  # of another release, or being removed
            continue


def _recorded(
    trial: PlannedTrial, records: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> Rate | None:
    """Take the rate from finished trials, of the same protocol if there are any."""
    device = place(trial.plan.fit.get("device", "auto"), trial.plan.fit["precision"]).kind
    wanted = _speed_key(trial.plan.classifier, trial.plan.fit)
    alike = [
        (plan["protocol"], result)
        for plan, result in records
        if result["device"] == device and _speed_key(plan["classifier"], plan["fit"]) == wanted
    ]
    found = [r for protocol, r in alike if protocol == trial.plan.protocol] or [r for _, r in alike]
    images = sum(r["images_seen"] for r in found)
    if not images:
        return None
    train_s = sum(r["train_s"] for r in found) / images
    rest_s = sum(max(0.0, r["wall_s"] - r["train_s"]) for r in found) / len(found)
    said = f"{1 / train_s:,.0f} images/s in {len(found)} finished trials on {device}"
    return Rate(train_s, 0.0, rest_s, said)


def _measured(trial: PlannedTrial, cancelled: Cancelled) -> Rate:
    """Take a few steps with the trial's own network and loop, and judge some faces."""
    spec = ClassifierSpec.from_json(trial.plan.classifier)
    schedule = FitSpec(**trial.plan.fit)
    batch, steps = schedule.batch, _WARM_UP + _MOST_STEPS + 1
    enough = replace(
        schedule, kimg=steps * batch / 1000, epochs=steps, patience=steps, evaluations=1
    )
    clock = _Clock(cancelled)
    faces = _noise(spec, max(2 * len(spec.classes), min(16 * batch, 4096)))
    validation = faces.take(np.arange(len(spec.classes)))
    with suppress(Interrupted):
        fit(spec, enough, faces, validation, cancelled=clock)
    if cancelled():
        raise Interrupted("stopped while measuring; nothing was written")
    judged_s = _judging_s(spec, schedule)
    train_s = clock.step_s() / min(batch, len(faces))
    said = f"{1 / train_s:,.0f} images/s, measured now over {clock.steps} steps in one worker"
    return Rate(train_s, judged_s, 0.0, said)


def _judging_s(spec: ClassifierSpec, schedule: FitSpec) -> float:
    """Time the judging of a face, as trials do it: in fp32, with the trial's threads."""
    model, faces = build(spec), _noise(spec, _JUDGED)
    found = []
    with reproducible(place(schedule.device, "fp32"), schedule.threads):
        for _ in range(1 + _JUDGINGS):
            started = time.perf_counter()
            predict(model, spec, faces)
            found.append(time.perf_counter() - started)
    return median(found[1:]) / _JUDGED


class _Clock:
    """A ``cancelled`` hook that times the steps between which it is asked, then stops them."""

    def __init__(self, cancelled: Cancelled) -> None:
        self._cancelled = cancelled
        self._asked: list[float] = []

    def __call__(self) -> bool:
        _wait_for_device()
        self._asked.append(time.perf_counter())
        return self._cancelled() or (self.steps >= _LEAST_STEPS and sum(self._steps()) > _MOST_S)

    def _steps(self) -> list[float]:
        return [after - before for before, after in pairwise(self._asked[_WARM_UP:])]

    @property
    def steps(self) -> int:
        """Number of steps timed."""
        return len(self._steps())

    def step_s(self) -> float:
        """Return the median: a validation or a busy moment between two steps does not count."""
        return median(self._steps())


def _wait_for_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _noise(spec: ClassifierSpec, faces: int) -> FaceArrays:
    """Make faces that cost what real ones do."""
    images = np.random.default_rng(0).integers(0, 256, (faces, *spec.image_shape), dtype=np.uint8)
    return FaceArrays.of(
        images,
        np.arange(faces, dtype=np.int64) % len(spec.classes),
        affect=np.zeros((faces, 2), np.float32),
    )
