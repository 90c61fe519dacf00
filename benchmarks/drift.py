"""How often drift is told where there is none, and how many faces show it where there is.

``python -m benchmarks.drift``: a network is trained on people of demo_web; every round its training
version is made of other people of demo_web (600 faces), and windows of still others are compared
with it: of the same kind for the rate of false alarms, then of another database, of pictures that
are spoilt, and of another mix of expressions. ``--crowd 150 --rounds 40`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from benchmarks.small_network import load
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.evaluation.drift import compare
from mien.evaluation.drift_reference import make_reference
from mien.evaluation.drift_sketch import Projection
from mien.evaluation.drift_window import Crowd
from mien.recognition.fit import fit
from mien.recognition.predict import CnnScorer
from mien.recognition.spec import ClassifierSpec, FitSpec

PEOPLE = 100  # of a training version's validation set, six faces each
CLASSES = [str(e) for e in EKMAN_SIX]
ALPHAS = (0.01, 0.05)


class Said:
    """What the network says to some people's faces: probabilities, features, rows by person."""

    def __init__(self, scorer: CnnScorer, faces: FaceArrays) -> None:
        self.probabilities = scorer.probabilities(faces.images)
        self.features = scorer.features(faces.images)
        self.labels = faces.labels
        self.right = float((self.probabilities.argmax(1) == faces.labels).mean())
        self.people = np.unique(np.asarray(faces.subjects), return_inverse=True)[1]

    def rows(self, people):
        """Rows of some people, person by person."""
        return np.concatenate([np.flatnonzero(self.people == p) for p in people])


def trained(faces, kimg):
    spec = ClassifierSpec("small", EKMAN_SIX)
    schedule = FitSpec(kimg=kimg, batch=16, evaluations=2)
    found = fit(spec, schedule, faces, load("demo_web", 9_000, 30))
    return CnnScorer(spec, found.weights)


def version(said, people, projection, seed, draws):
    rows = said.rows(people)
    owners = [str(p) for p in said.people[rows]]
    return make_reference(
        CLASSES,
        projection,
        said.probabilities[rows],
        said.features[rows],
        owners,
        seed=seed,
        draws=draws,
    )


def window(reference, said, rows):
    """Blocks of a window whose faces come in the order of the rows."""
    crowd = Crowd(len(CLASSES), reference.projection.axes.shape[1])
    projected = reference.projection.of(said.features[rows])
    for i, row in enumerate(rows):
        crowd.see(said.probabilities[row : row + 1], projected[i : i + 1])
    return crowd.window(0, 1).blocks


def one_each(said, people, n, rng):
    """A face of each of n people."""
    chosen = rng.permutation(people)[:n]
    return np.array([rng.choice(np.flatnonzero(said.people == p)) for p in chosen])


def orders(said, people, rng):
    """Windows of the same kind: name → (rows, faces per person that are told)."""
    some = rng.permutation(people)
    together = said.rows(some[:100])
    return {
        "300 people, a face each": (one_each(said, people, 300, rng), 1.0),
        "100 people, six faces in turn": (together, 1.0),
        "the same, shuffled, said so": (rng.permutation(together), 6.0),
        "the same, shuffled, unsaid": (rng.permutation(together), 1.0),
    }


def alarms(said, everybody, projection, rounds, draws):
    """Count false alarms over rounds of another training version and another window each."""
    counts: dict[str, list[list[bool | None]]] = {}
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        people = rng.permutation(everybody)
        reference = version(said, people[:PEOPLE], projection, seed, draws)
        for name, (rows, told) in orders(said, people[PEOPLE:], rng).items():
            blocks = window(reference, said, rows)
            found = [compare(reference, blocks, alpha=a, faces_per_person=told) for a in ALPHAS]
            counts.setdefault(name, []).append(
                [None if f.verdict == "not_enough_data" else f.verdict == "drift" for f in found]
            )
    print(f"\nfalse alarms, {rounds} windows     " + "  ".join(f"at {a:>4.0%}" for a in ALPHAS))
    for name, all_ in counts.items():
        enough = [row for row in all_ if row[0] is not None]
        shares = [sum(bool(r[i]) for r in enough) / max(1, len(enough)) for i in range(len(ALPHAS))]
        silent = len(all_) - len(enough)
        note = f"  ({silent} had too few faces)" if silent else ""
        print(f"{name:<32}" + "  ".join(f"{s:7.1%}" for s in shares) + note, flush=True)


def mixed(said, rows, rng, share):
    """Rows of which a share shows happiness."""
    happy = said.labels[rows] == CLASSES.index("happiness")
    want = int(share * len(rows))
    return rng.permutation(
        np.concatenate(
            [
                rng.choice(rows[happy], want, replace=True),
                rng.choice(rows[~happy], len(rows) - want, replace=True),
            ]
        )
    )


def power(kinds, everybody, projection, sizes, rounds, draws):
    """Share of windows in which drift of a kind is told, by faces, at a rate of 1 %."""
    sized = " ".join(f"{n:>6}" for n in sizes)
    print(f"\n{f'told at 1 %, {rounds} windows':<26} accuracy {sized}  by")
    for name, (said, share) in kinds.items():
        told, by = dict.fromkeys(sizes, 0), {}
        for seed in range(rounds):
            rng = np.random.default_rng(1000 + seed)
            people = rng.permutation(everybody)
            reference = version(kinds["none"][0], people[:PEOPLE], projection, seed, draws)
            own = (
                people[PEOPLE:] if said.people.max() == everybody.max() else np.unique(said.people)
            )
            for n in sizes:
                rows = rng.permutation(said.rows(own))[:n]
                if share is not None:
                    rows = mixed(said, rows, rng, share)
                each = n / len(np.unique(said.people[rows]))
                blocks = window(reference, said, rows)
                found = compare(reference, blocks, faces_per_person=each)
                told[n] += found.verdict == "drift"
                for shift in found.shifts:
                    by[shift.what] = by.get(shift.what, 0) + shift.drifted
        most = ", ".join(f"{k} {v}" for k, v in sorted(by.items(), key=lambda i: -i[1]) if v)
        shares = " ".join(f"{told[n] / rounds:6.0%}" for n in sizes)
        print(f"{name:<26} {said.right:8.1%} {shares}  {most}", flush=True)


def changed(faces, change):
    """The same faces with other pixels."""
    images = np.clip(change(faces.images.astype(np.float32)), 0, 255).round().astype(np.uint8)
    return FaceArrays(images, faces.labels, faces.affect, faces.ids, faces.subjects)


def blurred(sigma):
    return lambda images: np.stack([cv2.GaussianBlur(i, (0, 0), sigma) for i in images])


def noisy(deviation):
    rng = np.random.default_rng(0)
    return lambda images: images + rng.normal(0, deviation, images.shape)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--crowd", type=int, default=500, help="people of the same kind")
    options.add_argument("--kimg", type=float, default=8.0)
    options.add_argument("--rounds", type=int, default=200, help="of windows for false alarms")
    options.add_argument("--told", type=int, default=20, help="windows for each kind of drift")
    options.add_argument("--draws", type=int, default=1000)
    given = options.parse_args()
    started = time.process_time()
    train = load("demo_web", 0, 100)
    scorer = trained(train, given.kimg)
    same = load("demo_web", 10_000, given.crowd)
    said = Said(scorer, same)
    projection = Projection.fit(scorer.features(train.images))
    everybody = np.unique(said.people)
    print(f"{given.crowd} people × 6 faces, accuracy {said.right:.1%}, ", end="")
    print(f"{time.process_time() - started:.0f} s of CPU to render and train")
    first = version(said, everybody[:PEOPLE], projection, 0, given.draws)
    print(f"likeness of two faces of one person {first.likeness:.2f}")
    if given.rounds:
        alarms(said, everybody, projection, given.rounds, given.draws)
    some = given.crowd // 2
    kinds = {
        "none": (said, None),
        "demo_lab": (Said(scorer, load("demo_lab", 0, some)), None),
        "demo_blind": (Said(scorer, load("demo_blind", 0, some)), None),
        "24 of 255 brighter": (Said(scorer, changed(same, lambda x: x + 24)), None),
        "blurred by 1 px": (Said(scorer, changed(same, blurred(1.0))), None),
        "blurred by 2 px": (Said(scorer, changed(same, blurred(2.0))), None),
        "noise of 12 of 255": (Said(scorer, changed(same, noisy(12.0))), None),
        "4 px too low": (Said(scorer, changed(same, lambda x: np.roll(x, 4, 1))), None),
        "happiness 17 % → 30 %": (said, 0.3),
        "happiness 17 % → 60 %": (said, 0.6),
    }
    power(kinds, everybody, projection, (150, 300, 600, 1200), given.told, given.draws)


if __name__ == "__main__":
    main()
