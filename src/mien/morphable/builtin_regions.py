"""Named areas of the built-in head, and how glossy they are."""

from __future__ import annotations

import numpy as np

from mien.core.arrays import Float
from mien.morphable.builtin_anatomy import Anatomy, smooth
from mien.morphable.builtin_stencils import brow_weight, lip_weight
from mien.morphable.builtin_surface import blob


def regions_of(body: Anatomy) -> dict[str, Float]:
    """Return name → (V,) float32 weights in [0, 1] of areas that others may displace or paint."""
    x, y, z = body.points.T
    face = body.of("skin") * smooth(z, 0.5, 3.0) * (1.0 - smooth(body.v, 12.0, 13.5))
    areas = {
        "skin": body.of("skin"),
        "face": face,
        "forehead": face * smooth(y, 2.6, 3.6) * (1.0 - smooth(y, 6.4, 7.6)),
        "brows": face * brow_weight(x, y, 0.6, 0.0),
        "eyelids": face * np.clip(body.upper_lid + body.lower_lid, 0.0, 1.0),
        "nose": face * np.clip(blob(x, y, (0.0, -2.7), (1.1, 2.0)) * 1.3, 0.0, 1.0),
        "cheeks": face * np.clip(blob(x, y, (4.2, -3.8), (1.5, 1.9)) * 1.2, 0.0, 1.0),
        "lips": lip_weight(body),
        "chin": face * np.clip(blob(x, y, (0.0, -10.0), (1.6, 1.1)) * 1.2, 0.0, 1.0),
        "jaw": body.of("skin") * body.jaw,
        "neck": body.of("skin") * smooth(body.v, 12.5, 14.0),
        "eyeballs": body.of("eye_L", "eye_R"),
        "teeth": body.of("teeth_upper", "teeth_lower"),
        "mouth_inside": body.of("mouth", "tongue"),
        "ears": body.of("ear_L", "ear_R"),
        "hair": body.of("hair_cap", "hair_fringe", "hair_long"),
        "glasses": body.of("glasses"),
    }
    return {name: np.asarray(weight, np.float32) for name, weight in areas.items()}


def gloss_of(body: Anatomy) -> Float:
    """Return (V,) float32 in [0, 1]."""
    x, y, _ = body.points.T
    gloss = 0.1 + 0.06 * blob(x, y, (0.0, -3.4), (0.8, 1.1)) + 0.03 * blob(x, y, (0, 4), (3, 2))
    gloss = gloss + 0.2 * lip_weight(body)
    for amount, names in (
        (0.9, ("eye_L", "eye_R")),
        (0.5, ("teeth_upper", "teeth_lower", "glasses")),
        (0.3, ("tongue", "rim_L", "rim_R")),
        (0.12, ("hair_cap", "hair_fringe", "hair_long")),
        (0.0, ("mouth",)),
    ):
        gloss = np.where(body.of(*names) > 0, amount, gloss)
    return gloss.astype(np.float32)
