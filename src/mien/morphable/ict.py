"""The ICT-FaceKit head: 100 identity modes, 57 expression shapes, from one npz of plain arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mien.core.arrays import AnyArray, Float, Int
from mien.core.digest import digest_bytes, digest_of
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import Expression
from mien.morphable.rasterise import Index
from mien.morphable.tissue import tissues

ASSET = Path("ict_facekit/ict_facekit.npz")
_COLOURING = 1  # raised whenever colours or prototypes change: part of the digest

# Vertex ranges of the upstream mesh; the transparent eye parts and eyelashes after 24590 would
# become opaque bars and are left out.
FACE_END = 9409
HEAD_END = 11248
SOCKET_END = 13294
EYE_SOCKET_END = 14062
GUMS_END = 17039
TEETH_END = 21451
DRAWN_END = 24591

PARTS: Mapping[str, slice] = MappingProxyType(
    {
        "skin": slice(0, HEAD_END),
        "mouth": slice(HEAD_END, SOCKET_END),
        "eye_socket": slice(SOCKET_END, EYE_SOCKET_END),
        "gums": slice(EYE_SOCKET_END, GUMS_END),
        "teeth": slice(GUMS_END, TEETH_END),
        "eye": slice(TEETH_END, DRAWN_END),
    }
)

_ARRAYS: Mapping[str, tuple[int, ...]] = {
    "neutral": (-1, 3),
    "identity": (-1, -1, 3),
    "identity_scale": (-1, 1, 1),
    "expression": (-1, -1, 3),
    "expression_scale": (-1, 1, 1),
    "expression_names": (-1,),
    "quads": (-1, 4),
    "tris": (-1, 3),
    "landmarks68": (68,),
}

_BOTH_SIDES: Mapping[Expression, Mapping[str, float]] = {
    Expression.ANGER: {
        "browDown": 1.0,
        "eyeSquint": 0.6,
        "eyeWide": 0.3,
        "mouthPress": 0.7,
        "noseSneer": 0.35,
        "mouthFrown": 0.2,
    },
    Expression.CONTEMPT: {
        "mouthSmile_L": 0.6,
        "mouthDimple_L": 0.8,
        "mouthPress": 0.3,
        "cheekSquint_L": 0.35,
        "eyeSquint": 0.15,
        "browOuterUp_L": 0.25,
    },
    Expression.DISGUST: {
        "noseSneer": 1.0,
        "mouthUpperUp": 0.5,
        "mouthShrugUpper": 0.4,
        "mouthLowerDown": 0.2,
        "browDown": 0.6,
        "cheekSquint": 0.5,
        "eyeSquint": 0.5,
        "mouthFrown": 0.3,
    },
    Expression.FEAR: {
        "browInnerUp": 1.0,
        "browOuterUp": 0.3,
        "browDown": 0.35,
        "eyeWide": 1.0,
        "mouthStretch": 1.0,
        "jawOpen": 0.25,
        "mouthLowerDown": 0.3,
    },
    Expression.HAPPINESS: {
        "mouthSmile": 1.0,
        "cheekSquint": 0.9,
        "mouthUpperUp": 0.25,
        "mouthLowerDown": 0.25,
        "eyeSquint": 0.3,
    },
    Expression.NEUTRAL: {},
    Expression.SADNESS: {
        "browInnerUp": 1.0,
        "browDown": 0.35,
        "mouthFrown": 1.0,
        "mouthShrugLower": 0.6,
        "eyeLookDown": 0.35,
        "eyeBlink": 0.2,
    },
    Expression.SURPRISE: {
        "browInnerUp": 1.0,
        "browOuterUp": 1.0,
        "eyeWide": 0.9,
        "jawOpen": 0.7,
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class IctHead:
    """The ICT-FaceKit morphable head as a ``HeadModel``.

    Attributes:
        name: ``ict``.
        digest: of the arrays and of how they are coloured.
        units: the 57 blend shapes, ``_L`` and ``_R`` are the subject's sides.
        triangles: (F, 3) int32; quads split along their first diagonal.
        landmarks68: (68,) int64.
        parts: name of a part of the mesh → its vertices.
        gloss: (V,) float32.
        mean: (V, 3) float32, the neutral head of identity 0.
        identities: (I, V, 3) float32.
        shapes: (U, V, 3) float32.

    Source: Li et al., Learning formation of physically-based face attributes (CVPR 2020): linear
        identity and expression bases over one topology. Colours are our own: the asset has none.
    """

    name: str
    digest: str
    units: tuple[str, ...]
    triangles: Index
    landmarks68: Int
    parts: Mapping[str, slice]
    gloss: Float
    mean: Float
    identities: Float
    shapes: Float

    @classmethod
    def load(cls, assets: Path | None) -> IctHead:
        """Load the head from a folder of assets; the same file is kept in memory.

        Raises:
            NotFound: ``ASSET_MISSING``.
            Corrupt: ``ASSET_CORRUPT`` when the file is not the expected set of plain arrays.
        """
        path = None if assets is None else assets / ASSET
        if path is None or not path.is_file():
            where = "no folder of assets is set" if path is None else f"{path} does not exist"
            raise NotFound(
                "ASSET_MISSING",
                f"the ict head needs ICT-FaceKit, but {where}",
                hint="set MIEN_ASSETS to the folder of assets, or run: mien assets pull ict; "
                "or choose the builtin head",
                details={"asset": "ict"},
            )
        status = path.stat()
        return _load(path.resolve(), status.st_mtime_ns, status.st_size)

    @property
    def scale(self) -> float:
        """Half the width of the head, in the model's units (about centimetres)."""
        return float(self.mean[:HEAD_END, 0].max())

    @property
    def identity_size(self) -> int:
        """Number of identity modes."""
        return len(self.identities)

    def identity_basis(self) -> Float:
        """Return the (I, V, 3) float32 displacements of one standard deviation of each mode."""
        return self.identities

    def shape(self, identity: Float) -> Float:
        """Return the (V, 3) float32 neutral shape of an identity; modes at 0 cost nothing."""
        used = np.flatnonzero(identity)
        weights = np.asarray(identity, np.float32)[used]
        return self.mean + _sum(weights, self.identities[used])

    def offsets(self, units: Mapping[str, float]) -> Float:
        """Return the (V, 3) float32 displacements of the given blend shapes.

        Raises:
            Invalid: ``UNKNOWN_UNIT``; ``UNIT_OUT_OF_RANGE`` outside [0, 1].
        """
        for unit, weight in units.items():
            if unit not in self.units:
                raise Invalid("UNKNOWN_UNIT", f"{unit!r} is no blend shape of the ict head")
            if not 0.0 <= weight <= 1.0:
                raise Invalid("UNIT_OUT_OF_RANGE", f"{unit} = {weight} is outside [0, 1]")
        used = {self.units.index(unit): weight for unit, weight in units.items() if weight > 0.0}
        weights = np.array(list(used.values()), np.float32)
        return _sum(weights, self.shapes[list(used)])

    def prototype(self, expression: Expression) -> Mapping[str, float]:
        """Return the blend-shape weights that show the expression at intensity 1.

        Source: FACS prototypes of the Ekman six in terms of these shapes; weights found by eye.
        """
        wanted: dict[str, float] = {}
        for unit, weight in _BOTH_SIDES[expression].items():
            names = (unit,) if unit in self.units else (f"{unit}_L", f"{unit}_R")
            wanted.update(dict.fromkeys(names, weight))
        return wanted

    def colours(self, appearance: Mapping[str, float], rng: np.random.Generator) -> Float:
        """Return (V, 3) float32 albedo in [0, 1] (sRGB); see ``ict_colours.paint``."""
        from mien.morphable.ict_colours import paint

        return paint(self, appearance, rng)


def _sum(weights: Float, shapes: Float) -> Float:
    flat = weights @ shapes.reshape(len(weights), shapes.shape[1] * 3)
    total: Float = flat.reshape(shapes.shape[1:])
    return total


@lru_cache(maxsize=2)
def _load(path: Path, _modified_ns: int, _size: int) -> IctHead:
    arrays = _read(path)
    kept = slice(0, DRAWN_END)
    identities = arrays["identity"][:, kept] * arrays["identity_scale"].astype(np.float32)
    shapes = arrays["expression"][:, kept] * arrays["expression_scale"].astype(np.float32)
    mean = arrays["neutral"][kept].astype(np.float32)
    for array in (identities, shapes, mean):
        array.setflags(write=False)
    quads, triangles = arrays["quads"], arrays["tris"]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], triangles])
    gloss = np.choose(tissues(PARTS, DRAWN_END), [0.12, 0.9, 0.45, 0.55, 0.1]).astype(np.float32)
    named = {
        name: digest_bytes(np.ascontiguousarray(a).data.cast("B")) for name, a in arrays.items()
    }
    return IctHead(
        name="ict",
        digest=digest_of({"arrays": named, "colouring": _COLOURING}),
        units=tuple(str(name) for name in arrays["expression_names"]),
        triangles=np.ascontiguousarray(faces[(faces < DRAWN_END).all(axis=1)], np.int32),
        landmarks68=arrays["landmarks68"].astype(np.int64),
        parts=PARTS,
        gloss=gloss,
        mean=mean,
        identities=np.ascontiguousarray(identities, np.float32),
        shapes=np.ascontiguousarray(shapes, np.float32),
    )


def _read(path: Path) -> dict[str, AnyArray]:
    """Read and check the arrays.

    Raises:
        Corrupt: ``ASSET_CORRUPT``.
    """
    hint = "fetch it again: mien assets pull ict"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Corrupt("ASSET_CORRUPT", f"{path} is not the ict head: {error}", hint=hint) from None
    vertices = len(arrays["neutral"])
    for name, shape in _ARRAYS.items():
        found = arrays[name].shape
        if len(found) != len(shape) or any(
            w not in (-1, f) for w, f in zip(shape, found, strict=True)
        ):
            raise Corrupt("ASSET_CORRUPT", f"{path}: {name} has the shape {found}", hint=hint)
    widths = {arrays["identity"].shape[1], arrays["expression"].shape[1], vertices}
    indices = [arrays[name] for name in ("quads", "tris", "landmarks68")]
    if (
        len(widths) > 1
        or vertices < DRAWN_END
        or len(arrays["expression"]) != len(arrays["expression_names"])
        or any(i.dtype.kind != "i" or i.min() < 0 or i.max() >= vertices for i in indices)
    ):
        raise Corrupt("ASSET_CORRUPT", f"{path}: its arrays do not fit together", hint=hint)
    return arrays
