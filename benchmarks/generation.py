"""How fast trained engines invent faces: images a second of one thread, the PNG included.

The networks have random weights, for speed does not depend on them; those of the demo are the
ready ones. ``drawn`` is noise by name and network, ``written`` has the PNG too. Wanted of the
ready ones, written: 300 a second for stargan, 200 for the stack.

Run: ``python -m benchmarks.generation``; ``--faces 64`` for a quick look.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from mien.core.closure import Closure
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.generation import SourceFace
from mien.generators.engines import make_engine
from mien.generators.noise import NoiseEngine, NoiseSampling
from mien.generators.noise_networks import build_generator
from mien.generators.noise_spec import spec_for
from mien.generators.presets import preset
from mien.generators.requests import plan_requests
from mien.generators.trained import Generator, load_generator
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


def ready(folder):
    """Build stargan and stack from ready weights: name, engine, expressions, parameters."""
    identity, expression = folder / "identities", folder / "expressions"
    sizes = [
        sum(w.numel() for w in load_generator(f, e).weights.values())
        for f, e in ((identity, "noise"), (expression, "translate"))
    ]
    stargan = make_engine("translate", {"generator": str(expression)})
    stack = {"identity": {"generator": str(identity)}, "expression": {"generator": str(expression)}}
    return (
        ("stargan", stargan, sizes[1]),
        ("stack", make_engine("stack", stack), sum(sizes)),
    )


def planned(expressions, faces):
    """Plan about so many faces, each identity in every expression."""
    identities = -(-faces // len(expressions))
    return list(
        plan_requests(pool="b", pool_seed=0, expressions=expressions, identities=identities)
    )


def given_faces(plan, folder):
    """Give every request an invented neutral face to start from, as a photo would be given."""
    engine = make_engine("noise", {"generator": str(folder / "identities")})
    asked = [replace(r, expression=Expression.NEUTRAL) for r in plan]
    return [
        replace(r, source=SourceFace(r.id, r.id, None, face.image, ()))
        for r, face in zip(plan, engine.synthesise(asked), strict=True)
    ]


def show(name, recipe, size, parameters, engine, plan):
    """Print a line of the table."""
    list(engine.synthesise(plan[:32]))
    bare = seconds(lambda: list(engine.synthesise(plan)))
    whole = seconds(lambda: [encode_png(f.image) for f in engine.synthesise(plan)])
    print(
        f"{name:10} {recipe:10} {size:>9} {parameters:11,} "
        f"{len(plan) / bare:8.0f} {len(plan) / whole:7.0f}",
        flush=True,
    )


def seconds(work):
    tick = time.process_time()
    work()
    return time.process_time() - tick


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--faces", type=int, default=1200)
    options.add_argument("--weights", type=Path, default=Path("weights"), help="of the demo")
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"{'preset':10} {'recipe':10} {'size':>9} {'parameters':>11} {'drawn':>8} {'written':>7}")
    for name, recipe, size_px, channels in CASES:
        engine, asked, parameters = engine_of(name, recipe, size_px, channels)
        size = f"{size_px}×{size_px}×{channels}"
        show(name, recipe, size, parameters, engine, planned(asked, given.faces))
    for name, engine, parameters in ready(given.weights):
        plan = planned(EKMAN_SIX, given.faces)
        plan = given_faces(plan, given.weights) if name == "stargan" else plan
        show(name, "ready", "64×64×3", parameters, engine, plan)


if __name__ == "__main__":
    main()
