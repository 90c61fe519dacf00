"""Teachers, filters and judges: classifiers trained once, kept by content, with what they saw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from mien.core.arrays import Bool
from mien.core.closure import Closure
from mien.core.digest import digest_of, seed_of
from mien.core.expression import Expression
from mien.core.faces import FaceArrays
from mien.core.preprocess import PreprocessSpec
from mien.evaluation.generator_fidelity import Judged
from mien.params.generators import ScorerParams
from mien.recognition.files import SavedModel, load_model, save_model
from mien.recognition.fit import fit
from mien.recognition.predict import CnnScorer, with_weights
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.stages.context import Context, code_digest
from mien.stages.faces import LearnedFaces, learned_faces
from mien.training.checkpoint import load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)
_VALIDATION = 0.15  # of the people: they select the weights


@dataclass(frozen=True, slots=True)
class TrainedScorer:
    """A classifier ready to be handed around.

    Attributes:
        scorer: the ``Scorer``.
        folder: that holds the model.
        model: as stored there.
        closure: what it saw, validation included.
        digest: of its weights.
    """

    scorer: CnnScorer
    folder: Path
    model: SavedModel
    closure: Closure
    digest: str


def trained_scorer(
    context: Context, params: ScorerParams, classes: Sequence[Expression], spec: PreprocessSpec
) -> TrainedScorer:
    """Train a scorer, or find it in the cache.

    Args:
        context: of the project.
        params: what it learns from, and how.
        classes: the label space.
        spec: how the faces it is given are prepared.

    Raises:
        Invalid: ``EMPTY_SET``, ``ONE_CLASS``.
    """
    learned = learned_faces(context, params.faces, classes, spec)
    classifier = ClassifierSpec(
        network=params.classifier.network,
        classes=tuple(classes),
        size_px=spec.size_px,
        channels=spec.channels,
        padding=params.classifier.padding,
        width=params.classifier.width,
    )
    schedule = FitSpec(protocol="steps", kimg=params.kimg, batch=32, seed=params.seed)
    code = code_digest("core", "imaging", "training", "recognition")
    key = digest_of([learned.digest, classifier.to_json(), schedule, code])
    folder = context.cache / "scorers" / key
    if not (folder / "model").exists():
        log.info("training a scorer", extra={"faces": len(learned.faces), "kimg": params.kimg})
        _train(context, folder, classifier, schedule, learned)
    model = load_model(folder / "model")
    return TrainedScorer(
        CnnScorer(model.spec, model.weights, model.temperature),
        folder / "model",
        model,
        learned.closure | Closure(digests=frozenset({model.digest})),
        model.digest,
    )


def held_out_judged(
    context: Context,
    params: ScorerParams,
    trained: TrainedScorer,
    classes: Sequence[Expression],
    spec: PreprocessSpec,
) -> tuple[Judged, Judged]:
    """Judge the people that validated a scorer, in two halves: to fit a filter, and to try it."""
    faces = learned_faces(context, params.faces, classes, spec).faces
    kept = faces.take(held_back(faces))
    people = sorted(set(kept.subjects))
    first = np.array([people.index(s) % 2 == 0 for s in kept.subjects])
    one, other = (_judged(trained, kept.take(half)) for half in (first, ~first))
    return one, other


def _judged(trained: TrainedScorer, faces: FaceArrays) -> Judged:
    return Judged(trained.scorer.probabilities(faces.images), faces.labels, faces.subjects)


def teacher_of(scorer: TrainedScorer) -> Callable[[Tensor], Tensor]:
    """Return the scorer's network for a generator's loss: faces (N, C, S, S) → logits (N, K).

    Its weights are frozen; gradients flow through it to the faces.
    """
    network = with_weights(scorer.model.spec, scorer.model.weights)
    for weight in network.parameters():
        weight.requires_grad_(False)

    def logits(faces: Tensor) -> Tensor:
        network.to(faces.device)
        found: Tensor = network(faces).logits
        return found

    return logits


def _train(
    context: Context,
    folder: Path,
    classifier: ClassifierSpec,
    schedule: FitSpec,
    learned: LearnedFaces,
) -> None:
    judged = held_back(learned.faces)
    fitted = fit(
        classifier,
        schedule,
        learned.faces.take(~judged),
        learned.faces.take(judged),
        progress=context.progress,
        cancelled=context.cancelled,
        save=lambda state: save_checkpoint(folder / "checkpoint", state),
        resume=load_checkpoint(folder / "checkpoint"),
    )
    save_model(folder / "model", fitted.weights, classifier, lineage={"faces": learned.digest})


def held_back(faces: FaceArrays) -> Bool:
    """Choose the people that validate: (N,) mask, a seventh of them, by a seeded order."""
    people = sorted({s or i for s, i in zip(faces.subjects, faces.ids, strict=True)})
    order = np.random.default_rng(seed_of("held back")).permutation(len(people))
    chosen = {people[i] for i in order[: max(1, round(_VALIDATION * len(people)))]}
    return np.array([(s or i) in chosen for s, i in zip(faces.subjects, faces.ids, strict=True)])
