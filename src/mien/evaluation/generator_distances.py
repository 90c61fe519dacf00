"""How far generated faces lie from real ones in a feature space: Fréchet distance and KID.

A distance is named by its feature space (``fd/fer128``, ``kid/fer128``): distances in two spaces
are two quantities. A Fréchet distance is biased upwards by small samples, so it always stands
beside the floor that two samples of real faces of the same size leave between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core.arrays import Double, Float
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.evaluation.clusters import cluster_indices, random_halves

PROJECTED = 128
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Frechet:
    """Fréchet distance between generated and real faces, and what real faces leave themselves.

    Attributes:
        space: name of the feature space: ``fer128``.
        distance: generated against real, mean over the splits; squared units of the space.
        floor: real against other people's real faces at the same size, mean over the splits.
        floor_high: the largest floor of a split.
        n: faces on each side.
        dims: of the space in which it was computed.
        projected_from: dims before projection, or None when it was not projected.
    """

    space: str
    distance: float
    floor: float
    floor_high: float
    n: int
    dims: int
    projected_from: int | None

    @property
    def name(self) -> str:
        """Name of the metric."""
        return f"fd/{self.space}"

    @property
    def excess(self) -> float:
        """How much farther the generated faces are than real ones."""
        return self.distance - self.floor

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "distance": self.distance,
            "floor": self.floor,
            "floor_high": self.floor_high,
            "n": self.n,
            "dims": self.dims,
            "projected_from": self.projected_from,
        }


@dataclass(frozen=True, slots=True)
class Kid:
    """Kernel distance (squared maximum mean discrepancy), unbiased, hence possibly negative.

    Attributes:
        space: name of the feature space.
        estimate: generated against real.
        low: lower end of its interval.
        high: upper end.
        floor: real against other people's real faces, of the first random halves; about 0.
        n_real: real faces.
        n_synthetic: generated faces.
    """

    space: str
    estimate: float
    low: float
    high: float
    floor: float
    n_real: int
    n_synthetic: int

    @property
    def name(self) -> str:
        """Name of the metric."""
        return f"kid/{self.space}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "space": self.space,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "floor": self.floor,
            "n_real": self.n_real,
            "n_synthetic": self.n_synthetic,
        }


def project(features: Float, dims: int = PROJECTED) -> Float:
    """Project features (N, D) to ``dims`` where they are wider, always by the same matrix.

    Source: Gaussian random projection (Johnson and Lindenstrauss 1984): squared distances are
    kept on average.
    """
    width = features.shape[1]
    if width <= dims:
        return features
    rng = np.random.Generator(np.random.Philox(seed_of("projection", width, dims)))
    matrix = rng.standard_normal((width, dims), dtype=np.float32) / np.float32(np.sqrt(dims))
    projected: Float = features.astype(np.float32) @ matrix
    return projected


def frechet_distance(first: Float, second: Float) -> float:
    """Compute |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of two sets (N, D), (M, D), in float64.

    Raises:
        Invalid: ``FEATURES``; ``TOO_FEW_FACES`` below two on a side.

    Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule", eq. 6; the root's
    trace from the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric and needs no complex root.
    """
    check_features(first, second, at_least=2)
    a, b = first.astype(np.float64), second.astype(np.float64)
    gap = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ cov_b @ root)
    shared = np.sqrt(np.maximum(cross, 0.0)).sum()
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2.0 * shared)


def frechet(
    real: Float,
    synthetic: Float,
    *,
    space: str,
    subjects: Sequence[str] = (),
    splits: int = 5,
    dims: int = PROJECTED,
) -> Frechet:
    """Compare generated with real faces, beside real with real at the same number of faces.

    Each split halves the people; generated faces and the one half are compared with the other.

    Args:
        real: (N, D) features of real faces, N ≥ 4.
        synthetic: (M, D) features of generated faces.
        space: name of the feature space.
        subjects: of the real faces, so that no person is on both sides; () = each face is its own.
        splits: random splits averaged over.
        dims: wider features are projected to so many.

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``; ``ONE_SUBJECT``.
    """
    check_features(real, synthetic, at_least=4)
    width = real.shape[1]
    real, synthetic = project(real, dims), project(synthetic, dims)
    distances, floors, n = [], [], 0
    for split in range(splits):
        rng = np.random.Generator(np.random.Philox(seed_of("frechet", space, split)))
        left, right = random_halves(len(real), subjects, rng)
        n = min(len(left), len(right), len(synthetic))
        reference = real[left[:n]]
        chosen = synthetic[rng.permutation(len(synthetic))[:n]]
        distances.append(frechet_distance(reference, chosen))
        floors.append(frechet_distance(reference, real[right[:n]]))
    return Frechet(
        space=space,
        distance=float(np.mean(distances)),
        floor=float(np.mean(floors)),
        floor_high=float(np.max(floors)),
        n=n,
        dims=real.shape[1],
        projected_from=width if width > dims else None,
    )


def kid(
    real: Float,
    synthetic: Float,
    *,
    space: str,
    subjects: Sequence[str] = (),
    identities: Sequence[str] = (),
    subsets: int = 200,
    alpha: float = 0.05,
) -> Kid:
    """Estimate the squared maximum mean discrepancy without bias, with its interval.

    The interval comes from random halves of the people and of the identities: half a sample
    varies around the whole as the whole varies around the truth.

    Args:
        real: (N, D) features, N ≥ 4.
        synthetic: (M, D) features, M ≥ 4.
        space: name of the feature space.
        subjects: of the real faces, or () = each face is its own.
        identities: of the generated faces, or ().
        subsets: halves drawn.
        alpha: the interval covers 1 − alpha.

    Raises:
        Invalid: ``FEATURES``, ``TOO_FEW_FACES``; ``ONE_SUBJECT``.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs", section 3, kernel (x·y/D + 1)³; the
    interval instead is subsampling of Politis and Romano (1994) with half of the clusters,
    because the usual spread over subsets of 1,000 is no standard error of the estimate; limits
    are the halves' own quantiles, which cover better here than their mirror image.
    """
    check_features(real, synthetic, at_least=4)
    rng = np.random.Generator(np.random.Philox(seed_of("kid", space)))
    draws_real, draws_synthetic = (
        _half_weights(len(x), names, subsets, rng)
        for x, names in ((real, subjects), (synthetic, identities))
    )
    x, y = real.astype(np.float64), synthetic.astype(np.float64)
    found = _mmd(x, y, draws_real, draws_synthetic)
    low, high = np.quantile(found[1:], [alpha / 2, 1 - alpha / 2])
    left, right = random_halves(len(x), subjects, rng)
    ones = [np.ones((len(part), 1)) for part in (left, right)]
    floor = _mmd(x[left], x[right], ones[0], ones[1])
    whole, apart = float(found[0]), float(floor[0])
    return Kid(space, whole, float(low), float(high), apart, len(x), len(y))


def _half_weights(n: int, names: Sequence[str], subsets: int, rng: np.random.Generator) -> Double:
    """Weights (n, 1 + subsets): all faces, then those of a random half of the clusters."""
    groups, count = cluster_indices(n, names)
    weights = np.ones((n, 1 + subsets))
    for column in range(1, subsets + 1):
        kept = np.zeros(count)
        kept[rng.permutation(count)[: count // 2]] = 1.0
        weights[:, column] = kept[groups]
    return weights


def _mmd(x: Double, y: Double, wx: Double, wy: Double) -> Double:
    """Unbiased estimates of many weighted subsets in one pass over the kernel: (columns,)."""
    nx, ny = wx.sum(axis=0), wy.sum(axis=0)
    within_x = _kernel_sums(x, x, wx, wx, without_diagonal=True) / (nx * (nx - 1))
    within_y = _kernel_sums(y, y, wy, wy, without_diagonal=True) / (ny * (ny - 1))
    between = _kernel_sums(x, y, wx, wy, without_diagonal=False) / (nx * ny)
    estimates: Double = within_x + within_y - 2.0 * between
    return estimates


def _kernel_sums(a: Double, b: Double, wa: Double, wb: Double, *, without_diagonal: bool) -> Double:
    """Sum wa_i k(a_i, b_j) wb_j for every column of weights, a block of rows at a time."""
    total = np.zeros(wa.shape[1])
    for start in range(0, len(a), _BLOCK):
        block = (a[start : start + _BLOCK] @ b.T / a.shape[1] + 1.0) ** 3
        if without_diagonal:
            rows = np.arange(len(block))
            block[rows, start + rows] = 0.0
        total += (wa[start : start + _BLOCK] * (block @ wb)).sum(axis=0)
    return total


def check_features(*sets: Float, at_least: int = 1) -> None:
    """Refuse features that cannot be compared.

    Raises:
        Invalid: ``FEATURES`` when they are no finite matrices of one width; ``TOO_FEW_FACES``.
    """
    shapes = [s.shape for s in sets]
    if any(len(s) != 2 for s in shapes) or len({s[-1] for s in shapes}) != 1:
        raise Invalid(
            "FEATURES",
            f"features of shapes {shapes} are no matrices of one width",
            hint="take all features from one network",
        )
    for features in sets:
        if len(features) < at_least:
            raise Invalid(
                "TOO_FEW_FACES",
                f"{len(features)} faces are too few to judge; {at_least} are the least",
                hint="generate or load more faces",
            )
        if not np.isfinite(features).all():
            bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise Invalid("FEATURES", f"the features of face {bad} are not finite")
