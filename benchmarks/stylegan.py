"""The identity generator: how distinct, how diverse, how near to real people, and how fast.

Trains the preset ``stylegan`` on neutral faces of demo_web with nothing before them, unless
``--generator`` names a generator folder, and compares faces of invented identities with faces of
real people that it did not see. ``alike`` is the share of identities whose nearest other is nearer
than real people's 0.1 % quantile (real: 0.1 % by definition); ``copies`` are generated faces that
are training faces. Beside every distance stands what real people have among themselves at the same
number of faces.

Run: ``python -m benchmarks.stylegan``; ``--people 2000 --kimg 20 --judged 500`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from mien.core.closure import Closure
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.faces import FaceArrays
from mien.core.generation import FaceRequest
from mien.core.preprocess import PreprocessSpec
from mien.datasets.table import read
from mien.evaluation.generator_coverage import coverage
from mien.evaluation.generator_distances import frechet
from mien.evaluation.generator_identity import distinct
from mien.evaluation.memorisation import find_copies
from mien.generators.engines import make_engine, trainer
from mien.generators.presets import preset
from mien.generators.trained import Generator, TrainHooks, TrainingSet, save_generator
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.encode import encode_png
from mien.imaging.preprocess import preprocess
from mien.recognition.hog import HogSvm

OTHERS = 1_000_000  # index of the first person the generator does not see
NEUTRAL = Expression.NEUTRAL


def people(first, count, size, workers):
    """Neutral faces (N, S, S, 3) of demo_web people with nothing before them, and their names."""
    spec = PreprocessSpec(size_px=size, channels="rgb", detector="none")
    detector = make_detector(spec, None)
    options = {
        "first_subject": first,
        "subjects": count,
        "expressions": ["neutral"],
        "size_px": size,
    }
    images, names = [], []
    for item in read("demo_web", None, options, workers=workers).items:
        if item.sample.attributes["occlusion"] == "none":
            images.append(preprocess(decode(item.image), spec, detector).image)
            names.append(item.sample.subject)
    return np.stack(images), names


def trained(options, images, names, folder):
    """Train the preset and leave a generator folder; returns processor seconds."""
    recipe = preset("stylegan", {"kimg": options.kimg} if options.kimg else {})
    labels = np.full(len(images), EXPRESSIONS.index(NEUTRAL))
    faces = FaceArrays.of(images, labels, ids=names, subjects=names)
    data = TrainingSet(faces, tuple(EXPRESSIONS), np.zeros(len(images), np.int64))

    def sheet(kimg, rows):
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            write(options.sheets / f"{round(kimg):06d}kimg.png", rows)

    started = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    done = trainer(recipe.engine)(data, recipe.params, TrainHooks(sheet=sheet))
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - started
    save_generator(
        folder,
        Generator(
            engine=recipe.engine,
            preset="stylegan",
            classes=data.classes,
            size_px=data.size_px,
            channels=data.channels,
            spec=done.spec,
            weights=done.weights,
            closure=Closure(frozenset(names)),
        ),
    )
    return done.kimg, seconds


def write(path, rows):
    """Write faces (R, C, S, S, 3) as one picture."""
    joined = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
    path.write_bytes(encode_png(joined))


def spaces(images):
    """Feature spaces in which people differ and that nothing was trained for."""
    small = [cv2.resize(i, (16, 16), interpolation=cv2.INTER_AREA) for i in images]
    pixels = np.stack(small).astype(np.float32).reshape(len(images), -1) / 255.0
    return {"pixels16": pixels, "hog": HogSvm(images.shape[1]).features(images)}


def made(folder, psi, count):
    """Faces of invented identities, and the processor seconds they took, encoding included."""
    engine = make_engine("noise", {"generator": str(folder), "truncation": psi})
    requests = [FaceRequest(f"r{i}", 7, f"i{i}", NEUTRAL) for i in range(count)]
    list(engine.synthesise(requests[:64]))
    started = time.process_time()
    images = []
    for face in engine.synthesise(requests):
        encode_png(face.image)
        images.append(face.image)
    return np.stack(images), time.process_time() - started


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--people", type=int, default=26_000, help="rendered to train on")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--kimg", type=float, help="instead of the preset's")
    options.add_argument("--judged", type=int, default=2000, help="identities and real people")
    options.add_argument("--truncation", type=float, nargs="+", default=[1.0, 0.7, 0.5])
    options.add_argument("--generator", type=Path, help="judge this folder instead of training")
    options.add_argument("--sheets", type=Path, help="folder for pictures of the faces")
    options.add_argument("--workers", type=int, default=1)
    options = options.parse_args()

    seen, names = people(0, options.people, options.size, options.workers)
    others, _ = people(OTHERS, round(options.judged * 1.4), options.size, options.workers)
    others = others[: options.judged]
    reference = spaces(others)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.generator or Path(temporary) / "generator"
        if options.generator is None:
            kimg, seconds = trained(options, seen, names, folder)
            print(
                f"trained on {len(seen)} people for {kimg:.0f} kimg in {seconds / 60:.1f} minutes "
                f"of one core: {1000 * kimg / seconds:.0f} faces/s"
            )
        weights = (folder / "generator.safetensors").stat().st_size
        print(f"weights {weights / 1e6:.2f} MB; {len(others)} real people and identities judged\n")
        print(
            f"{'truncation':>10} {'space':>9} {'alike':>7} {'nearest':>8} {'real':>8} "
            f"{'fd':>8} {'floor':>8} {'precision':>9} {'recall':>7} {'coverage':>8} "
            f"{'copies':>7} {'faces/s':>8}"
        )
        for psi in options.truncation:
            report(options, folder, psi, seen, reference)


def report(options, folder, psi, seen, reference):
    """Print a line for every feature space."""
    images, seconds = made(folder, psi, options.judged)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        write(options.sheets / f"psi{psi:g}.png", images[:120].reshape(8, 15, *images.shape[1:]))
    copies = find_copies(images, seen)
    for space, features in spaces(images).items():
        apart = distinct(features, reference[space], space=space)
        distance = frechet(reference[space], features, space=space)
        reach = coverage(reference[space], features, space=space).synthetic
        print(
            f"{psi:10.2f} {space:>9} {apart.alike:7.2%} {apart.median:8.3f} "
            f"{apart.real_median:8.3f} {distance.distance:8.3f} {distance.floor:8.3f} "
            f"{reach.precision:9.3f} {reach.recall:7.3f} {reach.coverage:8.3f} "
            f"{len(copies.copies):7d} {options.judged / seconds:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
