"""Several processes train one translator: as one process does, up to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import numpy as np
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.generators.trained import TrainHooks, training_set
from mien.generators.translate import train

labels = np.arange(24) % 3
images = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
data = training_set(FaceArrays.of(images, labels), EKMAN_SIX[:3])
params = json.loads(sys.argv[1])
saves = []
trained = train(data, params, TrainHooks(save=saves.append, save_every_s=0.0))
sums = {k: float(v.double().abs().sum()) for k, v in trained.weights.items()}
print(json.dumps([trained.history, sums, len(saves)]))
"""
PARAMS = {
    "width": 8, "blocks": 1, "d_width": 8, "d_depth": 3, "batch": 8, "kimg": 0.032,
    "device": "cpu", "precision": "fp32", "augment": [], "ema_kimg": 0.0,
}  # fmt: skip


def run(count, params):
    """Train in ``count`` processes; what each of them prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(params)],
            env={**os.environ, **place, "RANK": str(r), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for r in range(count)
    ]
    said = [p.communicate(timeout=300)[0] for p in running]
    assert all(p.returncode == 0 for p in running)
    return [json.loads(text) for text in said]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"recipe": "published", "critic_steps": 2}])
def test_two_processes_train_as_one(more):
    """Same losses and weights up to rounding, in both processes; one of them saves."""
    ((history, weights, _),) = run(1, {**PARAMS, **more})
    halves = run(2, {**PARAMS, **more})
    for told, found, _ in halves:
        assert found == pytest.approx(weights, rel=1e-3)
        for mine, theirs in zip(history, told, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-2, abs=1e-3)
    assert halves[0][1] == halves[1][1]
    assert sorted(saves > 0 for *_, saves in halves) == [False, True]
