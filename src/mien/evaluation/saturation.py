"""Where more synthetic data stops paying: the saturation curve and the cost of a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Int
from mien.core.errors import Invalid

LN20 = float(np.log(20.0))  # exp(-LN20) = 5 % of the gain left
GRID = 60


@dataclass(frozen=True, slots=True)
class Saturation:
    """Accuracy against ratio k as start + gain (1 - exp(-k/scale)), with bootstrap bands.

    Attributes:
        ratios: that were fitted, ascending.
        fitted: accuracy of the curve at each ratio.
        band_low: lower ends of its pointwise band.
        band_high: upper ends.
        start: accuracy at ratio 0.
        limit_gain: accuracy gained by endless data, extrapolated; negative where data harms.
        gain: accuracy gained by the largest ratio tried, on the curve.
        gain_low: lower end of its interval.
        gain_high: upper end.
        scale: ratio at which 63 % of the gain is reached.
        ratio_95: ratio at which 95 % of ``limit_gain`` is reached; None where the curve is flat.
        ratio_95_low: lower end of its interval, or None.
        ratio_95_high: upper end, or None; as large as the grid allows where nothing bounds it.
        flat: the gain's interval holds zero: nothing can be said about where it ends.
        beyond: ``ratio_95`` lies above the largest ratio tried, so it is extrapolated.
        misfit: root mean square of mean accuracy - curve; large where the curve peaks.
    """

    ratios: tuple[int, ...]
    fitted: tuple[float, ...]
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    start: float
    limit_gain: float
    gain: float
    gain_low: float
    gain_high: float
    scale: float
    ratio_95: float | None
    ratio_95_low: float | None
    ratio_95_high: float | None
    flat: bool
    beyond: bool
    misfit: float


def fit_saturation(
    ratios: Sequence[int],
    scores: Double,
    *,
    draws: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
) -> Saturation:
    """Fit the saturation curve to arms of ascending ratio.

    For a given scale the curve is linear in start and gain, so a grid of scales, from a quarter
    of the smallest ratio to thrice the largest, replaces an optimiser and cannot diverge. Bands
    resample subjects and seeds, both with replacement, the same for all arms.

    Args:
        ratios: length A, distinct; 0 among them.
        scores: (A, S, N) accuracy of each subject under each seed, 0..1.
        draws: bootstrap samples.
        alpha: bands cover 1 - alpha.
        seed: of the bootstrap.

    Source: three-parameter learning curves as in Hestness et al. (2017), "Deep learning scaling
        is predictable, empirically", but exponential, for a share of the gain is asked for;
        the crossed bootstrap is Owen (2007), "The pigeonhole bootstrap", known to be on the
        wide side.

    Raises:
        Invalid: ``TOO_FEW_RATIOS`` below three; ``RATIO_TWICE``; ``NO_BASELINE`` without ratio 0;
            ``SCORE_SHAPE``; ``NOT_FINITE``.
    """
    order = _checked(ratios, scores)
    k = np.asarray(ratios, dtype=np.float64)[order]
    table = np.asarray(scores, dtype=np.float64)[order]
    curve = _Curve.over(k)

    means = table.mean(axis=(1, 2))
    start, limit_gain, scale = curve.fit(means[None])
    fitted = _evaluate(k, start, limit_gain, scale)[0]
    starts, limit_gains, scales = curve.fit(_resample(table, draws, np.random.default_rng(seed)))
    drawn = _evaluate(k, starts, limit_gains, scales)

    tails = [100 * alpha / 2, 100 * (1 - alpha / 2)]
    bands = np.percentile(drawn, tails, axis=0)
    gain_low, gain_high = np.percentile(drawn[:, -1] - drawn[:, 0], tails)
    flat = bool(gain_low <= 0.0 <= gain_high)
    reach = LN20 * float(scale[0])
    reach_low, reach_high = LN20 * np.percentile(scales, tails)
    return Saturation(
        ratios=tuple(int(v) for v in k),
        fitted=tuple(float(v) for v in fitted),
        band_low=tuple(float(v) for v in bands[0]),
        band_high=tuple(float(v) for v in bands[1]),
        start=float(start[0]),
        limit_gain=float(limit_gain[0]),
        gain=float(fitted[-1] - fitted[0]),
        gain_low=float(gain_low),
        gain_high=float(gain_high),
        scale=float(scale[0]),
        ratio_95=None if flat else reach,
        ratio_95_low=None if flat else float(reach_low),
        ratio_95_high=None if flat else float(reach_high),
        flat=flat,
        beyond=not flat and bool(reach > k[-1]),
        misfit=float(np.sqrt(np.mean(np.square(means - fitted)))),
    )


def _checked(ratios: Sequence[int], scores: Double) -> Int:
    if len(set(ratios)) != len(ratios):
        raise Invalid("RATIO_TWICE", f"a ratio is given twice: {list(ratios)}")
    if len(ratios) < 3:
        raise Invalid(
            "TOO_FEW_RATIOS",
            f"{len(ratios)} ratios make no curve",
            hint="a saturation curve needs r0 and at least two further ratios",
        )
    if 0 not in ratios:
        raise Invalid("NO_BASELINE", f"ratio 0 is not among {list(ratios)}")
    if np.ndim(scores) != 3 or np.shape(scores)[0] != len(ratios) or not np.size(scores):
        raise Invalid(
            "SCORE_SHAPE", f"scores {np.shape(scores)} for {len(ratios)} ratios, expected (A, S, N)"
        )
    if not np.isfinite(scores).all():
        raise Invalid("NOT_FINITE", "a score is missing or not a number")
    order: Int = np.argsort(np.asarray(ratios), kind="stable")
    return order


@dataclass(frozen=True, slots=True)
class _Curve:
    """Least squares for every scale of a grid at once.

    Attributes:
        scales: (G,).
        shapes: (G, A) values of 1 - exp(-k/scale), centred over A.
        centres: (G,) their means.
        norms: (G,) their squared lengths.
    """

    scales: Double
    shapes: Double
    centres: Double
    norms: Double

    @classmethod
    def over(cls, k: Double) -> _Curve:
        scales = np.geomspace(k[1] / 4.0, 3.0 * k[-1], GRID)
        shapes = 1.0 - np.exp(-k[None, :] / scales[:, None])
        centres = shapes.mean(axis=1)
        shapes = shapes - centres[:, None]
        return cls(scales, shapes, centres, np.square(shapes).sum(axis=1))

    def fit(self, means: Double) -> tuple[Double, Double, Double]:
        """Fit rows (B, A): start, gain and scale, each (B,)."""
        level = means.mean(axis=1)
        product = (means - level[:, None]) @ self.shapes.T
        # What a scale explains: the largest explained sum of squares is the least residual.
        best = (np.square(product) / self.norms).argmax(axis=1)
        gain = np.take_along_axis(product, best[:, None], axis=1)[:, 0] / self.norms[best]
        return level - gain * self.centres[best], gain, self.scales[best]


def _evaluate(k: Double, start: Double, gain: Double, scale: Double) -> Double:
    """Evaluate curves (B,) at ratios (A,): (B, A)."""
    share = 1.0 - np.exp(-k[None, :] / scale[:, None])
    values: Double = start[:, None] + gain[:, None] * share
    return values


def _resample(table: Double, draws: int, rng: np.random.Generator) -> Double:
    """Resample seeds and subjects; mean accuracies (draws, A)."""
    _, n_seeds, n_subjects = table.shape
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws) / n_seeds
    subjects = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=draws)
    drawn: Double = np.einsum("asn,bs,bn->ba", table, seeds, subjects / n_subjects, optimize=True)
    return drawn


def cost_per_point(extra_cost: float, gain: float, low: float, high: float) -> CostPerPoint:
    """Divide what an arm costs beyond r0 by what it gains.

    Args:
        extra_cost: in any unit (seconds, images), ≥ 0.
        gain: accuracy gained over r0, a fraction.
        low: lower end of its interval.
        high: upper end of its interval.

    Raises:
        Invalid: ``NEGATIVE_COST``.
    """
    if not extra_cost >= 0.0:
        raise Invalid("NEGATIVE_COST", f"a cost of {extra_cost} is not 0 or more")

    def per_point(fraction: float) -> float | None:
        return extra_cost / (100 * fraction) if fraction > 0.0 else None

    return CostPerPoint(extra_cost, per_point(gain), per_point(high), per_point(low))


@dataclass(frozen=True, slots=True)
class CostPerPoint:
    """Cost of one percentage point of accuracy, in the unit of ``extra_cost``.

    Attributes:
        extra_cost: beyond r0.
        estimate: None where nothing is gained.
        low: at the upper end of the gain's interval, or None.
        high: at its lower end; None where the gain may be zero: no price can be named.
    """

    extra_cost: float
    estimate: float | None
    low: float | None
    high: float | None
