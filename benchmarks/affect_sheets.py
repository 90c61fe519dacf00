"""Draw the contact sheets of the affect engine that the docs show."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.seam_audit import EXPRESSIONS, london_neutrals
from mien.core.arrays import Double, UInt8
from mien.core.errors import NotFound
from mien.core.generation import GeneratedFace
from mien.generators.engines import make_engine
from mien.generators.requests import plan_requests
from mien.morphable.landmarks import inter_ocular

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PEOPLE = ("010", "044", "011", "005", "025")
TILE = 104


def crop(image: UInt8, points: Double) -> UInt8:
    """Cut the face out of a photo, upright size TILE."""
    scale = TILE / (2.75 * inter_ocular(points))
    middle = points[27:48].mean(axis=0)
    shift = (0.5 * TILE, 0.41 * TILE) - scale * middle
    moved = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    cut: UInt8 = np.asarray(cv2.warpAffine(image, moved, (TILE, TILE), flags=cv2.INTER_CUBIC))
    return cut


def sheet(rows: list[list[UInt8]], name: str) -> None:
    """Write rows of tiles as a PNG of 256 colours, which keeps it small."""
    picture = Image.fromarray(np.vstack([np.hstack(row) for row in rows]))
    PICTURES.mkdir(parents=True, exist_ok=True)
    small = picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    small.save(PICTURES / name, optimize=True)
    size = (PICTURES / name).stat().st_size
    print(f"{name}: {picture.width}×{picture.height}, {size / 1000:.0f} kB")


def by_identity(faces: list[GeneratedFace]) -> list[list[GeneratedFace]]:
    """Split a pool into its identities."""
    count = len(EXPRESSIONS)
    return [faces[i : i + count] for i in range(0, len(faces), count)]


def london(assets: Path) -> None:
    """Real people, each made to show seven expressions."""
    people = [p for p in london_neutrals(assets, 200) if p.subject in PEOPLE]
    engine = make_engine("affect", {"backend": "ict", "photo_px": 400, "gain": 0.0}, assets=assets)
    plan = plan_requests(
        pool="sheet", pool_seed=3, expressions=EXPRESSIONS, sources=people, intensity=(0.9, 0.9)
    )
    rows = []
    for own in by_identity(list(engine.synthesise(plan))):
        points = np.array(own[0].landmarks)
        rows.append([crop(face.image, points) for face in own])
    sheet(rows, "affect_london.png")


def invented(assets: Path | None) -> None:
    """Nobody: three identities of each head model."""
    rows = []
    for backend in ("builtin", "ict") if assets else ("builtin",):
        params = {"backend": backend, "size_px": TILE}
        engine = make_engine("affect", params, assets=assets)
        plan = plan_requests(
            pool="sheet", pool_seed=6, expressions=EXPRESSIONS, identities=3, intensity=(0.9, 0.9)
        )
        rows += [[f.image for f in own] for own in by_identity(list(engine.synthesise(plan)))]
    sheet(rows, "affect_invented.png")


def main() -> None:
    assets = Path(os.environ["MIEN_ASSETS"]) if os.environ.get("MIEN_ASSETS") else None
    invented(assets)
    if assets is None:
        raise NotFound("ASSET_MISSING", "the photos need the London set", hint="set MIEN_ASSETS")
    london(assets)


if __name__ == "__main__":
    main()
