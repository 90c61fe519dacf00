"""Do the two heads mean the same by an expression? Train on one, test on the other.

HOG + linear SVM on 80 identities × six expressions of one head; pose, light, camera and
expressions vary, the faces are aligned by their eyes to 64×64 grey as every face is before it is
recognised; tested on as many faces of the other head. Chance is 16.7 %, wanted 55 %.

Run: ``MIEN_ASSETS=… python benchmarks/cross_backend.py``
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from mien.core.arrays import AnyArray, Int, UInt8
from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.imaging.align import align
from mien.morphable.appearance import sample_appearance
from mien.morphable.expressions import sample_units
from mien.morphable.head import HeadModel, load_head
from mien.morphable.render import render
from mien.morphable.scene import sample_scene
from mien.recognition.hog import HogSvm

IDENTITIES = 80
WANTED = 0.55
SEEDS = (1, 2, 3)
PICTURE_PX = 96
SPEC = PreprocessSpec()


def draw_faces(head: HeadModel, seed: int) -> tuple[UInt8, Int]:
    """Return (480, 64, 64) faces, identity by identity, and their class indices."""
    images, labels = [], []
    for index in range(IDENTITIES):
        rng = np.random.default_rng([seed, index])
        identity = np.clip(rng.standard_normal(head.identity_size, np.float32), -2.5, 2.5)
        colours = head.colours(sample_appearance(rng), rng)
        for label, expression in enumerate(EKMAN_SIX):
            units = sample_units(head, expression, float(rng.uniform(0.7, 1.0)), rng, 1.0)
            drawn = sample_scene(rng, 1.0)
            vertices = head.shape(identity) + head.offsets(units)
            picture = render(head, vertices, colours, drawn, PICTURE_PX)
            points = np.array(picture.landmarks)
            (left_x, left_y), (right_x, right_y) = points[36:42].mean(0), points[42:48].mean(0)
            face = align(picture.image, ((left_x, left_y), (right_x, right_y)), SPEC)
            images.append(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
            labels.append(label)
    return np.array(images, np.uint8), np.array(labels, np.int64)


def confusion(train: tuple[UInt8, Int], test: tuple[UInt8, Int]) -> AnyArray:
    """Train on one set, count (true, predicted) on the other."""
    counts = np.zeros((6, 6), np.int64)
    np.add.at(counts, (test[1], HogSvm().fit(*train).predict(test[0])), 1)
    return counts


def interval(counts: AnyArray) -> tuple[float, float, float]:
    """Return the accuracy and its 95 % Wilson interval, faces taken as independent."""
    n, right = counts.sum(), np.trace(counts)
    p, z = right / n, 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(p), float(middle - half), float(middle + half)


def main() -> None:
    """Print accuracy and confusion of each direction, and of each head against itself."""
    assets = os.environ.get("MIEN_ASSETS")
    if assets is None:
        print("the ict head is an asset: set MIEN_ASSETS (mien assets pull ict)")
        return
    cv2.setNumThreads(1)
    heads = {
        "builtin": load_head("builtin", None),
        "ict": load_head("ict", Path(assets)),
    }
    totals: dict[tuple[str, str], AnyArray] = {}
    for seed in SEEDS:
        trained = {name: draw_faces(head, seed) for name, head in heads.items()}
        tested = {name: draw_faces(head, 1000 + seed) for name, head in heads.items()}
        for source in heads:
            for target in heads:
                counts = confusion(trained[source], tested[target])
                print(f"seed {seed}: {source:>7} → {target:7} {interval(counts)[0]:6.1%}")
                before = totals.get((source, target), 0)
                totals[source, target] = before + counts
    print(f"\n{'trained on':>10} {'tested on':>10} {'accuracy':>9} {'95 %':>15} {'of wanted':>10}")
    for (source, target), counts in totals.items():
        accuracy, low, high = interval(counts)
        ratio = f"{accuracy / WANTED:9.2f}×" if source != target else ""
        print(f"{source:>10} {target:>10} {accuracy:9.1%} {low:6.1%} .. {high:6.1%} {ratio:>10}")
    for source, target in (("builtin", "ict"), ("ict", "builtin")):
        print(f"\n{source} → {target}: rows are what was shown\n{'':10}", end="")
        print(" ".join(f"{e[:5]:>5}" for e in EKMAN_SIX))
        for expression, row in zip(EKMAN_SIX, totals[source, target], strict=True):
            print(f"{expression:10}" + " ".join(f"{count:5d}" for count in row))


if __name__ == "__main__":
    main()
