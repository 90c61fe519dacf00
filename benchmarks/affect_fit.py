"""How closely the ict head fits the hand-placed landmarks of 102 real neutral faces."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.errors import NotFound
from mien.morphable.fitting import fit
from mien.morphable.head import load_head
from mien.morphable.landmarks import london_68

PARTS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}


def neutrals(assets: Path) -> dict[str, np.ndarray]:
    """Return the 189 landmarks of every neutral of the London set."""
    path = assets / "london" / "landmarks.json"
    if not path.is_file():
        raise NotFound("ASSET_MISSING", f"{path} does not exist", hint="set MIEN_ASSETS")
    found = json.loads(path.read_text())
    return {name: np.array(points, float) for name, points in sorted(found.items())}


def main() -> None:
    assets = Path(os.environ.get("MIEN_ASSETS", ""))
    head = load_head("ict", assets)
    faces = [london_68(points) for points in neutrals(assets).values()]
    print(f"ict head, {len(faces)} neutrals, 68 points, % of the inter-ocular distance")
    print(f"{'setting':28} {'mean':>6} {'p95':>6} {'max':>6} {'ms':>6}  " + " ".join(PARTS))
    settings: dict[str, dict[str, Any]] = {
        "default (jaw slides)": {},
        "jaw fixed point to point": {"slide": False},
        "mean head (no identity)": {"modes": 0},
        "modes 30": {"modes": 30},
        "modes 100": {"modes": 100},
    }
    for name, options in settings.items():
        start = time.perf_counter()
        fits = [fit(head, face, **options) for face in faces]
        each_ms = 1000 * (time.perf_counter() - start) / len(faces)
        residuals = np.array([f.residual for f in fits]) * 100
        every = np.array([f.residuals for f in fits]) * 100
        parts = " ".join(f"{every[:, s].mean():{len(n)}.1f}" for n, s in PARTS.items())
        print(
            f"{name:28} {residuals.mean():6.2f} {np.percentile(residuals, 95):6.2f} "
            f"{residuals.max():6.2f} {each_ms:6.1f}  {parts}"
        )


if __name__ == "__main__":
    main()
