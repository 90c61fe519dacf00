"""What the judges of generators say of planted cases, and how long they take.

Part 1: features drawn from known distributions. Each row is a fault that a generator may have; the
last column says how the figures have to move against the first row, and whether they do.
Part 2: the bias of the Fréchet distance of two samples of one N(0, I), by faces and dims.
Part 3: the same faults made of rendered faces of demo_web, in the space of histograms of oriented
gradients (no network is needed): other people, one person only, blurred, noisy, one class only.

Run: ``python -m benchmarks.generator_metrics``; ``--subjects 60`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from benchmarks.memorisation import EXPRESSIONS, render
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet, frechet_distance, kid, project
from mien.recognition.hog import HogSvm

HEAD = (
    f"{'case':26} {'fd':>8} {'floor':>7} {'kid':>9} {'prec':>5} {'rec':>5} {'dens':>5} {'cov':>5}"
)


def figures(real, synthetic, space, subjects=()):
    return (
        frechet(real, synthetic, space=space, subjects=subjects),
        kid(real, synthetic, space=space, subjects=subjects, subsets=50),
        coverage(real, synthetic, space=space, subjects=subjects),
    )


def line(name, found, wanted=""):
    fd, mmd, cover = found
    s = cover.synthetic
    print(
        f"{name:26} {fd.distance:8.2f} {fd.floor:7.2f} {mmd.estimate:9.4f} {s.precision:5.2f}"
        f" {s.recall:5.2f} {s.density:5.2f} {s.coverage:5.2f}  {wanted}"
    )


def moved(found, first):
    """Which of precision, recall, coverage fell by a fifth or more, and whether fd rose so."""
    mine, base = found[2].synthetic, first[2].synthetic
    fell = [
        name
        for name in ("precision", "recall", "coverage")
        if getattr(mine, name) < 0.8 * getattr(base, name)
    ]
    return fell + (["fd"] if found[0].distance > 1.2 * first[0].distance else [])


def verdict(found, first, wanted):
    seen = set(moved(found, first))
    good = set(wanted["falls"]) <= seen and not set(wanted["stays"]) & seen
    fell = ", ".join(wanted["falls"]) or "nothing"
    return f"{'as it must' if good else 'WRONG'}: {fell}"


def planted(n, dims):
    rng = np.random.default_rng(0)

    def draw(shift=0.0, scale=1.0, count=n):
        return (rng.standard_normal((count, dims)) * scale + shift).astype(np.float32)

    real = draw(count=2 * n)
    collapsed = np.repeat(real[:3], -(-n // 3), axis=0)[:n] + 0.01 * draw()
    centres = 8 * np.eye(4, dims)

    def modes(some, count):
        return draw(count=count) + centres[rng.choice(some, count)].astype(np.float32)

    cases = [
        ("same distribution", real, draw(), [], ["precision", "recall", "coverage", "fd"]),
        ("identical faces", real, real[:n], [], ["precision", "recall", "coverage", "fd"]),
        ("shifted", real, draw(1.0), ["precision", "recall", "coverage", "fd"], []),
        ("collapsed to 3 faces", real, collapsed, ["recall", "coverage", "fd"], ["precision"]),
        ("half of the spread", real, draw(scale=0.5), ["recall", "fd"], ["precision"]),
        ("twice the spread", real, draw(scale=2.0), ["precision", "coverage", "fd"], ["recall"]),
        (
            "half noise",
            real,
            np.concatenate([draw(count=n // 2), draw(8.0, count=n - n // 2)]),
            ["precision", "fd"],
            [],
        ),
        (
            "1 of 4 groups lost",
            modes([0, 1, 2, 3], 2 * n),
            modes([0, 1, 2], n),
            ["recall", "coverage", "fd"],
            ["precision"],
        ),
    ]
    first = None
    print(f"\nplanted features, {dims} dims, {n} faces a side\n{HEAD}")
    for name, against, synthetic, falls, stays in cases:
        found = figures(against, synthetic, "planted")
        first = first or found
        line(name, found, verdict(found, first, {"falls": falls, "stays": stays}))


def bias():
    print("\nfd of two samples of one N(0, I)\n  faces   dims      fd   projected to 128")
    rng = np.random.default_rng(1)
    for n, dims in ((3000, 128), (1000, 128), (200, 128), (3000, 1024)):
        first, second = rng.standard_normal((2, n, dims)).astype(np.float32)
        wide = frechet_distance(first, second)
        print(
            f"{n:7} {dims:6} {wide:7.1f} {frechet_distance(project(first), project(second)):10.1f}"
        )


def rendered(subjects):
    size, classes = 64, len(EXPRESSIONS)
    real = render(0, 2 * subjects * classes, [size], "gray")[size]
    other = render(500_000, subjects * classes, [size], "gray")[size]
    names = [f"s{i // classes}" for i in range(len(real))]
    hog = HogSvm(size)
    rng = np.random.default_rng(2)
    blurred = np.stack([cv2.GaussianBlur(f, (0, 0), 2.0) for f in other])
    noisy = np.clip(other + rng.normal(0, 25, other.shape), 0, 255).astype(np.uint8)
    one_class = np.repeat(other[3::classes], classes, axis=0)
    jitter = rng.normal(0, 2, other.shape)
    one = np.clip(np.tile(other[:classes], (subjects, 1, 1)) + jitter, 0, 255).astype(np.uint8)
    against = project(hog.features(real))
    print(f"\nrendered faces, hog128, {2 * subjects} real people, {subjects} generated\n{HEAD}")
    clock = time.process_time()
    for name, faces in (
        ("other people", other),
        ("the same people", real[: len(other)]),
        ("one person, over and over", one),
        ("happiness only", one_class),
        ("blurred", blurred),
        ("noisy", noisy),
    ):
        line(name, figures(against, project(hog.features(faces)), "hog128", names))
    print(f"{(time.process_time() - clock) / 6:.1f} processor-seconds a row")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--faces", type=int, default=2000, help="planted features a side")
    options.add_argument("--dims", type=int, default=32)
    options.add_argument("--subjects", type=int, default=200, help="rendered generated people")
    given = options.parse_args()
    cv2.setNumThreads(1)
    planted(given.faces, given.dims)
    bias()
    rendered(given.subjects)


if __name__ == "__main__":
    main()
