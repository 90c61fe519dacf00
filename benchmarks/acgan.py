"""What the presets acgan and cgan are worth: modern recipes against published ones, equal CPU time.

Generators are trained on some people of demo_web, the judge on others, and all figures are taken
beside real faces of people whom neither has seen: 48×48 gray, seven classes, as many invented
identities as there are real people to compare with. `cpu s` is processor time of one thread.

- fidelity: share that the judge calls what was asked for, mean over classes, with the 95 % interval
  over identities; the gap is to the judge's own accuracy on the real faces.
- coverage, recall, fd/judge: in the judge's features; `of` is what other people's real faces
  reach at the same number of faces.
- faces/s: of one thread, the PNG included.

Run: ``python -m benchmarks.acgan``; ``--minutes 1 --subjects 200`` for a quick look;
``--generator FOLDER`` judges a trained one instead.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from mien.core.closure import Closure
from mien.core.errors import Interrupted
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.faces import FaceArrays
from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet
from mien.evaluation.generator_fidelity import Judged, fidelity
from mien.generators.noise import NoiseEngine, NoiseSampling, train
from mien.generators.presets import preset
from mien.generators.requests import plan_requests
from mien.generators.trained import (
    Generator,
    TrainHooks,
    load_generator,
    save_generator,
    training_set,
)
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.encode import encode_png
from mien.imaging.preprocess import preprocess
from mien.recognition.fit import fit
from mien.recognition.predict import CnnScorer
from mien.recognition.spec import ClassifierSpec, FitSpec

SEVEN = tuple(e for e in EXPRESSIONS if e is not Expression.CONTEMPT)
SPEC = PreprocessSpec(size_px=48, channels="gray")
CLASSIFIER = ClassifierSpec("small", SEVEN, size_px=48)
RECIPES = ("acgan modern", "acgan published", "cgan modern", "cgan published")
TIMED_STEPS = 40


def load(first, subjects):
    """Render people: faces, person by person."""
    options = {"first_subject": first, "subjects": subjects, "expressions": [str(e) for e in SEVEN]}
    detector = make_detector(SPEC, None)
    images, labels, people = [], [], []
    for item in read("demo_web", None, options).items:
        images.append(preprocess(decode(item.image), SPEC, detector).image)
        labels.append(SEVEN.index(item.sample.expression))
        people.append(item.sample.subject)
    return FaceArrays.of(np.stack(images), labels, subjects=people)


def classifier(faces, kimg):
    """Train the judge, a tenth of the people held out to choose its weights."""
    cut = len(faces) // len(SEVEN) // 10 * len(SEVEN)
    schedule = FitSpec(kimg=kimg, batch=16, evaluations=6)
    rest = np.arange(cut, len(faces))
    return fit(CLASSIFIER, schedule, faces.take(rest), faces.take(np.arange(cut))).weights


def trained(recipe, faces, seconds):
    """Train for some CPU seconds: the first steps of a long run tell how many faces that is."""
    name, kind = recipe.split()
    data = training_set(faces, SEVEN)
    params = {**preset(name, {"recipe": kind}).params, "evaluations": 1}
    batch = params.get("batch", 32)
    asked = []

    def enough():
        asked.append(time.process_time())
        return len(asked) > TIMED_STEPS

    with suppress(Interrupted):
        train(data, params, TrainHooks(cancelled=enough))
    a_step = (asked[-1] - asked[0]) / TIMED_STEPS
    kimg = max(batch, (seconds / a_step - TIMED_STEPS) * batch) / 1000
    tick = time.process_time()
    made = train(data, {**params, "kimg": kimg}, TrainHooks())
    spent = time.process_time() - tick + a_step * TIMED_STEPS
    what = ("noise", name, SEVEN, SPEC.size_px, SPEC.channels)
    seen = Closure(subjects=frozenset(faces.subjects))
    figures = {"kimg": made.kimg, "cpu_s": spent}
    return Generator(*what, made.spec, made.weights, seen, figures=figures)


def judged(name, generator, judge, real, sheet):
    """Print one generator's figures; returns its Fréchet distance."""
    engine = NoiseEngine(generator, NoiseSampling(generator=Path()))
    people = len(set(real.subjects))
    asked = plan_requests(pool="b", pool_seed=0, expressions=SEVEN, identities=people)
    tick = time.process_time()
    faces = list(engine.synthesise(asked))
    for face in faces:
        encode_png(face.image)
    rate = len(faces) / (time.process_time() - tick)
    images = np.stack([face.image for face in faces])
    wanted = np.array([SEVEN.index(face.request.expression) for face in faces])
    if sheet is not None:
        rows = images[: 10 * len(SEVEN)].reshape(10, len(SEVEN), *images.shape[1:])
        (sheet / f"{name.replace(' ', '-')}.png").write_bytes(
            encode_png(np.concatenate(np.concatenate(rows, axis=1), axis=1))
        )
    said = fidelity(
        Judged(judge.probabilities(images), wanted, [f.request.identity for f in faces]),
        Judged(judge.probabilities(real.images), real.labels, real.subjects),
        SEVEN,
    )
    there, here = judge.features(real.images), judge.features(images)
    covered = coverage(there, here, space="judge", subjects=real.subjects)
    far = frechet(there, here, space="judge", subjects=real.subjects)
    figures, found = generator.figures, said.fidelity
    print(
        f"{name:15} {figures.get('kimg', 0):6.1f} {figures.get('cpu_s', 0):6.0f} "
        f"{found.estimate:6.3f} ({found.low:.3f}–{found.high:.3f}) "
        f"{said.gap:+6.3f} ({said.gap_low:+.3f} to {said.gap_high:+.3f}) "
        f"{covered.synthetic.coverage:5.2f} of {covered.real.coverage:.2f} "
        f"{covered.synthetic.recall:5.2f} of {covered.real.recall:.2f} "
        f"{far.distance:7.1f} of {far.floor:5.1f} {rate:7.0f}",
        flush=True,
    )
    for one in said.per_class:
        mine, own = one.fidelity, one.judge
        print(
            f"  {one.expression:10} {mine.estimate:.2f} ({mine.low:.2f}–{mine.high:.2f}), judge "
            f"{own.estimate:.2f} ({own.low:.2f}–{own.high:.2f}), gap {one.gap:+.2f}"
        )
    return far.distance


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subjects", type=int, default=3000, help="a generator sees")
    options.add_argument("--judge-subjects", type=int, default=500)
    options.add_argument("--test-subjects", type=int, default=150)
    options.add_argument("--minutes", type=float, default=15.0, help="of CPU, each recipe")
    options.add_argument("--judge-kimg", type=float, default=50.0)
    options.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    options.add_argument("--generator", type=Path, help="a folder to judge instead of training")
    options.add_argument("--out", type=Path, help="folder for sheets and trained generators")
    given = options.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    weights = classifier(load(100_000, given.judge_subjects), given.judge_kimg)
    judge, real = CnnScorer(CLASSIFIER, weights), load(200_000, given.test_subjects)
    print(f"{given.test_subjects} people; judge trained on {given.judge_subjects} others\n")
    print(
        f"{'recipe':15} {'kimg':>6} {'cpu s':>6} {'fidelity':>20} {'gap':>25} {'coverage':>13} "
        f"{'recall':>13} {'fd/judge':>16} {'faces/s':>7}"
    )
    if given.generator is not None:
        judged("given", load_generator(given.generator, "noise"), judge, real, given.out)
        return
    faces, far = load(0, given.subjects), {}
    for recipe in given.recipes:
        generator = trained(recipe, faces, given.minutes * 60.0)
        if given.out is not None:
            save_generator(given.out / recipe.replace(" ", "-"), generator)
        far[recipe] = judged(recipe, generator, judge, real, given.out)
    for name in ("acgan", "cgan"):
        old, new = far.get(f"{name} published"), far.get(f"{name} modern")
        if old and new:
            print(f"\n{name}: fd/judge published : modern = {old / new:.1f}×")


if __name__ == "__main__":
    main()
