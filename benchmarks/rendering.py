"""How fast heads are drawn: new identity, colours, expression, scene, picture; one core.

Run: ``python benchmarks/rendering.py``; with ``MIEN_ASSETS`` set the ict head is measured too.
``--sheet FILE.png`` draws the contact sheet of the documentation instead.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from mien.core.expression import EXPRESSIONS
from mien.morphable.appearance import sample_appearance
from mien.morphable.expressions import sample_units
from mien.morphable.head import HeadModel, load_head
from mien.morphable.render import render
from mien.morphable.scene import sample_scene

WANTED = 100.0  # builtin faces a second at 64 px, sampled twice a pixel and axis
REPEATS = 5


def draw(head: HeadModel, seed: int, size_px: int, supersample: int) -> None:
    """Draw one new face from nothing."""
    rng = np.random.default_rng(seed)
    identity = rng.standard_normal(head.identity_size, np.float32)
    units = sample_units(head, EXPRESSIONS[seed % 8], 0.9, rng, 1.0)
    vertices = head.shape(identity) + head.offsets(units)
    colours = head.colours(sample_appearance(rng), rng)
    scene = replace(sample_scene(rng), supersample=supersample)
    render(head, vertices, colours, scene, size_px)


def faces_per_second(
    head: HeadModel, size_px: int, supersample: int, faces: int
) -> tuple[float, float]:
    """Return faces a CPU second: median and best of the repeats."""
    draw(head, 0, size_px, supersample)
    rates = []
    for repeat in range(REPEATS):
        start = time.process_time()
        for seed in range(faces):
            draw(head, 1000 * repeat + seed, size_px, supersample)
        rates.append(faces / (time.process_time() - start))
    return float(np.median(rates)), max(rates)


def write_sheet(file: Path) -> None:
    """Draw eight identities (rows) with the eight expressions (columns) at 64 px, enlarged."""
    head = load_head("builtin", None)
    rows = []
    for seed in range(31, 39):
        rng = np.random.default_rng(seed)
        identity = np.clip(rng.standard_normal(head.identity_size, np.float32), -2.2, 2.2)
        colours = head.colours(sample_appearance(rng), rng)
        faces = []
        for expression in EXPRESSIONS:
            units = sample_units(head, expression, 1.0, rng, 0.7)
            vertices = head.shape(identity) + head.offsets(units)
            faces.append(render(head, vertices, colours, sample_scene(rng, 0.5), 64).image)
        rows.append(np.hstack(faces))
    sheet = np.vstack(rows).repeat(3, axis=0).repeat(3, axis=1)
    title = np.full((26, sheet.shape[1], 3), 255, np.uint8)
    for column, expression in enumerate(EXPRESSIONS):
        at = (column * 192 + 8, 18)
        cv2.putText(title, expression, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    picture = np.vstack([title, sheet])[:, :, ::-1]
    cv2.imwrite(str(file), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    """Print faces a second of each head, size and sampling, or draw the contact sheet."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sheet", type=Path, help="PNG file to draw the contact sheet into")
    wanted = parser.parse_args()
    if wanted.sheet is not None:
        write_sheet(wanted.sheet)
        return
    cv2.setNumThreads(1)
    backends = ["builtin"] + (["ict"] if os.environ.get("MIEN_ASSETS") else [])
    assets = os.environ.get("MIEN_ASSETS")
    print("faces a CPU second on one core: everything from a seed to the picture\n")
    print(f"{'head':8} {'vertices':>8} {'size':>6} {'samples':>8} {'median':>8} {'best':>8}")
    reached = 0.0
    for backend in backends:
        head = load_head("ict" if backend == "ict" else "builtin", Path(assets or "."))
        for size_px in (64, 128, 256):
            for supersample in (1, 2, 3):
                faces = max(4, (40 if backend == "builtin" else 10) * 64 // size_px)
                median, best = faces_per_second(head, size_px, supersample, faces)
                if (backend, size_px, supersample) == ("builtin", 64, 2):
                    reached = median
                print(
                    f"{backend:8} {len(head.gloss):8d} {size_px:4d}px {supersample:6d}² "
                    f"{median:8.0f} {best:8.0f}"
                )
    print(f"\nbuiltin, 64 px, 2²: {reached:.0f} against {WANTED:.0f} wanted: ", end="")
    print(f"{reached / WANTED:.2f}×")


if __name__ == "__main__":
    main()
