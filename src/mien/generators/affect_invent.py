"""Invent an identity: a rendered neutral face that then takes the same path as a photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mien.core.arrays import Double, Float, UInt8
from mien.core.digest import seed_of
from mien.generators.affect_params import AffectParams
from mien.morphable.fitting import Fit
from mien.morphable.head import HeadModel
from mien.morphable.render import render, rotation
from mien.morphable.scene import Scene, sample_scene


@dataclass(frozen=True, slots=True, eq=False)
class Invented:
    """A neutral face of nobody.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        landmarks: (68, 2) float64 pixels.
        fit: how the head was placed, exactly.
        albedo: (V, 3) float32 colours; NaN where a vertex is not drawn.
    """

    image: UInt8
    landmarks: Double
    fit: Fit
    albedo: Float


def invent(head: HeadModel, params: AffectParams, seed: int, side_px: int) -> Invented:
    """Draw an identity and photograph it.

    Args:
        head: the head model.
        params: spreads.
        seed: decides everything: shape, colours, scene.
        side_px: side of the square picture.
    """
    rng = np.random.default_rng(seed_of("shape", seed))
    draw = np.clip(rng.standard_normal(head.identity_size), -2.5, 2.5)
    identity = (params.identity_spread * draw).astype(np.float32)
    albedo = head.colours(draw_appearance(seed), np.random.default_rng(seed_of("skin", seed)))
    drawn = sample_scene(np.random.default_rng(seed_of("scene", seed)), params.scene_spread)
    # The camera is the one that fitting assumes; sensor faults come after the deformation.
    scene = replace(drawn, camera_distance=0.0, supersample=1, blur_px=0.0, noise=0.0)
    vertices = head.shape(identity)
    picture = render(head, vertices, albedo, scene, side_px)
    return Invented(
        image=picture.image,
        landmarks=np.array(picture.landmarks, np.float64),
        fit=_placed(head, vertices, identity, scene, side_px),
        albedo=albedo,
    )


def draw_appearance(seed: int) -> dict[str, float]:
    """Draw colours, hair and glasses; hair and eyes are darker with darker skin, as in people."""
    rng = np.random.default_rng(seed_of("appearance", seed))
    skin = float(rng.beta(1.1, 1.3))
    light = float(np.clip(1.25 - 1.5 * skin, 0.05, 1.0))
    bearded = rng.uniform() < 0.2
    return {
        "skin": skin,
        "undertone": float(rng.uniform(-0.7, 0.7)),
        "redness": float(rng.uniform(0.1, 0.9)),
        "age": float(rng.beta(1.2, 2.5)),
        "lips": float(rng.uniform(0.1, 0.9)),
        "iris": 1.0 - float(rng.uniform()) * light,
        "brow": float(rng.uniform(0.2, 0.95)),
        "brow_arch": float(rng.uniform(-0.6, 0.6)),
        "hair": float(rng.uniform()) ** 1.5 * light,
        "grey": float(rng.uniform() < 0.1) * float(rng.uniform(0.3, 0.9)),
        "hair_style": float(rng.integers(0, 3 if bearded else 5)),
        "beard": float(bearded) * float(rng.uniform(0.3, 1.0)),
        "glasses": float(rng.uniform() < 0.08),
    }


def _placed(head: HeadModel, vertices: Float, identity: Float, scene: Scene, side_px: int) -> Fit:
    """Express the renderer's orthographic placement as a fit."""
    corners = vertices[head.landmarks68[[36, 39, 42, 45]]].astype(np.float64)
    left, right = corners[:2].mean(axis=0), corners[2:].mean(axis=0)
    apart = float(np.linalg.norm(right - left))
    pivot = (left + right) / 2 - np.array([0.0, 0.0, apart])
    turn = rotation(scene)
    scale = scene.eye_distance * side_px / apart
    centre = np.array([0.5 + scene.shift[0], scene.eye_line + scene.shift[1]]) * side_px - 0.5
    moved = scale * (turn @ pivot)[:2] * np.array([1.0, -1.0])
    return Fit(identity, scale, turn, centre - moved, 0.0, np.zeros(68))
