"""How fast the affect engine makes faces on one core, after fitting."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2

from benchmarks.seam_audit import london_neutrals
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.generation import FaceRequest
from mien.core.ports import Engine
from mien.generators.engines import make_engine
from mien.generators.requests import plan_requests

REPEATS = 10


def rate(engine: Engine, requests: list[FaceRequest]) -> tuple[float, float]:
    """Return milliseconds of the first face (with its fit) and faces per second of CPU after it."""
    list(engine.synthesise(requests[-1:]))  # compiles and loads
    start = time.process_time()
    list(engine.synthesise(requests[:1]))
    first = 1000 * (time.process_time() - start)
    start = time.process_time()
    made = sum(1 for _ in engine.synthesise(requests[1:-1]))
    return first, made / (time.process_time() - start)


def main() -> None:
    cv2.setNumThreads(1)
    assets = Path(os.environ["MIEN_ASSETS"]) if os.environ.get("MIEN_ASSETS") else None
    expressions = (Expression.NEUTRAL, *EKMAN_SIX)
    print("affect engine, one core, CPU time; after fitting")
    print(f"{'what':34} {'first face ms':>14} {'faces/s':>8} {'of 10/s':>8}")
    rows: list[tuple[str, dict[str, Any], bool]] = [
        ("invented, builtin, 64 px", {"backend": "builtin", "size_px": 64}, False),
        ("invented, builtin, 128 px", {"backend": "builtin", "size_px": 128}, False),
        ("invented, builtin, 256 px", {"backend": "builtin", "size_px": 256}, False),
    ]
    if assets is not None:
        rows += [
            ("invented, ict, 64 px", {"backend": "ict", "size_px": 64}, False),
            ("invented, ict, 256 px", {"backend": "ict", "size_px": 256}, False),
            ("London photo, ict, 256 px", {"backend": "ict", "photo_px": 256}, True),
            ("London photo, ict, 675 px", {"backend": "ict", "photo_px": 675}, True),
        ]
    for name, params, from_photos in rows:
        engine = make_engine("affect", params, assets=assets)
        photos = london_neutrals(assets, 2) if from_photos and assets else None
        plan = plan_requests(
            pool="speed",
            pool_seed=1,
            expressions=expressions,
            identities=None if photos else 2,
            sources=photos,
            images_per_cell=REPEATS,
        )
        one = list(plan)[: len(expressions) * REPEATS + 1]  # the last is another identity
        first, per_s = rate(engine, one)
        print(f"{name:34} {first:14.1f} {per_s:8.1f} {per_s / 10:7.1f}×")


if __name__ == "__main__":
    main()
