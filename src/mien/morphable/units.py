"""Action units of the built-in head.

Source: Ekman, Friesen, Hager, Facial Action Coding System (2002), for what each unit does; the
amounts are ours, at its strongest visible grade and somewhat beyond, to be read at 64 px.
"""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Double
from mien.morphable.builtin_anatomy import Anatomy
from mien.morphable.builtin_surface import MOUTH_Y
from mien.morphable.unit_fields import (
    GAZE_RAD,
    Field,
    Furrow,
    Pull,
    both,
    closing,
    gaze,
    jaw,
    lids,
    pulls,
    thin_lips,
)

_CORNER, _CORNER_SPREAD = (2.6, MOUTH_Y), (1.0, 0.95)

# Units with a left and a right: the field is given for one side.
SIDED: dict[str, Field] = {
    "AU1": pulls(
        [
            Pull((1.2, 2.45), (1.15, 1.0), (-0.05, 1.0, 0.1)),
            Pull((1.2, 4.4), (1.6, 1.2), (0, 0.45, 0)),
        ],
        [Furrow((0.9, 4.6), (1.7, 1.1), 4, 0.95, 0.1)],
    ),
    "AU2": pulls(
        [
            Pull((4.2, 2.55), (1.4, 1.0), (0.1, 1.0, 0.1)),
            Pull((4.0, 4.3), (1.6, 1.2), (0, 0.4, 0)),
        ],
        [Furrow((3.6, 4.6), (1.6, 1.1), -8, 0.95, 0.1)],
    ),
    "AU4": pulls(
        [
            Pull((1.5, 2.15), (1.4, 0.9), (-0.32, -0.68, 0.16)),
            Pull((4.0, 2.35), (1.4, 0.9), (-0.1, -0.46, 0.08)),
        ],
        [Furrow((0.35, 2.35), (0.5, 0.85), 90, 0.7, 0.2)],
    ),
    "AU5": both(lids(0.42, -0.04)),
    "AU6": both(
        pulls(
            [
                Pull((3.9, -2.3), (1.7, 1.0), (0.05, 0.6, 0.4)),
                Pull((5.6, 0.2), (0.9, 1.0), (-0.2, 0.1, 0.05)),
            ],
            [
                Furrow((3.2, -1.25), (1.3, 0.3), -6, 0.5, 0.1),
                Furrow((5.6, -0.1), (0.5, 0.8), -12, 0.5, 0.1),
            ],
        ),
        lids(-0.08, 0.24),
    ),
    "AU7": lids(-0.16, 0.24),
    "AU9": pulls(
        [
            Pull((0.95, -2.288), (0.7, 1.3), (0.05, 0.4, 0.14)),
            Pull((1.45, -3.784), (0.6, 0.7), (0.12, 0.45, 0.08)),
            Pull((1.2, 1.95), (1.1, 0.8), (-0.25, -0.5, 0.12)),
            Pull((1.3, -6), (1.0, 0.8), (0.0, 0.45, 0.1), "upper"),
            Pull((2.6, -2.64), (1.0, 0.8), (0.0, 0.3, 0.3)),
        ],
        [
            Furrow((0.5, -0.9), (0.75, 1.0), 40, 0.62, 0.17),
            Furrow((2.0, -3.696), (0.45, 0.8), 60, 0.9, 0.22),
        ],
    ),
    "AU10": pulls(
        [
            Pull((1.15, -6.4), (0.95, 0.75), (0.0, 0.75, 0.16), "upper"),
            Pull((2.4, -4.6), (0.9, 0.9), (0.05, 0.4, 0.28)),
        ],
        [Furrow((2.3, -5.1), (0.5, 1.0), 62, 1.0, 0.24)],
    ),
    "AU12": pulls(
        [
            Pull(_CORNER, _CORNER_SPREAD, (0.62, 0.85, -0.42)),
            Pull((1.3, -6.9), (0.7, 0.6), (0.22, 0.1, -0.1)),
            Pull((3.9, -4.4), (1.2, 1.1), (0.15, 0.5, 0.42)),
            Pull((3.6, -5.9), (0.8, 0.8), (0.15, 0.35, 0.15)),
        ],
        [Furrow((2.75, -5.4), (0.6, 1.3), 60, 1.3, 0.3)],
    ),
    "AU14": pulls(
        [
            Pull(_CORNER, (0.75, 0.6), (0.5, 0.16, -0.45)),
            Pull((3.25, -6.7), (0.35, 0.75), (0.0, 0.0, -0.35)),
            Pull((3.9, -6.3), (0.6, 0.9), (0.0, 0.1, 0.25)),
        ]
    ),
    "AU15": pulls(
        [
            Pull(_CORNER, (0.85, 0.85), (0.12, -0.85, -0.05)),
            Pull((3.3, -8), (0.6, 0.8), (0.05, -0.3, 0.18)),
        ],
        [Furrow((3.0, -8), (0.35, 0.8), 115, 0.9, 0.2)],
    ),
    "AU20": pulls(
        [
            Pull(_CORNER, (1.15, 0.85), (0.85, -0.25, -0.4)),
            Pull((1.4, -6.9), (0.8, 0.6), (0.3, 0.0, -0.15)),
            Pull((2.4, -8.7), (1.0, 0.8), (0.25, -0.25, 0.0)),
        ],
        [Furrow((3.5, -7.3), (0.4, 1.1), 95, 0.9, 0.16)],
    ),
    "AU43": closing(1.0),
}

# Units without sides: the field is the whole.
MIDDLE: dict[str, Field] = {
    "AU17": pulls(
        [
            Pull((0.0, -7.7), (1.5, 0.7), (0.0, 0.5, 0.28), "lower"),
            Pull((0.0, -6.6), (1.4, 0.5), (0.0, 0.25, 0.12), "upper"),
            Pull((0.0, -9.6), (1.3, 0.9), (0.0, 0.4, 0.22)),
        ],
        [Furrow((0.0, -8.6), (1.2, 0.35), 0, 0.8, 0.22)],
    ),
    "AU23": thin_lips(0.4, 0.4, 0.08),
    "AU24": thin_lips(0.6, 0.55, 0.18),
    "AU25": pulls(
        [
            Pull((0.0, -6.6), (1.4, 0.8), (0.0, 0.22, 0.02), "upper"),
            Pull((0.0, -7.4), (1.5, 1.0), (0.0, -0.42, 0.0), "lower"),
        ]
    ),
    "AU26": jaw(0.15, 0.0),
    "AU27": jaw(0.36, 0.35),
    "look_up": gaze(GAZE_RAD, 0.0),
    "look_down": gaze(-GAZE_RAD, 0.0),
    "look_left": gaze(0.0, GAZE_RAD),
    "look_right": gaze(0.0, -GAZE_RAD),
}

UNITS: tuple[str, ...] = (*(f"{unit}_{side}" for unit in SIDED for side in "LR"), *MIDDLE)


def unit_fields(body: Anatomy) -> Double:
    """Return the (U, V, 3) displacements in cm of every unit at strength 1."""
    fields = [field(body, side) for field in SIDED.values() for side in (1.0, -1.0)]
    fields += [field(body, 1.0) for field in MIDDLE.values()]
    stacked = np.stack(fields)
    following = body.follow != np.arange(len(body.follow))
    # What hangs on lips and lids copies them; the mouth's depth keeps to its jaw instead.
    copied = stacked[:, body.follow] * body.follow_share[:, None]
    own = stacked * (1.0 - body.follow_share[:, None])
    return np.where(following[:, None], copied + own, stacked)
