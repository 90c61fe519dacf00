"""How much memory a large pool takes: peak of one process, at several numbers of identities.

Each pool is made twice over in a process of its own, as `mien synthesise` makes it: first only its
faces, part by part, then the whole version with its manifest, read back and checked for balance.
Six expressions an identity. The faces must cost the same memory for any number of them; a manifest
has a row for every face, so the version costs something for each, and what 100,000 identities would
take is told from the line through the measured ones.

The networks are tiny and untrained (16 px), for a pool's memory grows with its rows and not with
its pixels; ``--weights FOLDER`` takes a stack's ready ones, FOLDER/identities and
FOLDER/expressions.

Run: ``python -m benchmarks.pool_memory``; ``--identities 500 1000`` for a quick look.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MIEN_TRACKING_URI", "none")

import numpy as np
import torch

from mien.compose import make_context
from mien.core.closure import Closure
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.faces import FaceArrays
from mien.core.manifest import Licence, Provenance
from mien.generators.engines import make_engine, trainer
from mien.generators.presets import preset
from mien.generators.requests import check_balance, plan_requests
from mien.generators.trained import Generator, TrainHooks, save_generator, training_set
from mien.params.project import load_params
from mien.registry.read import open_version
from mien.registry.write import write_version
from mien.stages.pool_faces import Maker, PoolFaces

ROOT = Path(__file__).resolve().parents[1]
SEVEN = (*EKMAN_SIX[:4], Expression.NEUTRAL, *EKMAN_SIX[4:])
TINY = {
    "identities": ("stylegan", {"width": 4, "z_dim": 8, "batch": 8, "ghost": 8, "kimg": 0.008}),
    "expressions": ("stargan", {"width": 8, "blocks": 1, "d_width": 8, "batch": 8, "kimg": 0.008}),
}
MANY = 100_000  # identities that are extrapolated to


def tiny(folder):
    """Write a stack of untrained generators at 16 px."""
    images = np.random.default_rng(0).integers(0, 256, (14, 16, 16, 3), dtype=np.uint8)
    people = [f"nobody:{i}" for i in range(14)]
    faces = FaceArrays.of(images, np.arange(14) % 7, subjects=people)
    for name, (kind, params) in TINY.items():
        chosen = preset(kind, params)
        made = trainer(chosen.engine)(training_set(faces, SEVEN), chosen.params, TrainHooks())
        what = (chosen.engine, kind, SEVEN, 16, "rgb")
        save_generator(folder / name, Generator(*what, made.spec, made.weights, Closure()))


def peak_mb():
    """Most memory this process has held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made(weights, folder, identities):
    """Make a pool in this process; what it took, by phase."""
    torch.set_num_threads(1)
    params = {
        "identity": {"generator": str(weights / "identities")},
        "expression": {"generator": str(weights / "expressions")},
    }
    engine = make_engine("stack", params)
    maker = Maker("stack", params, None, "stack-0", engine.digest)
    context = make_context(load_params(ROOT / "params" / "smoke.yaml"), root=folder)
    context = replace(context, workers=1)
    pool = PoolFaces(context, "pool", maker, folder / "parts", identities)

    def items():
        asked = plan_requests(
            pool="pool", pool_seed=0, expressions=EKMAN_SIX, identities=identities
        )
        return pool.items(asked)

    tick, before = time.perf_counter(), peak_mb()
    faces = sum(1 for _ in items())
    drawn, rate = peak_mb(), faces / (time.perf_counter() - tick)
    write_version(
        items(),
        folder / "pool",
        name="pool",
        provenance=Provenance(maker="engine:stack"),
        licences={"stack-0": Licence()},
        duplicates="keep",
    )
    written = peak_mb()
    rows = ((s.identity, s.expression) for s in open_version(folder / "pool").manifest)
    assert check_balance(rows, expressions=EKMAN_SIX) == identities
    return identities, rate, before, drawn, written, peak_mb()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--identities", type=int, nargs="+", default=[2_000, 20_000])
    options.add_argument("--weights", type=Path, help="folder of a stack's ready weights")
    given = options.parse_args()
    heads = ("identities", "faces/s", "before", "faces", "version", "checked")
    print(
        " ".join(f"{head:>{width}}" for head, width in zip(heads, (10, 8, 7, 7, 7, 7), strict=True))
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        weights = given.weights
        if weights is None:
            weights = Path(folder) / "weights"
            tiny(weights)
        for identities in given.identities:
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                place = Path(folder) / str(identities)
                found.append(alone.apply(made, (weights.resolve(), place, identities)))
            count, rate, *peaks = found[-1]
            figures = " ".join(f"{p:7.0f}" for p in peaks)
            print(f"{count:10,} {rate:8,.0f} {figures} MiB", flush=True)
    if len(found) < 2:
        return
    (few, *_), (many, *_) = found[0], found[-1]
    for name, column in (("faces", 3), ("version", 4), ("checked", 5)):
        low, high = found[0][column], found[-1][column]
        slope = (high - low) / (many - few)
        far = low + slope * (MANY - few)
        print(f"{name}: {1024 * slope:.2f} KiB an identity; {MANY:,} would take {far:,.0f} MiB")


if __name__ == "__main__":
    main()
