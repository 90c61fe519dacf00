"""Faces that a network learns within seconds: a bright bar whose height is the class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.recognition.spec import ClassifierSpec

CLASSES = EKMAN_SIX[:3]


@pytest.fixture(scope="session")
def small_spec() -> ClassifierSpec:
    """A network that takes milliseconds a step."""
    return ClassifierSpec("small", CLASSES, size_px=16, width=0.5)


@pytest.fixture(scope="session")
def make_faces() -> Callable[..., FaceArrays]:
    """Draw faces of three classes; affect follows the class."""

    def make(count: int = 60, seed: int = 0, size_px: int = 16, channels: str = "gray"):
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % len(CLASSES)
        images = rng.integers(60, 140, (count, size_px, size_px), dtype=np.uint8)
        bar = size_px // 4
        for image, label in zip(images, labels, strict=True):
            image[bar * (label + 1) - 2 : bar * (label + 1), bar:-bar] += 80
        if channels == "rgb":
            images = np.repeat(images[..., np.newaxis], 3, axis=3)
        affect = np.stack([labels / 2 - 0.5, 0.5 - labels / 4], axis=1).astype(np.float32)
        return FaceArrays.of(images, labels, affect=affect)

    return make
