"""Make the challenger ready to be served, and register it.

The package holds the network as ONNX with its calibration inside, its preprocessing, labels,
golden answers, a variant in 8 bits where that loses little, and HOG + SVM on the same rows.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core.arrays import AnyArray, Float, UInt8
from mien.core.digest import digest_of, seed_of
from mien.core.errors import Corrupt, NotFound, WrongState
from mien.core.faces import FaceArrays
from mien.core.hooks import Progress
from mien.core.scores import Predictions
from mien.core.serving import MODEL, ModelInfo
from mien.recognition.package import (
    Golden,
    LinearBaseline,
    Package,
    PackageSpec,
    Variant,
    read_package,
    write_package,
)
from mien.registry.staging import disk_errors
from mien.stages.context import Context, code_digest

if TYPE_CHECKING:
    from mien.evaluation.drift_reference import Reference
    from mien.recognition.files import SavedModel

log = logging.getLogger(__name__)

INT8_LOSS = 0.005  # of accuracy on validation, at most
CALIBRATION_FACES = 256
PROJECTION_FACES = 2000
BATCH = 64
DRIFT_CODE = tuple(f"evaluation/drift_{n}.py" for n in ("distances", "reference", "sketch"))


@dataclass(frozen=True, slots=True)
class _Material:
    """What a package is made from.

    Attributes:
        model: trained weights with everything around them.
        train: training rows.
        validation: the rows that fitted the temperature.
        lineage: role of a set → its digest.
        saw: subjects of both, and of what made the synthetic ones.
    """

    model: SavedModel
    train: FaceArrays
    validation: FaceArrays
    lineage: Mapping[str, str]
    saw: tuple[str, ...]


def run(context: Context, *, tracked: str = "") -> ModelInfo:
    """Register the challenger that was decided for, under the alias ``challenger``.

    Args:
        context: of the project.
        tracked: the tracker's id of the decision's run, or "".

    Raises:
        WrongState: ``STAGE_MISSING``, ``NO_MODEL_REGISTRY``, ``EXPORT_DIFFERS``.
        NotFound: ``TRIAL_MISSING``.
    """
    models = context.models
    if models is None:
        raise WrongState(
            "NO_MODEL_REGISTRY",
            "there is no model registry to register the challenger in",
            hint="set MIEN_TRACKING_URI to an MLflow database or server",
        )
    challenger = context.read_json("decide", "decision.json")["challenger"]
    package = package_challenger(context, challenger)
    info = models.register(MODEL, package.folder, run=tracked)
    log.info("registered", extra={"model": info.name, "trial": challenger["trial"]})
    return info


def package_challenger(context: Context, challenger: Mapping[str, Any]) -> Package:
    """Make the package of a decided challenger, or find it in the cache.

    Args:
        context: of the project.
        challenger: its ``trial`` and ``temperature``, as ``mien decide`` writes them.
    """
    threshold = context.params.gate.threshold
    code = code_digest("core", "recognition", *DRIFT_CODE, "stages/register.py")
    key = digest_of([challenger["trial"], challenger["temperature"], threshold, code])
    folder = context.cache / "packages" / key
    try:
        return read_package(folder)
    except (NotFound, Corrupt):
        shutil.rmtree(folder, ignore_errors=True)
    context.progress(Progress(0, unit="models", stage="package"))
    material = _material(context, challenger)
    temporary = folder.with_name(f".{key}.{uuid.uuid4().hex}")
    with disk_errors(folder):
        try:
            make_package(temporary, material, challenger["trial"], threshold)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return read_package(folder)


def make_package(folder: Path, material: _Material, trial: str, threshold: float) -> Package:
    """Export, quantise, measure, and write a package into a new folder.

    Raises:
        WrongState: ``EXPORT_DIFFERS``, ``NO_PREPROCESSING``.
    """
    from mien.recognition.hog_linear import fit_baseline
    from mien.recognition.onnx_export import export_onnx
    from mien.recognition.quantise import quantise

    model, validation = material.model, material.validation
    reference: dict[Variant, Mapping[str, AnyArray]] = {}
    if model.preprocess is None:
        raise WrongState(
            "NO_PREPROCESSING",
            "the model does not say how its pictures were prepared",
            hint="train it with mien",
        )
    exported = export_onnx(model)
    models: dict[Variant, bytes] = {"fp32": exported.model}
    golden: dict[Variant, Golden] = {"fp32": Golden(exported.golden_images, exported.golden)}
    figures = _figures(exported.model, model, validation)
    variants = {"fp32": figures.get("accuracy", 0.0)}
    if "expression" in model.spec.heads:
        small = quantise(exported.model, _calibration(material.train, trial))
        reached = _figures(small, model, validation)["accuracy"]
        figures["accuracy_int8"] = reached
        if variants["fp32"] - reached <= INT8_LOSS:
            models["int8"], variants["int8"] = small, reached
            said = _answers(small, exported.golden_images)
            said.pop("features")
            golden["int8"] = Golden(exported.golden_images, said)
        reference = {v: _reference(onnx, material, trial).to_arrays() for v, onnx in models.items()}
    spec = PackageSpec(
        expressions=model.spec.classes if "expression" in model.spec.heads else (),
        affect="affect" in model.spec.heads,
        preprocess=model.preprocess,
        temperature=model.temperature,
        threshold=threshold,
        dataset_digest=str(model.lineage.get("train", "")),
        trial=trial,
        lineage=dict(material.lineage),
        saw=material.saw,
        figures=figures,
        variants=variants,
        features=exported.features,
    )
    baseline: LinearBaseline | None = None
    if spec.expressions:
        train = material.train
        baseline = fit_baseline(train.images, train.labels, len(spec.expressions))
    return write_package(folder, spec, models, golden, baseline, reference)


def _material(context: Context, challenger: Mapping[str, Any]) -> _Material:
    from mien.recognition.files import load_model
    from mien.stages.closures import pool_closures
    from mien.stages.trial import Rows

    folder = context.cache / "trials" / challenger["trial"]
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            "TRIAL_MISSING",
            f"{folder} does not exist: the challenger's trial is not in this cache",
            hint="run: mien sweep, mien evaluate and mien decide",
        ) from None
    rows = Rows(folder, plan["sets"])
    seen = np.concatenate([rows.rows[role][:, :2] for role in ("train", "validation")])
    saw: set[str] = set()
    lineage: dict[str, str] = {}
    for index in np.unique(seen[:, 0]):
        name = plan["sets"][int(index)]["name"]
        version = context.prepared(name)
        lineage[f"set:{name}"] = version.info.digest
        samples = version.manifest.samples
        mine = seen[seen[:, 0] == index, 1]
        saw |= {s for i in mine if (s := samples[int(i)].subject) is not None}
        if name in (closures := pool_closures(context)):
            saw |= closures[name].subjects
    model = replace(load_model(folder / "model"), temperature=float(challenger["temperature"]))
    return _Material(
        model, rows.take("train"), rows.take("validation"), lineage, tuple(sorted(saw))
    )


def _calibration(train: FaceArrays, trial: str) -> UInt8:
    """Draw faces whose range decides the scales; the same ones for the same trial."""
    rng = np.random.default_rng(seed_of("calibration", trial))
    chosen = rng.permutation(len(train))[:CALIBRATION_FACES]
    return np.ascontiguousarray(train.images[np.sort(chosen)])


def _figures(onnx: bytes, model: SavedModel, faces: FaceArrays) -> dict[str, float]:
    """Measure a network on validation; {} for one without labels."""
    from mien.evaluation.metrics import evaluate

    if "expression" not in model.spec.heads:
        return {}
    said = _answers(onnx, faces.images)
    found = evaluate(
        Predictions(
            ids=faces.ids,
            subjects=faces.subjects,
            labels=faces.labels,
            logits=said["logits"],
            classes=model.spec.classes,
            affect=np.empty((len(faces), 0), np.float32),
            affect_true=np.empty((len(faces), 0), np.float32),
        ),
        temperature=model.temperature,
    )
    return {
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "ece": found.ece_scaled,
    }


def _reference(onnx: bytes, material: _Material, trial: str) -> Reference:
    """Describe what a network says to validation, in directions in which training varies most."""
    from mien.evaluation.drift_reference import make_reference
    from mien.evaluation.drift_sketch import Projection

    rng = np.random.default_rng(seed_of("projection", trial))
    chosen = np.sort(rng.permutation(len(material.train))[:PROJECTION_FACES])
    projection = Projection.fit(_answers(onnx, material.train.images[chosen])["features"])
    faces = material.validation
    said = _answers(onnx, faces.images)
    return make_reference(
        [str(c) for c in material.model.spec.classes],
        projection,
        said["probabilities"],
        said["features"],
        faces.subjects,
    )


def _answers(onnx: bytes, images: UInt8) -> dict[str, Float]:
    from mien.recognition.onnx_run import open_session

    session = open_session(onnx)
    names = [output.name for output in session.get_outputs()]
    parts = [
        session.run(names, {"images": np.ascontiguousarray(images[i : i + BATCH])})
        for i in range(0, len(images), BATCH)
    ]
    return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}
