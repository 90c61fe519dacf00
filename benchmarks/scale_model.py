"""What a large experiment costs on 1, 8 and 64 GPUs: a model from figures, not a run.

Every figure is named and marked: *measured* here, by another benchmark or by ``--measure``;
*counted* from the code; *published* by who makes it; *assumed* by us. No GPU was ever measured.
``docs/howto/scale.md`` holds the tables that this prints (a test compares).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

IDENTITIES, EXPRESSIONS, TRIALS = 100_000, 6, 50
FACES = IDENTITIES * EXPRESSIONS
KIMG = (60, 6_000)
GPUS = (0, 1, 8, 64)
CORES_WITHOUT = 2  # of the machine in the column without a GPU

# figure → unit, mark, where from
SAID = {
    "stack_faces_s": ("faces/s", "measured", "stack on one core, PNG included (`generation`)"),
    "host_ms": ("ms a face", "assumed", "what stays on a core when networks run on a GPU"),
    "png_ms": ("ms a face", "measured", "of that, PNG (`scale_model --measure`)"),
    "face_kib": ("KiB", "measured", "a face of 64 px, RGB PNG (`generation_wire`)"),
    "disk": ("×", "measured", "on disk over encoded bytes (`versions`)"),
    "write_s": ("s", "measured", "20,000 faces written as a version, slowest (`versions`)"),
    "read_s": ("s", "measured", "20,000 faces read back, verified, slowest (`versions`)"),
    "manifest_kib": ("KiB", "measured", "memory an identity of six rows (`pool_memory`)"),
    "process_mib": ("MiB", "measured", "of a process that makes faces (`pool_memory`)"),
    "prepare_ms": ("ms a face", "measured", "decoded, prepared, encoded (`scale_model --measure`)"),
    "train_images_s": ("images/s", "measured", "seed network on one core (`training`)"),
    "forward_mflop": ("MFLOP", "counted", "seed network, one face of 64 px"),
    "backward": ("×", "assumed", "a training step over a forward pass"),
    "peak_tflops": ("TFLOP/s", "published", "A100, bf16, dense"),
    "used": ("of peak", "assumed", "what small networks reach of it"),
    "batch": ("faces", "counted", "a step (`params/paper.yaml`)"),
    "launch_ms": ("ms a step", "assumed", "floor of a step: kernels launched one by one"),
    "pull_s": ("s", "assumed", "first Pod of a node: image of 6 GB"),
    "start_s": ("s", "assumed", "Python, torch and CUDA of a Pod"),
    "schedule_s": ("s", "measured", "Job created to process running, a real control plane"),
    "store_mb_s": ("MB/s", "assumed", "object store, one Pod"),
    "decide_s": ("s", "assumed", "evaluate, decide, report"),
    "gpu_price": ("$/h", "assumed", "a GPU with four cores"),
    "core_price": ("$/h", "assumed", "a core without"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the model rests on; units in ``SAID``."""

    stack_faces_s: float = 469.0
    host_ms: float = 0.5
    png_ms: float = 0.19
    face_kib: float = 7.6
    disk: float = 1.045
    write_s: float = 0.86
    read_s: float = 0.45
    manifest_kib: float = 13.0
    process_mib: float = 408.0
    prepare_ms: float = 0.25
    train_images_s: float = 160.0
    forward_mflop: float = 396.6
    backward: float = 3.0
    peak_tflops: float = 312.0
    used: float = 0.1
    batch: int = 16
    launch_ms: float = 5.0
    pull_s: float = 60.0
    start_s: float = 10.0
    schedule_s: float = 0.4
    store_mb_s: float = 100.0
    decide_s: float = 60.0
    gpu_price: float = 2.0
    core_price: float = 0.04


def manifest_gib(f: Figures) -> float:
    """Memory of the process that makes the version: itself, and the pool's manifest."""
    return f.process_mib / 1024 + IDENTITIES * f.manifest_kib / 1024 / 1024


def pool_mb(f: Figures) -> float:
    """Size of the pool where it lies."""
    return FACES * f.face_kib * 1024 * f.disk / 1e6


def first_s(f: Figures, gpus: int) -> float:
    """From a created Job to work, on a node that has not the image yet."""
    return f.schedule_s + f.pull_s + f.start_s if gpus else 0.0


def faces_s(f: Figures, gpus: int) -> float:
    """Faces made in shards, a process a GPU; the cores, not the GPU, set the pace."""
    if not gpus:
        return FACES / (f.stack_faces_s * CORES_WITHOUT)
    upload = pool_mb(f) / gpus / f.store_mb_s
    return first_s(f, gpus) + FACES * f.host_ms / 1e3 / gpus + upload


def version_s(f: Figures, gpus: int) -> float:
    """The pool read once and written as one version, by one process."""
    fetched = pool_mb(f) / f.store_mb_s if gpus else 0.0
    return fetched + FACES / 20_000 * f.write_s


def prepare_s(f: Figures) -> float:
    """`mien preprocess`: one process reads, prepares and writes the set."""
    return FACES * f.prepare_ms / 1e3 + FACES / 20_000 * (f.read_s + f.write_s)


def trial_s(f: Figures, kimg: int, gpus: int) -> float:
    """One trial of the seed network, its set fetched first where it runs on a cluster."""
    if not gpus:
        return kimg * 1e3 / f.train_images_s
    step_s = f.batch * f.backward * f.forward_mflop * 1e6 / (f.used * f.peak_tflops * 1e12)
    fetch = FACES * 64 * 64 / 1e6 / f.store_mb_s
    steps = kimg * 1e3 / f.batch
    return f.schedule_s + f.start_s + fetch + steps * max(step_s, f.launch_ms / 1e3)


def sweep_s(f: Figures, kimg: int, gpus: int) -> float:
    """All trials, as many at once as there are GPUs (or cores)."""
    at_once = gpus or CORES_WITHOUT
    pulled = f.pull_s if gpus else 0.0
    return pulled + math.ceil(TRIALS / at_once) * trial_s(f, kimg, gpus)


def money(f: Figures, kimg: int, gpus: int) -> float:
    """Dollars: a GPU is paid while a Pod of ours holds it, the launcher's two cores always."""
    wall = whole_s(f, kimg, gpus)
    if not gpus:
        return wall / 3600 * CORES_WITHOUT * f.core_price
    held = gpus * faces_s(f, gpus) + TRIALS * trial_s(f, kimg, gpus) + min(gpus, TRIALS) * f.pull_s
    return held / 3600 * f.gpu_price + wall / 3600 * 2 * f.core_price


def whole_s(f: Figures, kimg: int, gpus: int) -> float:
    """From nothing to the verdict."""
    made = faces_s(f, gpus) + version_s(f, gpus) + prepare_s(f)
    return made + sweep_s(f, kimg, gpus) + f.decide_s


def span(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figures_table(f: Figures) -> str:
    """Every figure with its mark."""
    rows = []
    for each in fields(f):
        unit, mark, source = SAID[each.name]
        rows.append([f"`{each.name}`", f"{getattr(f, each.name):,g} {unit}", mark, source])
    return table(["figure", "value", "", "what"], rows)


def cost_table(f: Figures) -> str:
    """Wall time of every step and money, a column a machine."""
    steps: list[tuple[str, Callable[[int], float]]] = [
        (f"{FACES:,} faces (stack)", lambda g: faces_s(f, g)),
        ("frozen as a version", lambda g: version_s(f, g)),
        ("preprocess", lambda _: prepare_s(f)),
    ]
    rows = [[name, *(span(cost(g)) for g in GPUS)] for name, cost in steps]
    for kimg in KIMG:
        trials = (span(sweep_s(f, kimg, g)) for g in GPUS)
        rows.append([f"{TRIALS} trials of {kimg:,} kimg", *trials])
    for kimg in KIMG:
        walls = [span(whole_s(f, kimg, g)) for g in GPUS]
        rows.append([f"**everything, {kimg:,} kimg**", *walls])
        rows.append(["money", *(f"${money(f, kimg, g):,.2f}" for g in GPUS)])
    columns = [f"{g} GPU{'s' * (g > 1)}" if g else f"{CORES_WITHOUT} cores" for g in GPUS]
    return table(["", *columns], rows)


def doubt_table(f: Figures) -> str:
    """What the assumptions decide: everything on 8 GPUs, one figure changed at a time."""
    changed: list[tuple[str, dict[str, float]]] = [
        ("as above", {}),
        ("a step takes 2 ms at least", {"launch_ms": 2.0}),
        ("a step takes 10 ms at least", {"launch_ms": 10.0}),
        ("2 % of peak", {"used": 0.02}),
        ("30 % of peak, 1 ms a step", {"used": 0.3, "launch_ms": 1.0}),
        ("a face costs a core 1 ms", {"host_ms": 1.0}),
        ("object store of 20 MB/s", {"store_mb_s": 20.0}),
        ("image pulled in 5 minutes", {"pull_s": 300.0}),
    ]
    rows = []
    for name, change in changed:
        other = replace(f, **change)  # type: ignore[arg-type]
        cells = [
            cell
            for k in KIMG
            for cell in (span(whole_s(other, k, 8)), f"${money(other, k, 8):,.2f}")
        ]
        rows.append([name, *cells])
    heads = [h for k in KIMG for h in (f"{k:,} kimg", "money")]
    return table(["8 GPUs", *heads], rows)


def tables(f: Figures) -> tuple[str, ...]:
    """Return what the page holds."""
    size = f"The pool: {pool_mb(f) / 1e3:.1f} GB; {manifest_gib(f):.1f} GiB of memory to write it."
    return cost_table(f), size, doubt_table(f), figures_table(f)


def measure(identities: int) -> None:
    """Measure on this machine what is marked as measured by ``scale_model``."""
    from pathlib import Path

    from mien.core.expression import EKMAN_SIX
    from mien.core.preprocess import PreprocessSpec
    from mien.generators.engines import make_engine
    from mien.generators.requests import plan_requests
    from mien.imaging.decode import decode
    from mien.imaging.detect import make_detector
    from mien.imaging.encode import encode_png
    from mien.imaging.preprocess import preprocess

    ready = {
        part: {"generator": str(Path("weights") / folder)}
        for part, folder in (("identity", "identities"), ("expression", "expressions"))
    }
    engine = make_engine("stack", ready)
    plan = list(plan_requests(pool="b", pool_seed=0, expressions=EKMAN_SIX, identities=identities))
    list(engine.synthesise(plan[:32]))
    began = time.process_time()
    faces = list(engine.synthesise(plan))
    made = time.process_time()
    encoded = [encode_png(face.image) for face in faces]
    written = time.process_time()
    spec = PreprocessSpec(detector="none", size_px=64, channels="gray")
    detector = make_detector(spec, None)
    for data in encoded:
        done = preprocess(decode(data), spec, detector).image
        assert done is not None
        encode_png(done)
    prepared = time.process_time()
    each = 1e3 / len(faces)
    print(f"networks and the rest {(made - began) * each:.2f} ms a face")
    print(f"PNG {(written - made) * each:.2f} ms a face")
    print(f"decoded, prepared, encoded {(prepared - written) * each:.2f} ms a face")
    print(f"{sum(map(len, encoded)) / len(encoded) / 1024:.2f} KiB a face")


def main() -> None:
    """Print the tables, with other figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=int, default=0, metavar="IDENTITIES")
    for each in fields(Figures):
        name = f"--{each.name.replace('_', '-')}"
        parser.add_argument(name, type=float, default=each.default, help=SAID[each.name][2])
    given = vars(parser.parse_args())
    if identities := given.pop("measure"):
        measure(identities)
        return
    print("\n\n".join(tables(Figures(**given))))


if __name__ == "__main__":
    main()
