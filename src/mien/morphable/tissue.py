"""What a head's surface is made of, as far as a photo of it cares."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mien.core.errors import Invalid


class Tissue(IntEnum):
    """Kind of surface; a triangle is of the largest value among its corners."""

    SKIN = 0  # face, ears, neck, lips: carries the photo
    EYE = 1  # eyeball: sclera, iris, pupil
    MOUTH = 2  # inside of the mouth: socket, gums, tongue
    TEETH = 3
    WORN = 4  # hair, glasses: hides skin and belongs to the picture around the face


# By the name of the part, without its side.
_PARTS: Mapping[str, Tissue] = {
    "skin": Tissue.SKIN,
    "rim": Tissue.SKIN,
    "eye_socket": Tissue.SKIN,
    "ear": Tissue.SKIN,
    "eye": Tissue.EYE,
    "mouth": Tissue.MOUTH,
    "gums": Tissue.MOUTH,
    "tongue": Tissue.MOUTH,
    "teeth": Tissue.TEETH,
    "teeth_upper": Tissue.TEETH,
    "teeth_lower": Tissue.TEETH,
    "hair_cap": Tissue.WORN,
    "hair_fringe": Tissue.WORN,
    "hair_long": Tissue.WORN,
    "glasses": Tissue.WORN,
}


def tissues(parts: Mapping[str, slice], vertices: int) -> NDArray[np.uint8]:
    """Return the (V,) uint8 tissue of every vertex of a head.

    Args:
        parts: of the head: name → its vertices.
        vertices: V.

    Raises:
        Invalid: ``UNKNOWN_PART`` for a part whose tissue is not known.
    """
    found = np.full(vertices, Tissue.SKIN, np.uint8)
    for name, where in parts.items():
        stem = name.removesuffix("_L").removesuffix("_R")
        if stem not in _PARTS:
            raise Invalid("UNKNOWN_PART", f"of what the head's part {name!r} is made is unknown")
        found[where] = _PARTS[stem]
    return found
