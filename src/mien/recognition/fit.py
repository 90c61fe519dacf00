"""The training loop: one straight function.

All randomness is counter-based: initialisation, batch order, augmentation and dropout are drawn
from ``FitSpec.seed`` and the step. So the state of every generator is the step, and a run that was
killed and resumed is bit-identical to one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mien.core.digest import digest_bytes, digest_of, seed_of
from mien.core.errors import Interrupted, Invalid, WrongState
from mien.core.faces import FaceArrays
from mien.core.hooks import (
    Cancelled,
    OnProgress,
    Progress,
    Save,
    never_cancelled,
    no_progress,
    no_save,
)
from mien.recognition.arrays import check_faces
from mien.recognition.augment import GEOMETRIC
from mien.recognition.batches import Pool
from mien.recognition.course import Course, Evaluation, copied, restore, snapshot
from mien.recognition.networks import build
from mien.recognition.objective import judge, training_loss
from mien.recognition.optimiser import Optimiser
from mien.recognition.predict import network_outputs
from mien.recognition.schedule import schedule_of
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.training.device import keep_freed_memory, place, reproducible

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished run.

    Attributes:
        weights: of the best validation, fp32 on the processor.
        history: every validation, in order.
        best_images_seen: when the weights were best.
        images_seen: in all.
        wall_s: seconds spent, validation and saving included, over all resumptions.
        train_s: seconds of ``wall_s`` in training steps.
        device: kind of device, ``cpu`` or ``cuda:NVIDIA H200``.
        precision: ``fp32`` or ``bf16``.
    """

    weights: dict[str, Tensor]
    history: list[Evaluation]
    best_images_seen: int
    images_seen: int
    wall_s: float
    train_s: float
    device: str
    precision: str


def fit(
    spec: ClassifierSpec,
    fit_spec: FitSpec,
    train: FaceArrays,
    validation: FaceArrays,
    *,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
    save: Save = no_save,
    resume: Mapping[str, Any] | None = None,
    save_every_s: float = 20.0,
) -> FitResult:
    """Train a classifier and keep the weights with the lowest validation loss.

    Args:
        spec: architecture and label space.
        fit_spec: how to train.
        train: faces to learn from; rows that no head can learn from are left out.
        validation: faces that select the weights; never learned from.
        progress: called about a hundred times, in kimg.
        cancelled: asked before every step.
        save: given a state after validations, at most once in ``save_every_s``, and on cancelling.
        resume: a state that ``save`` was given, to go on from.
        save_every_s: least time between two saves; affects no result.

    Raises:
        Invalid: ``EMPTY_SET``, ``IMAGE_SIZE``, ``LABEL_OUT_OF_RANGE``, ``AFFECT_OUT_OF_RANGE``,
            ``ONE_CLASS``, ``NO_CUDA``.
        NotFound: ``UNKNOWN_NETWORK``.
        WrongState: ``NAN_LOSS`` when training diverges (the last good state was saved);
            ``OTHER_RUN`` when ``resume`` belongs to another run.
        Corrupt: ``CHECKPOINT`` when ``resume`` does not fit the network.
        Interrupted: when cancelled, after saving.
    """
    train = _usable(train, spec, "the training set")
    validation = _usable(validation, spec, "the validation set")
    _require_classes(train, spec)
    placement = place(fit_spec.device, fit_spec.precision)
    keep_freed_memory()
    with reproducible(placement, fit_spec.threads):
        # --- Network, optimiser, schedule, data -------------------------------------------------
        torch.manual_seed(seed_of("weights", fit_spec.seed))
        model = build(spec).to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = Optimiser(model, fit_spec)
        schedule = schedule_of(fit_spec, spec.network, len(train))
        pool, judged = Pool.of(train, placement), Pool.of(validation, placement)
        geometry = GEOMETRIC if fit_spec.base == "geometric" else None
        patience = fit_spec.patience if fit_spec.protocol == "paper" else math.inf

        # --- Where the run is: at its start, or where it was interrupted ------------------------
        course = Course(run=_run_digest(spec, fit_spec, train, validation))
        # Since the last validation: loss, right and labelled faces, steps. On the device, for
        # asking a GPU after every step would make it wait.
        sums = torch.zeros(4, dtype=torch.float64, device=placement.device)
        if resume is not None:
            course = restore(resume, course.run, model, optimiser, sums)
            log.info("resumed after %d images", schedule.images_seen(course.step))
        started = resumed = saved = time.perf_counter()
        wall_before = course.wall_s
        good: dict[str, Any] | None = None
        report_every = max(1, schedule.steps // 100)

        # --- The loop ---------------------------------------------------------------------------
        while course.step < schedule.steps and course.since_best < patience:
            if cancelled():
                course.wall_s = wall_before + time.perf_counter() - resumed
                if math.isfinite(float(sums[0])):
                    save(snapshot(course, model, optimiser, sums))
                seen = schedule.images_seen(course.step)
                raise Interrupted(f"training was interrupted after {seen} images")

            faces, labels, affect = pool.batch(
                schedule.rows(course.step),
                geometry,
                seed_of("geometry", fit_spec.seed, course.step),
            )
            placement.seed(seed_of("dropout", fit_spec.seed, course.step))
            model.train()
            with placement.autocast():
                said = model(faces)
            loss = training_loss(
                said,
                labels,
                affect,
                smoothing=fit_spec.smoothing,
                affect_weight=fit_spec.affect_weight,
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step(schedule.lr(course.step))
            sums += _counts(loss.detach(), said.logits, labels)
            course.step += 1
            seen = schedule.images_seen(course.step)
            if course.step % report_every == 0:
                progress(_progress(seen, schedule.images_seen(schedule.steps), course))
            if not schedule.validates_after(course.step):
                continue

            # --- Validation: the figures, the best weights, the state to go on from --------------
            total, right, labelled, steps = sums.tolist()
            course.train_s += time.perf_counter() - started
            if not math.isfinite(total):
                if good is not None:
                    save(good)
                raise WrongState(
                    "NAN_LOSS",
                    f"the loss is not finite after {seen} images",
                    hint="lower the learning rate (lr), or set precision to fp32",
                    details={"images_seen": str(seen)},
                )
            said_of = network_outputs(model, judged, 256)
            figures = judge(*said_of, validation.labels, validation.affect, fit_spec.affect_weight)
            course.since_best += 1
            if figures.loss < course.best_loss:
                course.best, course.since_best = copied(model.state_dict()), 0
            course.history.append(
                Evaluation(
                    images_seen=seen,
                    lr=schedule.lr(course.step - 1),
                    train_loss=total / steps,
                    train_accuracy=right / labelled if labelled and _has_logits(spec) else None,
                    loss=figures.loss,
                    accuracy=figures.accuracy,
                    macro_f1=figures.macro_f1,
                    ccc=figures.ccc,
                )
            )
            sums.zero_()
            course.wall_s = wall_before + time.perf_counter() - resumed
            good = snapshot(course, model, optimiser, sums)
            if time.perf_counter() - saved >= save_every_s:
                save(good)
                saved = time.perf_counter()
            started = time.perf_counter()

    return FitResult(
        weights=course.best,
        history=course.history,
        best_images_seen=course.best_images_seen,
        images_seen=schedule.images_seen(course.step),
        wall_s=wall_before + time.perf_counter() - resumed,
        train_s=course.train_s,
        device=placement.kind,
        precision="bf16" if placement.bf16 else "fp32",
    )


def _has_logits(spec: ClassifierSpec) -> bool:
    return "expression" in spec.heads


def _usable(faces: FaceArrays, spec: ClassifierSpec, what: str) -> FaceArrays:
    """Leave out faces that no head can be trained or judged on."""
    check_faces(faces, spec, what)
    kept = np.zeros(len(faces), np.bool_)
    if _has_logits(spec):
        kept |= faces.labels >= 0
    if "affect" in spec.heads:
        kept |= np.isfinite(faces.affect).all(1)
    if kept.all():
        return faces
    if not kept.any():
        raise Invalid(
            "EMPTY_SET",
            f"{what} has no face labelled for the heads {spec.heads}",
            hint="add labelled faces, or train only the heads there are labels for",
        )
    log.warning("%s: %d of %d faces have no label and are left out", what, (~kept).sum(), len(kept))
    return faces.take(kept)


def _require_classes(train: FaceArrays, spec: ClassifierSpec) -> None:
    """Refuse a training set that holds a single class; a missing one is only worth a warning."""
    if not _has_logits(spec):
        return
    found = np.unique(train.labels[train.labels >= 0])
    if len(found) < 2:
        names = [str(spec.classes[i]) for i in found]
        raise Invalid(
            "ONE_CLASS",
            f"the training set holds only {names}; two are the least",
            hint="add faces of another expression",
        )
    missing = [str(c) for i, c in enumerate(spec.classes) if i not in found]
    if missing:
        log.warning("the training set has no face of %s", ", ".join(missing))


def _run_digest(
    spec: ClassifierSpec, fit_spec: FitSpec, train: FaceArrays, validation: FaceArrays
) -> str:
    """Name the run; the images themselves are named by their ids."""
    rows = [
        (list(f.ids), digest_bytes(f.labels.tobytes()), digest_bytes(f.affect.tobytes()))
        for f in (train, validation)
    ]
    return digest_of([spec.to_json(), fit_spec, rows])


def _counts(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """What a step adds to the sums."""
    labelled = (labels >= 0).sum()
    right = (logits.argmax(1) == labels).sum() if logits.shape[1] else torch.zeros_like(labelled)
    one = torch.ones_like(labelled)
    return torch.stack([loss.double(), right.double(), labelled.double(), one.double()])


def _progress(seen: int, total: int, course: Course) -> Progress:
    metrics = {}
    if course.history:
        last = course.history[-1]
        metrics = {"train_loss": last.train_loss, "validation_loss": last.loss}
        if last.accuracy is not None:
            metrics["validation_accuracy"] = last.accuracy
    return Progress(seen / 1000, total / 1000, "kimg", "fit", metrics)
