"""Hidden anatomy: smooth displacement, muscle and skin fields that only these databases know.

All are Gaussian random fields over the mean head, drawn once from fixed seeds (random Fourier
features); a person is a set of weights. Eyes move with their lids as one piece.

Source: Rahimi, Recht, Random features for large-scale kernel machines (NIPS 2007), §3, used to
    draw from the prior, not to approximate a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mien.core.arrays import Double, Float
from mien.core.digest import seed_of
from mien.morphable.builtin import BuiltinHead

SHAPE_MODES = 28  # the last third asymmetric
MUSCLE_MODES = 12
SKIN_MODES = 24
HAIR_MODES = 6
_FEATURES = 24
_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class HiddenAnatomy:
    """Fields over a head's V vertices, in its units.

    Attributes:
        head: the head.
        centimetre: one centimetre in its units.
        mean: (V, 3) mean shape.
        shapes: (SHAPE_MODES, V, 3) displacements of one unit each.
        gains: (MUSCLE_MODES, V) relative change of how far muscles move a place.
        turns: (MUSCLE_MODES, V, 3) change of direction, as a share of how far it moves.
        skin: (SKIN_MODES, V) relative change of brightness; finer ones last.
        hair: (HAIR_MODES, V, 3) displacements of hair alone, all outwards.
    """

    head: BuiltinHead
    centimetre: float
    mean: Float
    shapes: Float
    gains: Float
    turns: Float
    skin: Float
    hair: Float


def _field(points: Double, length: float, name: object, outputs: int) -> Double:
    """Return (V, outputs) of a unit-variance Gaussian random field with a length scale."""
    rng = np.random.default_rng(seed_of("demo", "anatomy", name))
    waves = rng.standard_normal((_FEATURES, 3)) / length
    waves[:, 2] *= 0.5  # what lies behind one another moves together
    phases = rng.uniform(0.0, 2 * np.pi, _FEATURES)
    amounts = rng.standard_normal((_FEATURES, outputs))
    values: Double = np.cos(points @ waves.T + phases) @ amounts * np.sqrt(2.0 / _FEATURES)
    return values


def _eye_weights(head: BuiltinHead, mean: Double) -> list[tuple[Double, Double]]:
    """Return, for each eye, (V,) weight that is 1 on all of it and its centre."""
    found = []
    for name in ("eye_L", "eye_R"):
        centre = mean[head.parts[name]].mean(axis=0)
        away = np.linalg.norm((mean - centre) * [1.0, 1.0, 0.6], axis=1)
        share = np.clip((0.52 - away) / 0.22, 0.0, 1.0)
        found.append((share * share * (3 - 2 * share), centre))
    return found


def _shape_mode(head: BuiltinHead, mean: Double, index: int) -> Double:
    asymmetric = index >= SHAPE_MODES * 2 // 3
    length = 0.38 if index % 2 else 0.6

    def at(points: Double) -> Double:
        here = _field(points, length, f"shape {index}", 3)
        there = _field(points * _MIRROR, length, f"shape {index}", 3) * _MIRROR
        moved: Double = (here - there if asymmetric else here + there) / np.sqrt(2.0)
        return moved

    moved = at(mean)
    for weight, centre in _eye_weights(head, mean):
        moved += weight[:, None] * (at(centre[None, :]) - moved)
    return moved


@lru_cache(maxsize=1)
def hidden_anatomy() -> HiddenAnatomy:
    """Build the fields; once a process."""
    head = BuiltinHead.load()
    mean = head.shape(np.zeros(head.identity_size, np.float32)).astype(np.float64)
    centimetre = head.scale / 7.6
    eyes = np.clip(np.sum([w for w, _ in _eye_weights(head, mean)], axis=0), 0.0, 1.0)
    free = (1.0 - eyes)[:, None]
    shapes = np.stack([_shape_mode(head, mean, k) for k in range(SHAPE_MODES)])
    gains = [_field(mean, 0.4, f"gain {k}", 1)[:, 0] * free[:, 0] for k in range(MUSCLE_MODES)]
    turns = [_field(mean, 0.4, f"turn {k}", 3) * free for k in range(MUSCLE_MODES)]
    lengths = np.geomspace(0.5, 0.07, SKIN_MODES)
    skin = [_field(mean, length, f"skin {k}", 1)[:, 0] for k, length in enumerate(lengths)]
    on_hair = head.regions["hair"][:, None]
    outwards = mean - [0.0, 0.2, -0.2]
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    # Outwards only: hair pressed inwards would let the scalp through.
    hair = [_field(mean, 0.45, f"hair {k}", 1) ** 2 * outwards * on_hair for k in range(HAIR_MODES)]
    return HiddenAnatomy(
        head=head,
        centimetre=centimetre,
        mean=mean.astype(np.float32),
        shapes=(0.06 * centimetre * shapes).astype(np.float32),
        gains=(np.stack(gains) * 0.25 / np.sqrt(MUSCLE_MODES)).astype(np.float32),
        turns=(np.stack(turns) * 0.2 / np.sqrt(MUSCLE_MODES)).astype(np.float32),
        skin=(np.stack(skin) / np.sqrt(SKIN_MODES)).astype(np.float32),
        hair=(np.stack(hair) * 0.12 * centimetre).astype(np.float32),
    )
