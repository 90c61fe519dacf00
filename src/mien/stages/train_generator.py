"""Train generators, or put ready weights in place; what each one saw travels with it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import mien
from mien.core.arrays import Int, UInt8
from mien.core.closure import Closure
from mien.core.digest import digest_of
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression, parse_expressions
from mien.core.hooks import Progress
from mien.core.parallel import speaks_for_all
from mien.core.ports import Tracker
from mien.core.preprocess import PreprocessSpec
from mien.core.tasks import RunData
from mien.generators.engines import trainer
from mien.generators.presets import Preset, preset
from mien.generators.trained import (
    Generator,
    Score,
    TrainHooks,
    TrainingSet,
    load_generator,
    save_generator,
    training_set,
    two_databases,
)
from mien.imaging.encode import encode_png
from mien.params.generators import TrainGeneratorParams
from mien.registry.staging import disk_errors
from mien.stages.context import Context, code_digest, whole, write_json
from mien.stages.faces import LearnedFaces, learned_faces
from mien.stages.generator_scores import monitor
from mien.stages.scorers import TrainedScorer, teacher_of, trained_scorer
from mien.training.checkpoint import load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)
_LIVE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a generator is made, resolved.

    Attributes:
        name: of the generator.
        preset: engine and its parameters.
        classes: its label space.
        spec: how its faces are prepared.
        given: the section of the parameters.
    """

    name: str
    preset: Preset
    classes: tuple[Expression, ...]
    spec: PreprocessSpec
    given: TrainGeneratorParams

    @property
    def digest(self) -> str:
        """Name of the recipe: what ready weights must have been made by."""
        given = self.given.model_dump(mode="json", exclude={"weights", "params", "preset"})
        preset = [self.preset.engine, dict(self.preset.params)]
        return digest_of([preset, list(self.classes), asdict(self.spec), given])


def run(context: Context, name: str | None = None) -> None:
    """Train one generator of ``params.train_generator``, or all.

    Raises:
        NotFound: ``UNKNOWN_GENERATOR``.
    """
    known = context.params.train_generator
    if name is not None and name not in known:
        raise NotFound(
            "UNKNOWN_GENERATOR",
            f"params.train_generator has no {name!r}",
            hint=f"one of: {', '.join(known) or 'none'}",
        )
    for each in [name] if name else list(known):
        generator = train_one(context, resolve(context, each))
        log.info(
            "generator",
            extra={"generator": each, "preset": generator.preset, "digest": generator.digest},
        )


def resolve(context: Context, name: str) -> Recipe:
    """Resolve a generator's section: preset, label space, preparation.

    Raises:
        NotFound: ``UNKNOWN_PRESET``.
    """
    params = context.params
    given = params.train_generator[name]
    classes = parse_expressions(given.expressions or params.expressions)
    spec = params.preprocess.spec
    spec = replace(
        spec,
        size_px=given.size_px or spec.size_px,
        channels=given.channels or spec.channels,
    )
    return Recipe(name, preset(given.preset, given.params), classes, spec, given)


def train_one(context: Context, recipe: Recipe) -> Generator:
    """Leave a generator in ``data/train_generator/<name>``; a finished training is not repeated.

    Raises:
        Invalid: ``ENGINE_PARAMS``, ``UNLABELLED``, ``ONE_CLASS``, ``ONE_SUBJECT``,
            ``OTHER_RECIPE`` for ready weights that were made otherwise.
        WrongState: ``NAN_LOSS``. Exhausted: ``DISK_FULL``, ``OUT_OF_MEMORY``.
        Interrupted: after a checkpoint, when asked to stop.
    """
    out = context.folder("train_generator", recipe.name)
    if recipe.given.weights is not None:
        return _ready(context.base / recipe.given.weights, recipe, out)
    trainer(recipe.preset.engine)  # an engine that learns nothing is refused before the work
    learned, data = _data(context, recipe)
    teacher = _scorer(context, recipe)
    code = code_digest("core", "imaging", "training", "generators")
    seen = [each.digest for each in learned]
    work = context.cache / "generators" / digest_of([recipe.digest, seen, code])
    if not (work / "generator").exists():
        trained = _train(context, recipe, data, learned, teacher, work)
        if not speaks_for_all():
            return trained
    if not speaks_for_all():
        return load_generator(work / "generator", recipe.preset.engine)
    with disk_errors(out):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work, out, ignore=shutil.ignore_patterns("checkpoint"))
    return load_generator(out / "generator", recipe.preset.engine)


def _ready(source: Path, recipe: Recipe, out: Path) -> Generator:
    generator = load_generator(source, recipe.preset.engine)
    if generator.figures.get("recipe") != recipe.digest:
        raise Invalid(
            "OTHER_RECIPE",
            f"the weights in {source} were not made by the recipe train_generator.{recipe.name}",
            hint="set its weights to null to train it, or restore the parameters they were made by",
        )
    with disk_errors(out):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(source, out / "generator")
    return generator


def _data(context: Context, recipe: Recipe) -> tuple[list[LearnedFaces], TrainingSet]:
    given = recipe.given
    first = learned_faces(context, given.faces, recipe.classes, recipe.spec)
    conditional = recipe.preset.params.get("classes") != 0  # 0: identities only, no labels
    data = training_set(first.faces, recipe.classes, conditional=conditional)
    if given.also is None:
        return [first], data
    second = learned_faces(context, given.also, recipe.classes, recipe.spec)
    return [first, second], two_databases(data, training_set(second.faces, recipe.classes))


def _scorer(context: Context, recipe: Recipe) -> TrainedScorer | None:
    teacher = recipe.given.teacher
    if teacher is None:
        return None
    return trained_scorer(context, teacher, recipe.classes, recipe.spec)


def _train(
    context: Context,
    recipe: Recipe,
    data: TrainingSet,
    learned: Sequence[LearnedFaces],
    teacher: TrainedScorer | None,
    work: Path,
) -> Generator:
    """Train; of several processes the first one writes."""
    tracker = context.tracker
    title = f"generator {recipe.name}"
    run = tracker.start(context.params.experiment, title)
    try:
        trained = trainer(recipe.preset.engine)(
            data,
            recipe.preset.params,
            _hooks(context, recipe, data, teacher, work, _Live(tracker, run)),
        )
    except BaseException:
        tracker.finish(run, RunData(tags={"preset": recipe.given.preset}), status="FAILED")
        raise
    closure = Closure.union(each.closure for each in learned)
    figures = {
        "recipe": recipe.digest,
        "kimg": trained.kimg,
        "wall_s": round(trained.wall_s, 1),
        "device": trained.device,
        "parameters": sum(w.numel() for w in trained.weights.values()),
        "faces": len(data.faces),
        "code": mien.__version__,
        "last": dict(trained.history[-1]) if trained.history else {},
    }
    generator = Generator(
        engine=recipe.preset.engine,
        preset=recipe.given.preset,
        classes=recipe.classes,
        size_px=data.size_px,
        channels=data.channels,
        spec=trained.spec,
        weights=trained.weights,
        closure=closure if teacher is None else closure | teacher.closure,
        preprocess=asdict(recipe.spec),
        figures=figures,
    )
    if speaks_for_all():
        with disk_errors(work):
            write_json(work / "history.json", [dict(h) for h in trained.history])
            save_generator(work / "generator", generator)
    tracker.finish(run, _record(recipe, learned, figures, work))
    return generator


@dataclass(slots=True)
class _Live:
    """Tells the tracker figures while a generator trains, not too often."""

    tracker: Tracker
    run: str
    told: float = float("-inf")

    def tell(self, event: Progress) -> None:
        """Pass on the figures of a step of progress."""
        now = time.monotonic()
        if event.metrics and now - self.told >= _LIVE_EVERY_S:
            self.tracker.update(self.run, round(1000 * event.done), event.metrics)
            self.told = now


def _hooks(
    context: Context,
    recipe: Recipe,
    data: TrainingSet,
    teacher: TrainedScorer | None,
    work: Path,
    live: _Live,
) -> TrainHooks:
    def sheet(kimg: float, faces: UInt8) -> None:
        with disk_errors(work), whole(work / "sheets" / f"{round(1000 * kimg):09d}.png") as file:
            file.write_bytes(encode_png(sheet_picture(faces)))

    def progress(event: Progress) -> None:
        context.progress(replace(event, stage=f"train {recipe.name}"))
        live.tell(event)

    score: Score | None = None
    if teacher is not None:
        score = monitor(teacher.scorer, data)
    with disk_errors(work):
        write_json(work / "run.json", _configuration(recipe, data))
    return TrainHooks(
        progress=progress,
        cancelled=context.cancelled,
        save=lambda state: _save(work, state),
        sheet=sheet,
        score=score,
        teacher=None if teacher is None else teacher_of(teacher),
        resume=load_checkpoint(work / "checkpoint"),
    )


def _save(work: Path, state: Mapping[str, Any]) -> None:
    with disk_errors(work):
        save_checkpoint(work / "checkpoint", state)


def sheet_picture(faces: UInt8) -> UInt8:
    """Lay faces (R, C, S, S[, 3]) out as one picture, rows below one another."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in faces], axis=0)


def _configuration(recipe: Recipe, data: TrainingSet) -> dict[str, Any]:
    return {
        "generator": recipe.name,
        "engine": recipe.preset.engine,
        "params": dict(recipe.preset.params),
        "given": recipe.given.model_dump(mode="json"),
        "recipe": recipe.digest,
        "classes": [str(c) for c in recipe.classes],
        "preprocess": asdict(recipe.spec),
        "faces": len(data.faces),
        "counts": _counts(data.faces.labels, recipe.classes),
    }


def _counts(labels: Int, classes: Sequence[Expression]) -> dict[str, int]:
    return {str(c): int((labels == i).sum()) for i, c in enumerate(classes)}


def _record(
    recipe: Recipe,
    learned: Sequence[LearnedFaces],
    figures: Mapping[str, Any],
    work: Path,
) -> RunData:
    """Say at the end what was not said while it trained."""
    return RunData(
        params={"preset": recipe.given.preset, **recipe.preset.params},
        metrics={
            **{k: float(v) for k, v in figures["last"].items()},
            **{k: float(figures[k]) for k in ("kimg", "wall_s", "parameters", "faces")},
            "images_seen": 1000 * figures["kimg"],
        },
        tags={"engine": recipe.preset.engine, "recipe": recipe.digest},
        inputs={f"faces{i}": each.digest for i, each in enumerate(learned)},
        artifacts=work / "sheets" if (work / "sheets").exists() else None,
    )
