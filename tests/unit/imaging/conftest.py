"""Faces to test with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mien.morphable.head import load_head
from mien.morphable.render import Rendered, render
from mien.morphable.scene import Scene


def draw_face(seed: int = 0, size_px: int = 256, **scene: float) -> Rendered:
    """Render somebody who does not exist."""
    rng = np.random.default_rng(seed)
    head = load_head("builtin", None)
    identity = (0.7 * rng.normal(size=head.identity_size)).astype(np.float32)
    place = {"eye_distance": 0.25, "eye_line": 0.45, **scene}
    return render(
        head,
        head.shape(identity),
        head.colours({}, rng),
        Scene(**place),  # type: ignore[arg-type]
        size_px,
    )


@pytest.fixture(scope="session")
def face():
    return draw_face


@pytest.fixture(scope="session")
def assets():
    """The folder of open assets; skipped, loudly, without it."""
    folder = os.environ.get("MIEN_ASSETS")
    if not folder or not (Path(folder) / "yunet").is_dir():
        pytest.skip("SKIPPED: MIEN_ASSETS names no folder with yunet; run `mien assets pull yunet`")
    return Path(folder)
