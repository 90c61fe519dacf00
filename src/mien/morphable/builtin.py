"""The built-in head: a 3D morphable model defined by this code alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from mien.core.arrays import Double, Float, Int
from mien.core.digest import digest_bytes
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.morphable.builtin_anatomy import Anatomy, assemble
from mien.morphable.builtin_identity import IDENTITY, identity_fields
from mien.morphable.builtin_landmarks import find_landmarks
from mien.morphable.builtin_paint import paint
from mien.morphable.builtin_regions import gloss_of, regions_of
from mien.morphable.builtin_stencils import Stencils, cut_stencils
from mien.morphable.builtin_surface import EYE, EYE_RADIUS, LID_RADIUS
from mien.morphable.expressions import PROTOTYPES, as_expression, spread_sides
from mien.morphable.rasterise import Index
from mien.morphable.units import UNITS, unit_fields

# The modules that decide the head's shapes, units and colours.
_CODE = (
    "appearance",
    "builtin",
    "builtin_anatomy",
    "builtin_identity",
    "builtin_landmarks",
    "builtin_mesh",
    "builtin_paint",
    "builtin_parts",
    "builtin_regions",
    "builtin_stencils",
    "builtin_surface",
    "expressions",
    "unit_fields",
    "units",
)
CM = np.float32(1.0 / 7.6)  # one centimetre in the head's units; it is ±1 wide


@dataclass(frozen=True, slots=True, eq=False)
class BuiltinHead:
    """The head model ``builtin``; see ``HeadModel`` for the shared part.

    Attributes:
        name: ``builtin``.
        digest: of the code that defines it.
        scale: half the head's width, in its units.
        units: names of the action units.
        identity_names: names of the identity parameters, in order.
        triangles: (F, 3) int32.
        landmarks68: (68,) int64.
        gloss: (V,) float32.
        canonical: (V, 2) float32: azimuth about the vertical axis in radians, height in units;
            of the mean head, the same for every identity.
        regions: name → (V,) float32 weights in [0, 1].
        parts: name of a part of the mesh → its vertices.
    """

    name: str
    digest: str
    scale: float
    units: tuple[str, ...]
    identity_names: tuple[str, ...]
    triangles: Index
    landmarks68: Int
    gloss: Float
    canonical: Float
    regions: Mapping[str, Float]
    parts: Mapping[str, slice]
    _body: Anatomy
    _stencils: Stencils
    _mean: Float
    _basis: Float
    _fields: Float

    @classmethod
    def load(cls) -> BuiltinHead:
        """Return the head; built once a process."""
        return _built()

    @property
    def identity_size(self) -> int:
        """Number of identity parameters."""
        return len(self.identity_names)

    def identity_basis(self) -> Float:
        """Return the (I, V, 3) float32 displacements of one unit of each identity parameter."""
        return self._basis

    def shape(self, identity: Float) -> Float:
        """Return the (V, 3) float32 neutral shape.

        Raises:
            Invalid: ``IDENTITY_SHAPE`` when the vector is not (I,) or not finite.
        """
        values = np.asarray(identity, np.float32)
        if values.shape != (self.identity_size,) or not np.isfinite(values).all():
            raise Invalid(
                "IDENTITY_SHAPE",
                f"an identity has {self.identity_size} finite numbers, not {values.shape}",
            )
        flat = values @ self._basis.reshape(self.identity_size, -1)
        shape: Float = self._mean + flat.reshape(-1, 3)
        return shape

    def offsets(self, units: Mapping[str, float]) -> Float:
        """Return the (V, 3) float32 displacements of the given units.

        Linear in the weights, except that eyeballs keep their radius and lids stay outside them.

        Raises:
            Invalid: ``UNKNOWN_UNIT``; ``UNIT_OUT_OF_RANGE``.
        """
        moved = np.zeros(self._mean.shape, np.float32)
        lids = False
        for name, weight in units.items():
            if name not in self.units:
                raise Invalid(
                    "UNKNOWN_UNIT",
                    f"{name!r} is no action unit",
                    hint=f"one of: {', '.join(self.units)}",
                )
            if not 0.0 <= weight <= 1.0:
                raise Invalid("UNIT_OUT_OF_RANGE", f"{name} {weight} is outside [0, 1]")
            if weight:
                moved += np.float32(weight) * self._fields[self.units.index(name)]
                lids = True
        return self._settle(moved) if lids else moved

    def _settle(self, moved: Float) -> Float:
        body = self._body
        for eye, rim, sign in (("eye_L", "rim_L", 1.0), ("eye_R", "rim_R", -1.0)):
            centre = (EYE * [sign, 1.0, 1.0]).astype(np.float32)
            ball = body.parts[eye]
            _keep_radius(body.points, moved, np.arange(ball.start, ball.stop), centre, EYE_RADIUS)
            edge = np.arange(body.parts[rim].start, body.parts[rim].stop)
            edge = edge[body.rim[edge] < LID_RADIUS]
            _keep_radius(body.points, moved, edge, centre, body.rim[edge])
            near = (body.points[:, 0] * sign > 0) & (body.upper_lid + body.lower_lid > 0.01)
            lids = np.flatnonzero(near)
            _keep_outside(body.points, moved, lids, centre, LID_RADIUS - 0.01)
            first = np.arange(body.parts[rim].start, body.parts[rim].stop)
            first = first[body.rim[first] == LID_RADIUS]
            moved[first] = moved[body.follow[first]]
        return moved

    def prototype(self, expression: Expression) -> Mapping[str, float]:
        """Return the unit weights that show the expression at intensity 1.

        Raises:
            Invalid: ``UNKNOWN_EXPRESSION``.
        """
        return spread_sides(PROTOTYPES[as_expression(expression)], self.units)

    def colours(self, appearance: Mapping[str, float], rng: np.random.Generator) -> Float:
        """Return (V, 3) float32 albedo; NaN = this vertex is not drawn.

        Raises:
            Invalid: ``UNKNOWN_APPEARANCE``; ``APPEARANCE_OUT_OF_RANGE``.
        """
        return paint(self._body, self._stencils, appearance, rng)


def _keep_radius(
    points: Double, moved: Float, which: Int, centre: Float, radius: float | Double
) -> None:
    """Put moved vertices (units) back on a sphere given in cm."""
    place = points[which] + moved[which] / CM - centre
    length = np.linalg.norm(place, axis=1, keepdims=True)
    wanted = np.broadcast_to(np.asarray(radius), (len(which),))[:, None]
    moved[which] = (centre + place * (wanted / length) - points[which]) * CM


def _keep_outside(points: Double, moved: Float, which: Int, centre: Float, radius: float) -> None:
    """Push moved vertices that fell into a sphere back to its surface, straight to the front."""
    place = points[which] + moved[which] / CM - centre
    inside = np.linalg.norm(place, axis=1) < radius
    square = np.maximum(radius**2 - place[:, 0] ** 2 - place[:, 1] ** 2, 0.0)
    front = np.maximum(np.sqrt(square), place[:, 2])
    moved[which[inside], 2] += ((front - place[:, 2])[inside] * CM).astype(np.float32)


def builtin_digest() -> str:
    """Name the head by the code that defines it, without building it."""
    # Not of the arrays: their last bits differ between processors, the head is the same.
    package = files("mien.morphable")
    return digest_bytes(b"".join((package / f"{name}.py").read_bytes() for name in _CODE))


@lru_cache(maxsize=1)
def _built() -> BuiltinHead:
    body = assemble()
    mean = (body.points * CM).astype(np.float32)
    basis = (identity_fields(body) * CM).astype(np.float32)
    fields = (unit_fields(body) * CM).astype(np.float32)
    landmarks = find_landmarks(body)
    gloss = gloss_of(body)
    azimuth = np.arctan2(body.points[:, 0], body.points[:, 2])
    canonical = np.stack([azimuth, body.points[:, 1] * CM], axis=1).astype(np.float32)
    for array in (mean, basis, fields, body.triangles, landmarks, gloss, canonical):
        array.setflags(write=False)
    return BuiltinHead(
        name="builtin",
        digest=builtin_digest(),
        scale=1.0,
        units=UNITS,
        identity_names=tuple(IDENTITY),
        triangles=body.triangles,
        landmarks68=landmarks,
        gloss=gloss,
        canonical=canonical,
        regions=MappingProxyType(regions_of(body)),
        parts=MappingProxyType(dict(body.parts)),
        _body=body,
        _stencils=cut_stencils(body),
        _mean=mean,
        _basis=basis,
        _fields=fields,
    )
