"""What differs between two faces of one identity and expression, and has nothing to do with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.core.arrays import Double, Float, UInt8
from mien.core.expression import Expression
from mien.generators.affect_params import AffectParams
from mien.morphable.expressions import sample_units
from mien.morphable.head import HeadModel

_STIR = 0.05  # mean weight of the random deformation
_GAZE = 0.12  # standard deviation of the gaze, as a share of the full turn


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """Draws of one face.

    Attributes:
        offsets: (V, 3) float32 displacements: the expression and the random deformation.
        turn: (3, 3) small rotation of the head.
        affine: (2, 3) from working to output pixels.
        gain: (3,) of the colours.
        noise: sigma in grey levels.
    """

    offsets: Float
    turn: Double
    affine: Double
    gain: Double
    noise: float


def draw_variation(
    head: HeadModel,
    params: AffectParams,
    expression: Expression,
    intensity: float,
    rng: np.random.Generator,
    *,
    work: tuple[int, int],
    out: tuple[int, int],
) -> Variation:
    """Draw one face's deformation and camera.

    All but the expression's own units is drawn first and alike for every expression, from the same
    distributions.

    Args:
        head: the head model.
        params: spreads.
        expression: wanted.
        intensity: in [0, 1].
        rng: of this face.
        work: width and height of the working picture.
        out: width and height of the result.
    """
    stir = _stir(head, params, rng)
    yaw, pitch, roll = np.deg2rad(params.turn_deg * np.clip(rng.standard_normal(3), -2, 2))
    gain = np.exp(params.gain * rng.standard_normal() + params.tint * rng.standard_normal(3))
    affine = _affine(params, rng, work, out)
    noise = float(rng.uniform(0.0, params.noise))
    units = sample_units(head, expression, intensity, rng, params.variation)
    if expression is Expression.HAPPINESS:
        units = _smile(units, rng, params.variation)
    offsets = params.strength * head.offsets(units) + head.offsets(stir)
    return Variation(offsets, _turn(yaw, pitch, roll), affine, gain, noise)


def _stir(head: HeadModel, params: AffectParams, rng: np.random.Generator) -> dict[str, float]:
    """Draw small weights of a few units, never all zero: the deformation that hides the label."""
    count = min(8, len(head.units))
    chosen = rng.choice(len(head.units), size=count, replace=False)
    weights = np.clip(params.deformation * _STIR * rng.exponential(1.0, count), 0.01, 0.15)
    stirred = {head.units[i]: float(w) for i, w in zip(chosen, weights, strict=True)}
    return stirred | _gaze(head, *(_GAZE * params.deformation * rng.standard_normal(2)))


def _gaze(head: HeadModel, across: float, up: float) -> dict[str, float]:
    """Turn both eyes together, where the head has them apart; no stare is quite straight."""
    if "eyeLookOut_L" not in head.units:
        return {}
    sides = ("Out_L", "In_R") if across > 0 else ("In_L", "Out_R")
    height = "Up" if up > 0 else "Down"
    return {
        **{f"eyeLook{side}": min(abs(across), 0.5) for side in sides},
        **{f"eyeLook{height}_{side}": min(abs(up), 0.3) for side in "LR"},
    }


def _smile(units: dict[str, float], rng: np.random.Generator, variation: float) -> dict[str, float]:
    """Vary what smiles vary in most: lips closed to all teeth shown, eyes joining in or not.

    Source: Ambadar, Cohn, Reed, All smiles are not created equal (Journal of Nonverbal Behavior
        2009): mouth opening and orbicularis oculi differ between kinds of smiles.
    """
    teeth, eyes = rng.uniform(0.0, 2.4), rng.uniform(0.1, 1.1)
    factors = {"mouthUpperUp": teeth, "mouthLowerDown": teeth, "AU25": 0.6 * teeth}
    factors |= dict.fromkeys(("cheekSquint", "eyeSquint", "AU6", "AU7"), eyes)
    share = min(variation, 1.0)
    return {
        name: min(weight * (1.0 + share * (factors.get(name.split("_")[0], 1.0) - 1.0)), 1.0)
        for name, weight in units.items()
    }


def _turn(yaw: float, pitch: float, roll: float) -> Double:
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned: Double = about_z @ about_x @ about_y
    return turned


def _affine(
    params: AffectParams, rng: np.random.Generator, work: tuple[int, int], out: tuple[int, int]
) -> Double:
    """Return the (2, 3) map from working to output pixels (integers are pixel centres)."""
    angle = np.deg2rad(params.roll_deg * np.clip(rng.standard_normal(), -2, 2))
    moved = params.shift * max(out) * np.clip(rng.standard_normal(2), -2, 2)
    ratio = out[0] / work[0]
    c, s = ratio * np.cos(angle), ratio * np.sin(angle)
    centre = (np.array(work) - 1) / 2
    goal = (np.array(out) - 1) / 2 + moved
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (goal - linear @ centre)[:, None]], axis=1)


def develop(
    picture: Float, variation: Variation, out: tuple[int, int], rng: np.random.Generator
) -> UInt8:
    """Turn the working picture into the result: resample, gain, noise, round.

    Args:
        picture: (H, W, 3) float32 RGB, 0..255, twice the size of the result.
        variation: affine, gain and noise.
        out: width and height of the result.
        rng: of the noise.
    """
    # At half size, bilinear reading is the mean of four pixels: no aliasing.
    small = cv2.warpAffine(
        picture, variation.affine, out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    small *= variation.gain.astype(np.float32)
    small += np.float32(variation.noise) * rng.standard_normal(small.shape, dtype=np.float32)
    rounded: UInt8 = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    return rounded
