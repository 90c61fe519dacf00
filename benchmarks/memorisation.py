"""How many planted copies of training faces are found, and how many other faces are accused.

Among faces of people that were not trained on, 300 are replaced by copies of training faces, for
each of five kinds: exact, mirrored, cropped (to 80 to 95 % of the side, anywhere), recompressed
(JPEG, quality 30 to 80), and all three at once. Lower and upper limits are Clopper and Pearson's.

Run: ``python -m benchmarks.memorisation``; ``--faces 3000 --copies 60`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.evaluation.accuracy import proportion_interval
from mien.evaluation.copy_candidates import copy_candidates
from mien.evaluation.memorisation import COPY_LEVEL, find_copies
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess

EXPRESSIONS = ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]


def render(first, faces, sizes, channels):
    """Faces of demo_web people from ``first`` on, prepared at every size: size → (N, S, S[, 3])."""
    subjects = -(-faces // len(EXPRESSIONS))
    options = {"first_subject": first, "subjects": subjects, "expressions": EXPRESSIONS}
    specs = {s: PreprocessSpec(size_px=s, channels=channels, detector="none") for s in sizes}
    detectors = {s: make_detector(spec, None) for s, spec in specs.items()}
    found = {s: [] for s in sizes}
    for item in read("demo_web", None, options, workers=1).items:
        picture = decode(item.image)
        for size, spec in specs.items():
            found[size].append(preprocess(picture, spec, detectors[size]).image)
    return {s: np.stack(v)[:faces] for s, v in found.items()}


def mirrored(image, _rng):
    return np.ascontiguousarray(image[:, ::-1])


def cropped(image, rng):
    side = image.shape[0]
    share = rng.uniform(0.8, 0.95)
    left, top = rng.uniform(0, side * (1 - share), 2)
    matrix = np.array(
        [[share, 0, left + share / 2 - 0.5], [0, share, top + share / 2 - 0.5]], np.float32
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def recompressed(image, rng):
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 81))]
    mode = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], mode)


KINDS = {
    "exact": [],
    "mirrored": [mirrored],
    "cropped": [cropped],
    "recompressed": [recompressed],
    "all three": [mirrored, cropped, recompressed],
}


def plant(faces, training, copies, rng):
    """Replace faces by copies: the faces, row → source, and rows by kind."""
    planted = faces.copy()
    rows = rng.permutation(len(faces))[: copies * len(KINDS)].reshape(len(KINDS), copies)
    source = {}
    for kind, places in zip(KINDS, rows, strict=True):
        for row in places:
            source[int(row)] = int(rng.integers(len(training)))
            image = training[source[int(row)]]
            for change in KINDS[kind]:
                image = change(image, rng)
            planted[row] = image
    return planted, source, dict(zip(KINDS, rows.tolist(), strict=True))


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trained", type=int, default=2800, help="training faces")
    options.add_argument("--faces", type=int, default=20_000, help="generated faces")
    options.add_argument("--copies", type=int, default=300, help="planted of each kind")
    options.add_argument("--sizes", type=int, nargs="+", default=[48, 64])
    options.add_argument("--channels", default="gray", choices=["gray", "rgb"])
    given = options.parse_args()
    cv2.setNumThreads(1)
    training = render(0, given.trained, given.sizes, given.channels)
    faces = render(1_000_000, given.faces, given.sizes, given.channels)
    print(f"{given.trained} training faces, {given.faces} faces, {given.channels}, one thread")
    print(f"{'px':>3} {'kind':13} {'found':>9} {'recall':>7} {'lower':>7} {'right source':>13}")
    for size in given.sizes:
        rng = np.random.default_rng(size)
        planted, source, rows = plant(faces[size], training[size], given.copies, rng)
        clock = time.process_time()
        found = find_copies(planted, training[size])
        seconds = time.process_time() - clock
        accused = {c.row: c for c in found.copies}
        for kind, places in rows.items():
            hits = [r for r in places if r in accused]
            right = sum(accused[r].source == source[r] for r in hits)
            low, _ = proportion_interval(len(hits), len(places))
            print(
                f"{size:3} {kind:13} {len(hits):4}/{len(places):4} {len(hits) / len(places):7.3f}"
                f" {low:7.3f} {right:8}/{len(hits):4}"
            )
        others = len(planted) - len(source)
        false = [c for c in found.copies if c.row not in source]
        _, high = proportion_interval(len(false), others)
        clock = time.process_time()
        copy_candidates(planted, training[size])
        coarse = time.process_time() - clock
        print(
            f"{size:3} false alarms {len(false)} of {others} (upper limit {1e4 * high:.1f} in"
            f" 10,000); highest innocent score {found.highest:.3f}, level {COPY_LEVEL}\n"
            f"{size:3} {seconds:.0f} processor-seconds, of which coarse search {coarse:.0f}"
        )


if __name__ == "__main__":
    main()
