"""What the preset stargan is worth: the modern recipe against the published one, equal CPU time.

Generator and teacher are trained on some people of demo_web, the judge on others, and all figures
are taken on people whom neither has seen: each neutral face is translated into every class. The
modern recipe's time includes its teacher's. `cpu` is processor time of one thread.

- fidelity: share that the judge calls what was asked for, mean over classes, with the 95 % interval
  over people; the gap is to the judge's own accuracy on real faces of the same people.
- coverage, recall, fd/judge: in the judge's features; `real` is what other people's real faces
  reach at the same number of faces.
- outside: mean absolute change beyond the hull of the face's landmarks, of 255.

Run: ``python -m benchmarks.stargan``; ``--minutes 1 --subjects 200`` for a quick look;
``--generator FOLDER`` judges a trained one instead.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from mien.core.closure import Closure
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.faces import FaceArrays
from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet
from mien.evaluation.generator_fidelity import Judged, fidelity
from mien.generators.trained import Generator, TrainHooks, load_generator, training_set
from mien.generators.translate import Translator, train
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.encode import encode_png
from mien.imaging.preprocess import preprocess
from mien.recognition.fit import fit
from mien.recognition.predict import CnnScorer, with_weights
from mien.recognition.spec import ClassifierSpec, FitSpec

SEVEN = tuple(e for e in EXPRESSIONS if e is not Expression.CONTEMPT)
NEUTRAL = SEVEN.index(Expression.NEUTRAL)
SPEC = PreprocessSpec(size_px=64, channels="rgb")
CLASSIFIER = ClassifierSpec("small", SEVEN, size_px=64, channels="rgb")
GROWN = 4  # pixels: hull of the landmarks to outline of the face, brows to forehead


def load(first, subjects):
    """Render people: faces, person by person, and masks that are true outside the face."""
    options = {"first_subject": first, "subjects": subjects, "expressions": [str(e) for e in SEVEN]}
    detector = make_detector(SPEC, None)
    images, labels, people, outside = [], [], [], []
    for item in read("demo_web", None, options).items:
        images.append(preprocess(decode(item.image), SPEC, detector).image)
        labels.append(SEVEN.index(item.sample.expression))
        people.append(item.sample.subject)
        outside.append(beyond(item.sample))
    return FaceArrays.of(np.stack(images), labels, subjects=people), np.stack(outside)


def beyond(sample):
    """Mark what lies outside the face: (64, 64) bool."""
    points = np.array(sample.landmarks) * SPEC.size_px / sample.width
    hull = cv2.convexHull(points.round().astype(np.int32))
    face = np.zeros((SPEC.size_px, SPEC.size_px), np.uint8)
    cv2.fillConvexPoly(face, hull, 1)
    return cv2.dilate(face, np.ones((2 * GROWN + 1, 2 * GROWN + 1), np.uint8)) == 0


def classifier(faces, kimg, seed):
    """Train a classifier, a tenth of the people held out to choose its weights."""
    cut = len(faces) // len(SEVEN) // 10 * len(SEVEN)
    schedule = FitSpec(kimg=kimg, batch=16, evaluations=6, seed=seed)
    rest = np.arange(cut, len(faces))
    return fit(CLASSIFIER, schedule, faces.take(rest), faces.take(np.arange(cut))).weights


def trained(recipe, faces, seconds, teacher, more):
    """Train for some CPU seconds: a few steps tell how many faces that is."""
    data = training_set(faces, SEVEN)
    params = {"recipe": recipe, **more}
    batch = 16 if recipe == "published" else 32
    tick = time.process_time()
    train(
        data, {**params, "kimg": 10 * batch / 1000, "evaluations": 1}, TrainHooks(teacher=teacher)
    )
    trial = time.process_time() - tick
    kimg = max(10 * batch / 1000, (seconds - trial) / (trial / (10 * batch / 1000)))
    tick = time.process_time()
    made = train(data, {**params, "kimg": kimg}, TrainHooks(teacher=teacher))
    spent = time.process_time() - tick + trial
    figures = {"kimg": made.kimg, "cpu_s": spent}
    what = ("translate", "stargan", SEVEN, SPEC.size_px, SPEC.channels)
    return Generator(*what, made.spec, made.weights, Closure(), figures=figures)


def judged(name, generator, judge, faces, outside, sheet):
    """Print one generator's figures; returns its Fréchet distance."""
    translator = Translator(generator)
    sources = np.flatnonzero(faces.labels == NEUTRAL)
    rows, wanted = np.repeat(sources, len(SEVEN)), np.tile(np.arange(len(SEVEN)), len(sources))
    tick = time.process_time()
    made = translator.translate(faces.images[rows], wanted, np.ones(len(rows), np.float32))
    for image in made:
        encode_png(image)
    rate = len(made) / (time.process_time() - tick)
    if sheet is not None:
        (sheet / f"stargan-{name}.png").write_bytes(
            encode_png(picture(faces.images[sources], made))
        )
    people = [faces.subjects[r] for r in rows]
    said = fidelity(
        Judged(judge.probabilities(made), wanted, people),
        Judged(judge.probabilities(faces.images), faces.labels, faces.subjects),
        SEVEN,
    )
    real, synthetic = judge.features(faces.images), judge.features(made)
    covered = coverage(real, synthetic, space="judge", subjects=faces.subjects)
    far = frechet(real, synthetic, space="judge", subjects=faces.subjects)
    change = np.abs(made.astype(int) - faces.images[rows]).mean(3)
    kept = float(change[outside[rows]].mean())
    figures = generator.figures
    found = said.fidelity
    print(
        f"{name:10} {figures.get('kimg', 0):6.1f} {figures.get('cpu_s', 0):6.0f} "
        f"{found.estimate:6.3f} ({found.low:.3f}–{found.high:.3f}) "
        f"{said.gap:+6.3f} ({said.gap_low:+.3f} to {said.gap_high:+.3f}) "
        f"{covered.synthetic.coverage:5.2f} of {covered.real.coverage:.2f} "
        f"{covered.synthetic.recall:5.2f} of {covered.real.recall:.2f} "
        f"{far.distance:7.1f} of {far.floor:5.1f} {kept:6.2f} {rate:6.0f}",
        flush=True,
    )
    for one in said.per_class:
        mine, own = one.fidelity, one.judge
        print(
            f"  {one.expression:10} {mine.estimate:.2f} ({mine.low:.2f}–{mine.high:.2f}), judge "
            f"{own.estimate:.2f} ({own.low:.2f}–{own.high:.2f}), gap {one.gap:+.2f}"
        )
    return far.distance


def picture(sources, made):
    """Lay ten people out, a row each: the neutral face, then what was made of it."""
    own = made.reshape(len(sources), len(SEVEN), *made.shape[1:])[:10]
    rows = np.concatenate([sources[:10, None], own], axis=1)
    return np.concatenate(np.concatenate(rows, axis=1), axis=1)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subjects", type=int, default=1000, help="generator and teacher see")
    options.add_argument("--judge-subjects", type=int, default=500)
    options.add_argument("--test-subjects", type=int, default=150)
    options.add_argument("--minutes", type=float, default=15.0, help="of CPU, each recipe")
    options.add_argument("--judge-kimg", type=float, default=50.0)
    options.add_argument("--generator", type=Path, help="a folder to judge instead of training")
    options.add_argument("--out", type=Path, help="folder for sheets")
    given = options.parse_args()
    cv2.setNumThreads(1)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    judge_faces, _ = load(100_000, given.judge_subjects)
    judge = CnnScorer(CLASSIFIER, classifier(judge_faces, given.judge_kimg, 2))
    test, outside = load(200_000, given.test_subjects)
    print(f"{given.test_subjects} people; judge trained on {given.judge_subjects} others\n")
    print(
        f"{'recipe':10} {'kimg':>6} {'cpu s':>6} {'fidelity':>20} {'gap':>25} {'coverage':>13} "
        f"{'recall':>13} {'fd/judge':>16} {'outside':>7} {'faces/s':>7}"
    )
    if given.generator is not None:
        judged(
            "given", load_generator(given.generator, "translate"), judge, test, outside, given.out
        )
        return
    faces, _ = load(0, given.subjects)
    seconds = given.minutes * 60.0
    tick = time.process_time()
    network = with_weights(CLASSIFIER, classifier(faces, min(80.0, 30.0 + given.subjects / 20), 1))
    network.requires_grad_(False)
    taught = time.process_time() - tick
    modern = trained("modern", faces, seconds - taught, lambda x: network(x).logits, {})
    published = trained("published", faces, seconds, None, {"evaluations": 1})
    near = judged("modern", modern, judge, test, outside, given.out)
    far = judged("published", published, judge, test, outside, given.out)
    print(f"\nteacher: {taught:.0f} CPU s; fd/judge published : modern = {far / near:.1f}×")


if __name__ == "__main__":
    main()
