"""Faces that fit a classifier."""

from __future__ import annotations

import numpy as np

from mien.core.errors import Invalid
from mien.core.faces import FaceArrays
from mien.recognition.spec import ClassifierSpec


def check_faces(faces: FaceArrays, spec: ClassifierSpec, what: str) -> None:
    """Refuse faces that the network of ``spec`` cannot be given.

    Args:
        faces: to check.
        spec: of the network.
        what: name of the set, for the message.

    Raises:
        Invalid: ``EMPTY_SET``, ``IMAGE_SIZE``, ``LABEL_OUT_OF_RANGE``, ``AFFECT_OUT_OF_RANGE``.
    """
    if not len(faces):
        raise Invalid(
            "EMPTY_SET", f"{what} has no faces", hint="give it faces of these expressions"
        )
    if faces.images.shape[1:] != spec.image_shape:
        raise Invalid(
            "IMAGE_SIZE",
            f"the images of {what} are {faces.images.shape[1:]}, "
            f"the network expects {spec.image_shape}",
            hint="preprocess them with the network's own spec",
        )
    if faces.labels.min() < -1 or faces.labels.max() >= len(spec.classes):
        raise Invalid(
            "LABEL_OUT_OF_RANGE",
            f"{what} has labels {faces.labels.min()}..{faces.labels.max()}, "
            f"there are {len(spec.classes)} classes",
            hint="number the labels from 0 in the order of the classes; -1 is none",
        )
    if faces.affect.shape != (len(faces), 2) or np.nanmax(np.abs(faces.affect), initial=0.0) > 1:
        raise Invalid(
            "AFFECT_OUT_OF_RANGE",
            f"the affect of {what} is not (N, 2) within [-1, 1]",
            hint="scale valence and arousal to [-1, 1]; NaN is unknown",
        )
