"""Can a classifier tell the label of a synthetic face from all that is not the face?

It must not: then warps, blends and camera faults carry no label, only the face does. The face is
masked by one hull per identity (of all its expressions, dilated), so the mask tells nothing either.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien.core.arrays import Bool, Double, Float
from mien.core.errors import NotFound
from mien.core.expression import EKMAN_SIX, Expression
from mien.core.generation import GeneratedFace, SourceFace
from mien.generators.engines import make_engine
from mien.generators.requests import plan_requests
from mien.morphable.landmarks import inter_ocular

SIDE = 24  # the audit's pixels per axis
DILATION = 0.15  # of the hull, in eye distances
FOREHEAD = 0.6  # the hull reaches so far above the brows, in eye distances
EXPRESSIONS = (Expression.NEUTRAL, *EKMAN_SIX)
SEEDS = (31, 32, 33, 34)  # pools are judged together: one alone misses a leak of one point


@dataclass(frozen=True, slots=True)
class Audit:
    """How well the rest of the picture tells the label.

    Attributes:
        right: faces of new identities told rightly.
        faces: of how many.
        chance: share expected without any knowledge.
        seen: share of the picture that was not masked.
    """

    right: int
    faces: int
    chance: float
    seen: float

    @property
    def p_value(self) -> float:
        """Probability of as many or more by chance (one-sided binomial)."""
        from scipy.stats import binomtest

        return float(binomtest(self.right, self.faces, self.chance, alternative="greater").pvalue)


def together(audits: Sequence[Audit]) -> Audit:
    """Judge several pools of one kind as one."""
    return Audit(
        sum(a.right for a in audits),
        sum(a.faces for a in audits),
        audits[0].chance,
        float(np.mean([a.seen for a in audits])),
    )


def face_hull(points: Double, shape: tuple[int, int]) -> Bool:
    """Return the (H, W) bool hull of landmarks and forehead, dilated."""
    apart = inter_ocular(points)
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    up = np.array([across[1], -across[0]]) / np.linalg.norm(across)
    top = points[17:27] + FOREHEAD * apart * up
    hull = cv2.convexHull(np.concatenate([points, top]).astype(np.float32))
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(hull).astype(np.int32)], 1)
    side = 2 * round(DILATION * apart) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    dilated: Bool = cv2.dilate(mask, disc) > 0
    return dilated


def features(faces: Sequence[GeneratedFace]) -> tuple[Float, float]:
    """Return (N, F) features of one identity's faces: its surroundings against their mean."""
    shape = (faces[0].image.shape[0], faces[0].image.shape[1])
    hull = np.zeros(shape, bool)
    for face in faces:
        hull |= face_hull(np.array(face.landmarks), shape)
    rest = np.stack([np.where(hull[:, :, None], 0, f.image).astype(np.float32) for f in faces])
    rest -= rest.mean(axis=0)
    small = [cv2.resize(r, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for r in rest]
    return np.stack(small).reshape(len(faces), -1), 1.0 - float(hull.mean())


def audit(faces: Sequence[GeneratedFace], folds: int = 4, strength: float = 0.3) -> Audit:
    """Cross-validate a linear classifier over identities on everything but the face."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    own: dict[str, list[GeneratedFace]] = {}
    for face in faces:
        own.setdefault(face.request.identity, []).append(face)
    made = [features(group) for group in own.values()]
    x = np.concatenate([f for f, _ in made])
    group = np.repeat(np.arange(len(made)), [len(f) for f, _ in made])
    y = np.array([str(f.request.expression) for g in own.values() for f in g])
    right = 0
    for fold in range(folds):
        test = group % folds == fold
        if not x.any():  # all surroundings of a person are the same picture: nothing to learn
            right += int((y[test] == y[0]).sum())
            continue
        model = make_pipeline(
            PCA(n_components=min(40, int((~test).sum()) // 4), svd_solver="full"),
            StandardScaler(),
            LogisticRegression(C=strength, max_iter=300),
        )
        model.fit(x[~test], y[~test])
        right += int((model.predict(x[test]) == y[test]).sum())
    chance = 1.0 / len(set(y.tolist()))
    return Audit(right, len(y), chance, float(np.mean([s for _, s in made])))


def london_neutrals(assets: Path, count: int) -> list[SourceFace]:
    """Return the first neutral photos of the London set."""
    points = json.loads((assets / "london" / "landmarks.json").read_text())
    found = []
    for name in sorted(points)[:count]:
        read = cv2.imread(str(assets / "london" / name))
        if read is None:
            raise NotFound("ASSET_MISSING", f"{name} is not in {assets / 'london'}")
        image = read[:, :, ::-1]
        marks = tuple((float(x), float(y)) for x, y in points[name])
        found.append(SourceFace(name, name, name[8:11], np.ascontiguousarray(image), marks))
    return found


def main() -> None:
    assets = Path(os.environ["MIEN_ASSETS"]) if os.environ.get("MIEN_ASSETS") else None
    print("label told from border, hair and background; logistic regression, new identities")
    print(f"{'pool':28} {'faces':>6} {'right':>7} {'chance':>7} {'p':>7} {'seen':>6} {'s':>6}")
    quiet = {"gain": 0.0, "tint": 0.0, "shift": 0.0, "roll_deg": 0.0, "noise": 0.0}
    pools = [
        ("invented, builtin", "builtin", {}),
        ("invented, builtin, no camera", "builtin", quiet),
    ]
    if assets is not None:
        pools += [("invented, ict", "ict", {}), ("photos, ict", "ict", {})]
        pools += [("photos, ict, no camera", "ict", quiet)]
    for name, backend, extra in pools:
        start = time.perf_counter()
        params = {"backend": backend, "size_px": 64, "photo_px": 160, **extra}
        engine = make_engine("affect", params, assets=assets)
        photos = london_neutrals(assets, 102) if name.startswith("photos") and assets else None
        audits = []
        for seed in SEEDS:
            requests = plan_requests(
                pool="audit",
                pool_seed=seed,
                expressions=EXPRESSIONS,
                identities=None if photos else 100,
                sources=photos,
            )
            audits.append(audit(list(engine.synthesise(requests))))
        found = together(audits)
        print(
            f"{name:28} {found.faces:6} {found.right / found.faces:7.3f} {found.chance:7.3f} "
            f"{found.p_value:7.3f} {found.seen:6.2f} {time.perf_counter() - start:6.1f}"
        )


if __name__ == "__main__":
    main()
