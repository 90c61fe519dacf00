"""How fast trained engines invent faces: images a second of one thread, the PNG included.

The networks have random weights, for speed does not depend on them. ``drawn`` is noise by name and
network, ``written`` has the PNG too.

Run: ``python -m benchmarks.generation``; ``--faces 64`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from mien.core.closure import Closure
from mien.core.expression import EKMAN_SIX, Expression
from mien.generators.noise import NoiseEngine, NoiseSampling
from mien.generators.noise_networks import build_generator
from mien.generators.noise_spec import spec_for
from mien.generators.presets import preset
from mien.generators.requests import plan_requests
from mien.generators.trained import Generator
from mien.imaging.encode import encode_png

CASES = (
    ("acgan", "modern", 48, 1),
    ("acgan", "modern", 64, 1),
    ("acgan", "modern", 64, 3),
    ("acgan", "published", 48, 1),
    ("cgan", "modern", 48, 1),
    ("cgan", "published", 48, 1),
    ("stylegan", "", 64, 1),
    ("stylegan", "", 64, 3),
)


def engine_of(name, recipe, size_px, channels):
    """Build an engine of a preset with random weights; also its expressions and parameters."""
    params = preset(name, {"recipe": recipe} if recipe else {}).params
    spec = spec_for(params, size_px, channels, len(EKMAN_SIX))
    network = build_generator(spec)
    generator = Generator(
        engine="noise",
        preset=name,
        classes=EKMAN_SIX,
        size_px=size_px,
        channels="gray" if channels == 1 else "rgb",
        spec=spec.model_dump(mode="json"),
        weights=network.state_dict(),
        closure=Closure(),
    )
    asked = (Expression.NEUTRAL,) if spec.unconditional else EKMAN_SIX
    size = sum(p.numel() for p in network.parameters())
    return NoiseEngine(generator, NoiseSampling(generator=Path())), asked, size


def seconds(work):
    tick = time.process_time()
    work()
    return time.process_time() - tick


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--faces", type=int, default=1200)
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"{'preset':10} {'recipe':10} {'size':>9} {'parameters':>11} {'drawn':>8} {'written':>7}")
    for name, recipe, size_px, channels in CASES:
        engine, asked, parameters = engine_of(name, recipe, size_px, channels)
        plan = list(
            plan_requests(
                pool="b",
                pool_seed=0,
                expressions=asked,
                identities=-(-given.faces // len(asked)),
            )
        )
        list(engine.synthesise(plan[:32]))
        bare = seconds(lambda e=engine, p=plan: list(e.synthesise(p)))
        whole = seconds(lambda e=engine, p=plan: [encode_png(f.image) for f in e.synthesise(p)])
        print(
            f"{name:10} {recipe:10} {f'{size_px}×{size_px}×{channels}':>9} {parameters:11,} "
            f"{len(plan) / bare:8.0f} {len(plan) / whole:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
