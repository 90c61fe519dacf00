"""Judge pools by a classifier that learned from people no generator, teacher or filter saw."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core.arrays import Bool, Int, UInt8
from mien.core.closure import Closure
from mien.core.digest import seed_of
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.core.faces import FaceArrays
from mien.core.ports import Scorer
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet, kid
from mien.evaluation.generator_fidelity import Judged, fidelity
from mien.evaluation.generator_gates import GateLimits, GeneratorFigures, balance
from mien.evaluation.generator_gates import judge_generator as hold_against_gates
from mien.evaluation.generator_identity import IdentityKept, distinct, separation
from mien.evaluation.generator_usefulness import AccuracyScore, accuracy_score
from mien.evaluation.memorisation import Memorised, find_copies, training_neighbours
from mien.params.generators import FacesParams, PoolParams, ScorerParams
from mien.stages.closures import check_closure, pool_closure
from mien.stages.context import Context, write_json
from mien.stages.faces import LearnedFaces, learned_faces, original, prepared_faces
from mien.stages.generator_page import write_page
from mien.stages.train_generator import resolve

if TYPE_CHECKING:
    from mien.stages.scorers import TrainedScorer

log = logging.getLogger(__name__)
_CAS_SEEDS = 2
SPACE = "judge"  # the feature space: the judge's last layer before its heads


def run(context: Context, name: str | None = None) -> None:
    """Judge one pool of ``params.judge_generator.pools``, or all: a page and figures each.

    Raises:
        NotFound: ``UNKNOWN_POOL``.
        Invalid: ``MAKER_SAW_JUDGED`` when the judge, or the real faces, are not independent.
    """
    params = context.params.judge_generator
    if name is not None and name not in params.pools:
        raise NotFound(
            "UNKNOWN_POOL",
            f"params.judge_generator.pools has no {name!r}",
            hint=f"one of: {', '.join(params.pools) or 'none'}",
        )
    summary = {}
    for each in [name] if name else params.pools:
        summary[each] = _judge_one(context, each)
    write_json(context.folder("judge_generator") / "summary.json", summary)
    write_json(context.folder("metrics") / "generators.json", summary)


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is compared.

    Attributes:
        pool: faces of the pool, whole identities.
        real: faces of people that neither judge nor makers saw.
        training: faces that the pool's generators saw.
    """

    pool: LearnedFaces
    real: LearnedFaces
    training: tuple[LearnedFaces, ...]


def _judge_one(context: Context, name: str) -> dict[str, Any]:
    params, classes = context.params.judge_generator, context.params.classes
    if params.judge is None or params.real is None:
        raise Invalid(
            "NO_JUDGE",
            "judge_generator names no judge or no real faces",
            hint="give judge_generator.judge and judge_generator.real",
        )
    pool = context.params.synthesise[name]
    judge = _independent(context, name, pool, params.judge, params.real)
    sides = _sides(context, name, pool, params.real)
    figures = _figures(context, sides, judge, classes)
    # Real people who look alike are not the translator's fault.
    limits = GateLimits(alike=None) if pool.identities == "photos" else GateLimits()
    verdict = hold_against_gates(figures, limits)
    out = context.folder("judge_generator", name)
    write_json(
        out / "figures.json",
        {"verdict": verdict.to_json(), "figures": figures.to_json(), "judge": judge.digest},
    )
    page = write_page(context, name, figures, verdict, judge)
    log.info("judged", extra={"pool": name, "verdict": verdict.kind, "page": str(page)})
    return _summary(figures, verdict.kind)


def _independent(
    context: Context, name: str, pool: PoolParams, judge: ScorerParams, real: FacesParams
) -> TrainedScorer:
    """Train the judge, and refuse one that shares people with the pool's makers."""
    from mien.stages.scorers import trained_scorer

    spec, classes = context.params.preprocess.spec, context.params.classes
    scorer = trained_scorer(context, judge, classes, spec)
    tested = learned_faces(context, real, classes, spec)
    seen = {original(s): s.id for s in tested.samples}
    judged = {"judge_generator.real": (tested.closure.subjects, seen)}
    makers = pool_closure(context, pool)
    check_closure("the judge", scorer.closure, judged)
    check_closure(f"a maker of the pool {name}", makers, judged)
    learned = (scorer.closure.subjects, {d: d[:12] for d in scorer.closure.digests})
    check_closure(f"a maker of the pool {name}", makers, {"the judge's training": learned})
    return scorer


def _sides(context: Context, name: str, pool: PoolParams, real: FacesParams) -> _Sides:
    params, spec = context.params, context.params.preprocess.spec
    whole_face = replace(spec, detector="none")
    version = context.version(f"synthesise/{name}")
    made = prepared_faces(context, version, params.classes, whole_face)
    # In a generator's own label space: identities are learned from neutral faces alone.
    training = tuple(
        learned_faces(context, params.train_generator[g].faces, resolve(context, g).classes, spec)
        for g in pool.generators
    )
    return _Sides(
        pool=_first(made, params.judge_generator.faces, len(params.classes)),
        real=learned_faces(context, real, params.classes, spec),
        training=training,
    )


def _first(pool: LearnedFaces, faces: int, classes: int) -> LearnedFaces:
    """Take whole identities, about so many faces."""
    names = sorted({s.identity for s in pool.samples})
    kept = set(names[: max(2, faces // classes)])
    rows = np.array([s.identity in kept for s in pool.samples])
    return LearnedFaces(
        pool.faces.take(rows),
        tuple(s for s in pool.samples if s.identity in kept),
        Closure(),
        pool.digest,
    )


def _figures(
    context: Context, sides: _Sides, judge: TrainedScorer, classes: Sequence[Expression]
) -> GeneratorFigures:
    scorer: Scorer = judge.scorer
    pool, real = sides.pool.faces, sides.real.faces
    identities = [s.identity for s in sides.pool.samples]
    # A pool from photos shows a person several times.
    shown = [s.subject or s.identity for s in sides.pool.samples]
    of_pool, of_real = scorer.features(pool.images), scorer.features(real.images)
    people = real.subjects
    seen = [t.faces.images for t in sides.training]
    mine, own = _once(pool.labels, shown), _once(real.labels, real.subjects)
    return GeneratorFigures(
        fidelity=fidelity(
            Judged(scorer.probabilities(pool.images), pool.labels, identities),
            Judged(scorer.probabilities(real.images), real.labels, real.subjects),
            classes,
        ),
        coverage=coverage(of_real, of_pool, space=SPACE, subjects=people),
        frechet=(frechet(of_real, of_pool, space=SPACE, subjects=people),),
        kid=(kid(of_real, of_pool, space=SPACE, subjects=people, identities=identities),),
        usefulness=_usefulness(context, sides, classes),
        memorised=_copies(pool.images, seen),
        neighbours=tuple(
            training_neighbours(of_pool, scorer.features(images), of_real, space=SPACE)
            for images in seen[:1]
        ),
        kept=IdentityKept(
            space=SPACE,
            synthetic=separation(of_pool, shown, pool.labels),
            real=separation(of_real, real.subjects, real.labels),
        ),
        distinct=distinct(
            _pixels(pool.images[mine]),
            _pixels(real.images[own]),
            space="pixels",
            labels=(pool.labels[mine], real.labels[own]),
        ),
        balance=balance(pool.labels, identities, len(classes)),
    )


def _once(labels: Int, names: Sequence[str]) -> Int:
    """Take the first row of each name in each class."""
    first: dict[tuple[str, int], int] = {}
    for row, shown in enumerate(zip(names, labels.tolist(), strict=True)):
        first.setdefault(shown, row)
    return np.array(sorted(first.values()), dtype=np.int64)


def _pixels(images: UInt8) -> Any:
    """Compare faces as they look: averaged to 16 × 16, light and contrast taken out."""
    import cv2

    small = np.stack(
        [cv2.resize(i, (16, 16), interpolation=cv2.INTER_AREA).ravel() for i in images]
    ).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(small.std(axis=1, keepdims=True), 1e-3)


def _copies(pool: UInt8, seen: Sequence[UInt8]) -> Memorised | None:
    return find_copies(pool, np.concatenate(list(seen))) if seen else None


def _usefulness(
    context: Context, sides: _Sides, classes: Sequence[Expression]
) -> AccuracyScore | None:
    """Train on the pool and on as many real faces; test both on the other half of the people."""
    kimg = context.params.judge_generator.cas_kimg
    if kimg == 0:
        return None
    real, pool = sides.real.faces, sides.pool.faces
    people = sorted(set(real.subjects))
    order = np.random.default_rng(seed_of("usefulness")).permutation(len(people))
    half = {people[i] for i in order[: len(people) // 2]}
    train = real.take(np.array([s in half for s in real.subjects]))
    test = real.take(np.array([s not in half for s in real.subjects]))
    count = min(len(train), len(pool))
    mine, own = (
        np.stack([_right(context, f, test, classes, kimg, seed) for seed in range(_CAS_SEEDS)])
        for f in (_some(pool, count), _some(train, count))
    )
    return accuracy_score(mine, own, test.labels, test.subjects, classes=len(classes))


def _some(faces: FaceArrays, count: int) -> FaceArrays:
    order = np.random.default_rng(seed_of("some")).permutation(len(faces))
    return faces.take(np.sort(order[:count]))


def _right(
    context: Context,
    train: FaceArrays,
    test: FaceArrays,
    classes: Sequence[Expression],
    kimg: float,
    seed: int,
) -> Bool:
    """Train the project's classifier; tell which test faces it calls right."""
    from mien.recognition.fit import fit
    from mien.recognition.predict import predict
    from mien.recognition.spec import ClassifierSpec, FitSpec
    from mien.stages.scorers import held_back

    params = context.params
    spec = ClassifierSpec(
        network=params.sweep.classifier.network,
        classes=tuple(classes),
        size_px=params.preprocess.size_px,
        channels=params.preprocess.channels,
        padding=params.sweep.classifier.padding,
        width=params.sweep.classifier.width,
    )
    judged = held_back(train)
    fitted = fit(
        spec,
        FitSpec(protocol="steps", kimg=kimg, batch=32, seed=seed),
        train.take(~judged),
        train.take(judged),
        cancelled=context.cancelled,
    )
    said = predict(fitted.weights, spec, test).logits.argmax(axis=1)
    right: Bool = said == test.labels
    return right


def _summary(figures: GeneratorFigures, verdict: str) -> dict[str, Any]:
    """Pick the few figures that ``dvc metrics`` compares."""
    found: dict[str, Any] = {"verdict": verdict}
    if figures.fidelity is not None:
        found["fidelity"] = round(figures.fidelity.fidelity.estimate, 4)
        found["judge"] = round(figures.fidelity.judge.estimate, 4)
    if figures.usefulness is not None:
        found["cas_ratio"] = round(figures.usefulness.ratio.estimate, 4)
    for each in figures.frechet:
        found[f"fd_{each.space}"] = round(each.distance, 4)
    return found
