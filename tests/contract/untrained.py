"""Small generators as they are before training: enough for what every engine promises."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from mien.core.closure import Closure
from mien.core.expression import EXPRESSIONS
from mien.core.faces import FaceArrays
from mien.generators.engines import trainer
from mien.generators.presets import preset
from mien.generators.trained import Generator, TrainHooks, save_generator, training_set

SMALL = {
    "noise": ("acgan", {"width": 4, "z_dim": 8, "batch": 8, "ghost": 8, "kimg": 0.008}),
    "translate": ("stargan", {"width": 8, "blocks": 1, "d_width": 8, "batch": 8, "kimg": 0.008}),
}


def untrained(engine: str) -> str:
    """Train an engine for one step and return its folder."""
    folder = Path(tempfile.mkdtemp(prefix="mien-untrained-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    name, params = SMALL[engine]
    chosen = preset(name, params)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    faces = FaceArrays.of(
        images,
        np.arange(16) % len(EXPRESSIONS),
        subjects=[f"nobody:{i}" for i in range(16)],
    )
    data = training_set(faces, EXPRESSIONS)
    trained = trainer(chosen.engine)(data, chosen.params, TrainHooks())
    # After one step some recipes still change nothing: larger weights make every input matter.
    weights = {
        k: w * 3 if w.ndim > 1 and w.is_floating_point() else w for k, w in trained.weights.items()
    }
    save_generator(
        folder / "generator",
        Generator(
            engine=chosen.engine,
            preset=name,
            classes=EXPRESSIONS,
            size_px=16,
            channels="rgb",
            spec=trained.spec,
            weights={k: torch.as_tensor(w) for k, w in weights.items()},
            closure=Closure(),
        ),
    )
    return str(folder / "generator")
