"""What every head model offers, and how one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mien.core.arrays import Float, Int
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.morphable.rasterise import Index

Backend = Literal["builtin", "ict"]


class HeadModel(Protocol):
    """A linear 3D head: neutral + identity, plus the offsets of its deformation units.

    Axes: x to image right (the subject's left), y up, z towards the camera.

    Attributes:
        name: ``builtin`` or ``ict``.
        digest: names everything that decides its shapes and colours.
        scale: half the width of the head in the model's units of length.
        identity_size: number I of identity parameters, each N(0, 1) over people.
        units: names of the deformation units (action units or blend shapes); ``_L`` and ``_R``
            are the subject's left and right.
        triangles: (F, 3) int32 vertex indices, anticlockwise seen from outside.
        landmarks68: (68,) int64 vertex indices, Multi-PIE order.
        gloss: (V,) float32 in [0, 1], how mirror-like the surface is (skin ≈ 0.1, eye ≈ 0.9).
        parts: name of a part of the mesh → its vertices; ``tissue.py`` knows the names.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def scale(self) -> float: ...  # noqa: D102
    @property
    def identity_size(self) -> int: ...  # noqa: D102
    @property
    def units(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def triangles(self) -> Index: ...  # noqa: D102
    @property
    def landmarks68(self) -> Int: ...  # noqa: D102
    @property
    def gloss(self) -> Float: ...  # noqa: D102
    @property
    def parts(self) -> Mapping[str, slice]: ...  # noqa: D102

    def identity_basis(self) -> Float:
        """Return the (I, V, 3) float32 displacements of one unit of each identity parameter."""
        ...

    def shape(self, identity: Float) -> Float:
        """Return the (V, 3) float32 neutral shape: mean + Σ identityᵢ · basisᵢ."""
        ...

    def offsets(self, units: Mapping[str, float]) -> Float:
        """Return the (V, 3) float32 displacements of the given units (0 = none, 1 = full).

        Raises:
            Invalid: ``UNKNOWN_UNIT``; ``UNIT_OUT_OF_RANGE`` outside [0, 1].
        """
        ...

    def prototype(self, expression: Expression) -> Mapping[str, float]:
        """Return the unit weights that show the expression at intensity 1."""
        ...

    def colours(self, appearance: Mapping[str, float], rng: np.random.Generator) -> Float:
        """Return (V, 3) float32 albedo in [0, 1] (sRGB); NaN = this vertex is not drawn."""
        ...


def load_head(backend: Backend, assets: Path | None) -> HeadModel:
    """Load a head model by name.

    Args:
        backend: ``builtin`` (our own code) or ``ict`` (the ICT-FaceKit asset).
        assets: the folder of assets; only ``ict`` needs it.

    Raises:
        Invalid: ``UNKNOWN_BACKEND``.
        NotFound: ``ASSET_MISSING`` when ``ict`` has no file.
    """
    if backend == "builtin":
        from mien.morphable.builtin import BuiltinHead

        return BuiltinHead.load()
    if backend == "ict":
        from mien.morphable.ict import IctHead

        return IctHead.load(assets)
    raise Invalid("UNKNOWN_BACKEND", f"{backend!r} is no head model", hint="builtin or ict")
