"""Decode and preprocess: our checked decoder against bare Pillow and OpenCV, in one run.

Figure wanted: ≥ 4,000 PNG of 64 × 64 a second and core, with every check. Processor time is
what is compared; wall time is printed beside it, for other work on the machine slows it.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mien.core.preprocess import PreprocessSpec
from mien.imaging.decode import decode
from mien.imaging.detect import make_detector
from mien.imaging.encode import encode_png
from mien.imaging.preprocess import preprocess


def rate(work: Callable[[Any], object], inputs: Sequence[Any]) -> tuple[float, float]:
    """Items a second of processor and of wall time; the best of three rounds."""
    cpu, wall = [], []
    for _ in range(3):
        start_cpu, start_wall = time.process_time(), time.perf_counter()
        for each in inputs:
            work(each)
        cpu.append(time.process_time() - start_cpu)
        wall.append(time.perf_counter() - start_wall)
    return len(inputs) / min(cpu), len(inputs) / min(wall)


def pillow(data: bytes) -> object:
    return np.array(Image.open(io.BytesIO(data)))


def opencv(data: bytes) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], side: int) -> Image.Image:
    """A picture that compresses about as a face does: enlarged noise, and a little sensor noise."""
    coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    fine = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.float32)
    return Image.fromarray(np.clip(fine + rng.normal(0, 1, fine.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--assets", type=Path, default=os.environ.get("MIEN_ASSETS"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    small = [smooth(rng, (12, 12), 64) for _ in range(args.images)]
    large = smooth(rng, (75, 75, 3), 675)
    sets = {
        "PNG 64 gray": [encode_png(np.asarray(i)) for i in small],
        "JPEG 64 gray": [encoded(i, "JPEG") for i in small],
        "PNG 675 RGB": [encode_png(np.asarray(large))] * 20,
        "JPEG 675 RGB": [encoded(large, "JPEG", quality=90)] * 40,
        "WebP 675 RGB": [encoded(large, "WEBP", quality=90)] * 20,
    }
    print(f"images a second of processor time (wall time), one core, load {os.getloadavg()}")
    print(f"{'':16}{'mien':>18}{'Pillow':>18}{'OpenCV':>18}{'of Pillow':>11}")
    for name, data in sets.items():
        rates = [rate(work, data) for work in (decode, pillow, opencv)]
        cells = "".join(f"{f'{cpu:.0f} ({wall:.0f})':>18}" for cpu, wall in rates)
        print(f"{name:16}{cells}{rates[0][0] / rates[1][0]:>10.2f}×")

    print("\npreprocess one 675 × 675 photo to 64 × 64 gray")
    photo = np.asarray(large)
    for detector in ("none", "haar", "yunet"):
        if detector == "yunet" and args.assets is None:
            print("  yunet   SKIPPED: set MIEN_ASSETS")
            continue
        spec = PreprocessSpec(detector=detector)
        finder = make_detector(spec, args.assets)
        cpu, wall = rate(lambda i, s=spec, f=finder: preprocess(i, s, f), [photo] * 10)  # type: ignore[misc]
        print(f"  {detector:8}{cpu:>8.0f} a second ({wall:.0f})")


if __name__ == "__main__":
    main()
