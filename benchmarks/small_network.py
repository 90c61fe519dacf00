"""What the small network is worth: accuracy and cost against the seed CNN and HOG + SVM.

Trained on demo_web, tested on other people of demo_web and on demo_blind, which training never
sees. All see the same number of images on the same schedule; ``seed, Adam`` trains as published
(Adam, 1e-4) for as many images. The last column is the gain over HOG + SVM on demo_blind with its
95 % interval over people and seeds.

Run: ``python benchmarks/small_network.py``; ``--seeds 1`` for a quick look,
``--subjects 800 --kimg 60 --networks small`` for what the small network reaches with more people.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.evaluation.intervals import mean_interval
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess
from mien.recognition.fit import fit
from mien.recognition.hog import HogSvm
from mien.recognition.networks import build
from mien.recognition.predict import predict
from mien.recognition.spec import ClassifierSpec, FitSpec

SPEC = PreprocessSpec()
BATCH = 16


def load(database, first, subjects):
    """Render people and prepare their faces: rows lie person by person, six expressions each."""
    reading = read(database, None, {"first_subject": first, "subjects": subjects})
    detector = make_detector(SPEC, None)
    images, labels, people = [], [], []
    for item in reading.items:
        images.append(preprocess(decode(item.image), SPEC, detector).image)
        labels.append(EKMAN_SIX.index(item.sample.expression))
        people.append(item.sample.subject)
    return FaceArrays.of(np.stack(images), labels, subjects=people)


def right_by_person(said, faces):
    """Share of faces called right, person by person: (people,)."""
    _, person = np.unique(np.asarray(faces.subjects), return_inverse=True)
    right = np.bincount(person, weights=said == faces.labels)
    return right / np.bincount(person)


def hog(sets, _schedule, _network):
    """HOG + SVM with the regularisation that is best on validation; one run, nothing is drawn."""
    train, validation = sets["train"], sets["validation"]
    machines = [
        HogSvm(strength=c).fit(train.images, train.labels) for c in (1e-4, 3e-4, 1e-3, 1e-2)
    ]
    best = max(machines, key=lambda m: (m.predict(validation.images) == validation.labels).mean())
    return {name: best.predict(sets[name].images) for name in ("test", "blind")}


def network(sets, schedule, name):
    spec = ClassifierSpec(name, EKMAN_SIX)
    fitted = fit(spec, schedule, sets["train"], sets["validation"])
    return {
        role: predict(fitted.weights, spec, sets[role]).logits.argmax(1)
        for role in ("test", "blind")
    }


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--subjects", type=int, default=100, help="trained on")
    options.add_argument("--kimg", type=float, default=12.0)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--networks", nargs="*", default=["seed", "small"])
    given = options.parse_args()
    sets = {
        "train": load("demo_web", 0, given.subjects),
        "validation": load("demo_web", 10_000, 60),
        "test": load("demo_web", 20_000, 150),
        "blind": load("demo_blind", 0, 150),
    }
    steps = {"kimg": given.kimg, "batch": BATCH, "evaluations": 4}
    epochs = max(1, round(given.kimg * 1000 / len(sets["train"])))
    adam = {"protocol": "paper", "epochs": epochs, "patience": epochs, "batch": BATCH}
    sides = {
        "HOG + SVM": (hog, "", None),
        "seed, Adam": (network, "seed", adam),
        "seed, steps": (network, "seed", steps),
        "small, steps": (network, "small", steps),
    }
    print(f"{given.subjects} people × 6 faces, {given.kimg:g} kimg, {given.seeds} seeds\n")
    print(f"{'':<13} {'parameters':>10} {'CPU s':>6} {'test':>6} {'blind':>6}  over HOG, blind")
    baseline = None
    for label, (train, name, schedule) in sides.items():
        if name and name not in given.networks:
            continue
        right, started = {"test": [], "blind": []}, time.process_time()
        runs = given.seeds if schedule else 1
        for seed in range(runs):
            spec = FitSpec(**schedule, seed=seed) if schedule else None
            said = train(sets, spec, name)
            for role, each in said.items():
                right[role].append(right_by_person(each, sets[role]))
        cost = (time.process_time() - started) / runs
        tables = {role: np.stack(rows) for role, rows in right.items()}
        size = (
            sum(p.numel() for p in build(ClassifierSpec(name, EKMAN_SIX)).parameters())
            if name
            else 0
        )
        gain = ""
        if baseline is None:
            baseline = tables["blind"]
        elif given.seeds > 1:
            found = mean_interval(tables["blind"] - baseline)
            gain = f"{found.estimate:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
        else:
            gain = f"{(tables['blind'] - baseline).mean():+.1%}"
        print(
            f"{label:<13} {size:>10,} {cost:6.1f} {tables['test'].mean():6.1%} "
            f"{tables['blind'].mean():6.1%}  {gain}",
            flush=True,
        )


if __name__ == "__main__":
    main()
