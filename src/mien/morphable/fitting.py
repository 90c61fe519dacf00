"""Fit a head to the 68 landmarks of a face: camera, pose and identity, by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.core.arrays import Double, Float
from mien.core.errors import Invalid
from mien.morphable.head import HeadModel
from mien.morphable.landmarks import JAW, inter_ocular

_FLIP = np.array([1.0, -1.0])  # images run down, heads run up


@dataclass(frozen=True, slots=True)
class Fit:
    """A head placed in a photo by a scaled orthographic (weak-perspective) camera.

    A vertex v lies at the pixel ``scale · (R v)[:2] · (1, -1) + translation``, in the depth
    ``scale · (R v)[2]``.

    Attributes:
        identity: (I,) float32 identity parameters; those beyond ``modes`` are 0.
        scale: pixels per unit of the head.
        rotation: (3, 3) float64, proper.
        translation: (2,) float64 pixels.
        residual: mean distance of the 68 landmarks to the fitted head, as a fraction of the
            distance of the eyes. The jaw counts across its line, for where along it a point was
            set is arbitrary.
        residuals: (68,) float64, the same per landmark.
    """

    identity: Float
    scale: float
    rotation: Double
    translation: Double
    residual: float
    residuals: Double

    def project(self, vertices: Float) -> Float:
        """Place (V, 3) vertices in the photo: (V, 3) float32, x right, y down, z to the camera."""
        turned = vertices.astype(np.float32) @ (self.scale * self.rotation).T.astype(np.float32)
        turned[:, 1] *= -1.0
        turned[:, :2] += self.translation.astype(np.float32)
        return turned


def fit(
    head: HeadModel,
    landmarks68: Double,
    *,
    modes: int = 60,
    rounds: int = 8,
    ridge: float = 0.02,
    slide: bool = True,
) -> Fit:
    """Fit camera and identity to 68 points.

    Alternates between the camera (linear, then projected on scaled rotations) and the identity
    (ridge regression). With ``slide`` the jaw's targets move along its polyline to the point
    nearest to the model's.

    Args:
        head: what is fitted.
        landmarks68: (68, 2) float64, pixels, Multi-PIE order.
        modes: identity parameters used, the first ones.
        rounds: alternations, ≥ 1.
        ridge: expected landmark noise as a fraction of the distance of the eyes; the prior on
            identity is N(0, 1), so larger means closer to the mean head.
        slide: let the jaw slide.

    Raises:
        Invalid: ``LANDMARKS_SHAPE`` when the points are not (68, 2), finite and apart.

    Source: Blanz, Mehl, Vetter, Seidel, A statistical method for robust 3D surface reconstruction
        from sparse data (3DPVT 2004), §3; the camera alternates as in Aldrian, Smith, Inverse
        rendering of faces with a 3D morphable model (PAMI 2013), §3, without its noise model.
    """
    if landmarks68.shape != (68, 2) or not np.isfinite(landmarks68).all():
        raise Invalid("LANDMARKS_SHAPE", f"68 finite points are needed, not {landmarks68.shape}")
    apart = inter_ocular(landmarks68)
    if apart < 1e-6:
        raise Invalid("LANDMARKS_SHAPE", "both eyes are at the same place")
    chosen = head.landmarks68
    mean = head.shape(np.zeros(head.identity_size, np.float32))[chosen].astype(np.float64)
    basis = head.identity_basis()[:modes, chosen].astype(np.float64)
    wanted = np.asarray(landmarks68, np.float64) * _FLIP
    target = wanted.copy()
    identity: Double = np.zeros(len(basis))
    for _ in range(rounds):
        points = mean + np.tensordot(identity, basis, axes=1)
        scale, rotation, shift = camera(points, target)
        if slide:
            target[JAW] = _onto(wanted[JAW], (scale * points[JAW] @ rotation.T)[:, :2] + shift)
        identity = _identity(
            (basis @ (scale * rotation[:2]).T).reshape(len(basis), 2 * len(mean)),
            (target - (scale * mean @ rotation.T)[:, :2] - shift).reshape(-1),
            ridge * apart,
        )
    points = mean + np.tensordot(identity, basis, axes=1)
    scale, rotation, shift = camera(points, target)
    placed = (scale * points @ rotation.T)[:, :2] + shift
    if slide:
        target[JAW] = _onto(wanted[JAW], placed[JAW])
    residuals = np.linalg.norm(placed - target, axis=1) / apart
    full = np.zeros(head.identity_size, np.float32)
    full[: len(identity)] = identity
    return Fit(full, scale, rotation, shift * _FLIP, float(residuals.mean()), residuals)


def camera(points: Double, target: Double) -> tuple[float, Double, Double]:
    """Find the scaled orthographic camera that best maps (N, 3) points to (N, 2) targets, y up.

    Returns:
        Scale > 0, proper rotation (3, 3), shift (2,).
    """
    centre, middle = points.mean(axis=0), target.mean(axis=0)
    rows, *_ = np.linalg.lstsq(points - centre, target - middle, rcond=None)
    left, singular, right = np.linalg.svd(rows.T, full_matrices=False)
    scale = float(singular.mean())
    top = left @ right
    rotation = np.vstack([top, np.cross(top[0], top[1])])
    return scale, rotation, middle - scale * top @ centre


def _identity(basis: Double, rest: Double, noise: float) -> Double:
    """Solve min |basisᵀ a − rest|² / noise² + |a|²."""
    normal = basis @ basis.T + noise**2 * np.eye(len(basis))
    return np.asarray(np.linalg.solve(normal, basis @ rest), np.float64)


def _onto(line: Double, points: Double) -> Double:
    """Return the point of a polyline that is nearest to each point: (N, 2)."""
    start, step = line[:-1], np.diff(line, axis=0)
    square = np.maximum((step**2).sum(axis=1), 1e-12)
    share = ((points[:, None] - start) * step).sum(axis=2) / square
    feet = start + np.clip(share, 0.0, 1.0)[:, :, None] * step
    nearest = np.linalg.norm(feet - points[:, None], axis=2).argmin(axis=1)
    found: Double = feet[np.arange(len(points)), nearest]
    return found
