"""Train one model on one's own folders: what the published command line does, mended.

The best epoch is tested, not the last; train and test images pass the same preprocessing; labels
come from folder names, exactly; counts come from the data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.faces import FaceArrays
from mien.core.hooks import Cancelled, OnProgress, Progress, never_cancelled, no_progress
from mien.core.preprocess import PreprocessSpec
from mien.core.sample import Sample
from mien.core.scores import Predictions
from mien.datasets.table import read
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.metrics import evaluate
from mien.evaluation.single_run import train_report
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess
from mien.recognition.files import save_model
from mien.recognition.fit import FitResult, fit
from mien.recognition.predict import predict
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.registry.staging import disk_errors
from mien.stages.context import whole, write_json
from mien.training.checkpoint import load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What to train on, and how.

    Attributes:
        train: folder or file of training faces.
        validation: folder or file that picks the best epoch.
        test: folder or file that is judged once, or None.
        reader: name in the reader table.
        out: run folder to make.
        network: classifier name.
        padding: of the seed network.
        width: of the network.
        spec: preprocessing.
        fit: schedule.
        reader_params: the reader's own parameters.
    """

    train: Path
    validation: Path
    out: Path
    test: Path | None = None
    reader: str = "folder"
    network: str = "small"
    padding: Any = "same"
    width: float = 1.0
    spec: PreprocessSpec = field(default_factory=PreprocessSpec)
    fit: FitSpec = field(default_factory=FitSpec)
    reader_params: dict[str, Any] | None = None


def run(
    request: Request,
    *,
    assets: Path | None = None,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> dict[str, float]:
    """Train, test the best epoch, and leave a run folder; returns its final figures.

    The folder holds ``run.json`` (resolved configuration), ``metrics.json``, ``history.json``,
    ``curves.png``, ``confusion_<set>.png``, ``report_<set>.md`` and ``model/``. A killed run
    started again with the same request goes on from its checkpoint.

    Raises:
        Invalid: ``SUBJECT_IN_TWO_SETS``, ``IMAGE_IN_TWO_SETS``, ``CLASS_WITHOUT_SAMPLES``,
            ``NO_FACES``; whatever the reader raises. Exhausted: ``DISK_FULL``.
    """
    folders = {"train": request.train, "validation": request.validation}
    if request.test is not None:
        folders["test"] = request.test
    loaded = {
        name: _load(name, folder, request, assets, progress) for name, folder in folders.items()
    }
    _check_apart({name: samples for name, (samples, _) in loaded.items()})
    classes = _classes({name: samples for name, (samples, _) in loaded.items()})
    sets = {name: _arrays(samples, images, classes) for name, (samples, images) in loaded.items()}
    classifier = ClassifierSpec(
        network=request.network,
        classes=classes,
        size_px=request.spec.size_px,
        channels=request.spec.channels,
        padding=request.padding,
        width=request.width,
    )
    write_json(request.out / "run.json", _configuration(request, classifier, sets))
    checkpoint = request.out / "checkpoint"
    with disk_errors(request.out):
        fitted = fit(
            classifier,
            request.fit,
            sets["train"],
            sets["validation"],
            progress=progress,
            cancelled=cancelled,
            save=lambda state: save_checkpoint(checkpoint, state),
            resume=load_checkpoint(checkpoint),
        )
        return _judge(request, classifier, fitted, sets)


def _load(
    name: str, folder: Path, request: Request, assets: Path | None, progress: OnProgress
) -> tuple[list[Sample], list[Any]]:
    """Read and preprocess one set; faces that are not found are counted, not trained on."""
    reading = read(request.reader, folder, dict(request.reader_params or {}))
    detector = make_detector(request.spec, assets)
    samples: list[Sample] = []
    images: list[Any] = []
    failed = 0
    for done, item in enumerate(reading.items, 1):
        made = preprocess(
            decode(item.image, name=item.sample.file or item.sample.id), request.spec, detector
        )
        if made.image is None:
            failed += 1
        elif item.sample.expression is not None:
            samples.append(item.sample)
            images.append(made.image)
        if done % 200 == 0:
            progress(Progress(done, unit="images", stage=f"read {name}"))
    for warning in reading.warnings:
        log.warning("%s: %s", name, warning)
    if failed:
        log.warning("%s: no face in %d images; they are left out", name, failed)
    if not samples:
        raise Invalid(
            "NO_FACES", f"{folder} gave no labelled face", hint="check the folder and the detector"
        )
    return samples, images


def _classes(sets: dict[str, list[Sample]]) -> tuple[Expression, ...]:
    """Return the classes of the training set; the other sets may not have further ones."""
    found = {name: {s.expression for s in samples} for name, samples in sets.items()}
    for name, others in found.items():
        if extra := others - found["train"]:
            raise Invalid(
                "CLASS_WITHOUT_SAMPLES",
                f"{name} has {', '.join(sorted(str(e) for e in extra))}, train has not",
                hint="add training images of that class or remove it from the other set",
            )
    return tuple(e for e in EXPRESSIONS if e in found["train"])


def _check_apart(sets: dict[str, list[Sample]]) -> None:
    names = list(sets)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for reason, key in (
                ("SUBJECT_IN_TWO_SETS", "subject"),
                ("IMAGE_IN_TWO_SETS", "digest"),
            ):
                both = _values(sets[first], key) & _values(sets[second], key)
                if both:
                    raise Invalid(
                        reason,
                        f"{len(both)} {key}s are in {first} and in {second}: {sorted(both)[0]} …",
                        hint="a test on faces seen in training means nothing; separate them",
                    )


def _values(samples: Sequence[Sample], key: str) -> set[str]:
    return {v for s in samples if (v := getattr(s, key))}


def _arrays(
    samples: Sequence[Sample], images: Sequence[Any], classes: tuple[Expression, ...]
) -> FaceArrays:
    index = {e: i for i, e in enumerate(classes)}
    return FaceArrays(
        images=np.stack(images),
        labels=np.array([index[s.expression] for s in samples if s.expression], dtype=np.int64),
        affect=np.full((len(samples), 2), np.nan, dtype=np.float32),
        ids=[s.id for s in samples],
        subjects=[s.subject or "" for s in samples],
    )


def _configuration(
    request: Request, classifier: ClassifierSpec, sets: dict[str, FaceArrays]
) -> dict[str, Any]:
    return {
        "classifier": {**asdict(classifier), "classes": [str(c) for c in classifier.classes]},
        "fit": asdict(request.fit),
        "preprocess": asdict(request.spec),
        "images": {name: len(each.labels) for name, each in sets.items()},
        "per_class": {
            name: {str(c): int((each.labels == i).sum()) for i, c in enumerate(classifier.classes)}
            for name, each in sets.items()
        },
    }


def _judge(
    request: Request, classifier: ClassifierSpec, fitted: FitResult, sets: dict[str, FaceArrays]
) -> dict[str, float]:
    said: dict[str, Predictions] = {
        name: predict(fitted.weights, classifier, sets[name]) for name in sets if name != "train"
    }
    temperature = fit_temperature(said["validation"])
    figures = {name: evaluate(p, temperature=temperature) for name, p in said.items()}
    save_model(
        request.out / "model",
        fitted.weights,
        classifier,
        preprocess=asdict(request.spec),
        temperature=temperature,
        lineage={"train": str(request.train.name)},
    )
    history = [asdict(h) for h in fitted.history]
    write_json(request.out / "history.json", history)
    write_json(request.out / "metrics.json", {name: f.to_dict() for name, f in figures.items()})
    for name, data in train_report(history, figures).items():
        with whole(request.out / name) as temporary:
            temporary.write_bytes(data)
    return {
        f"{name}/{what}": value
        for name, f in figures.items()
        for what, value in (("accuracy", f.accuracy), ("macro_f1", f.macro_f1))
    }
