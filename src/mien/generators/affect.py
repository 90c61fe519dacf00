"""The engine ``affect``: deform a neutral face, photographed or invented, by an expression."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.core.arrays import Float, UInt8
from mien.core.digest import digest_bytes, digest_of, seed_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace, SourceFace
from mien.generators.affect_invent import invent
from mien.generators.affect_paint import paint
from mien.generators.affect_params import AffectParams, parse_affect_params
from mien.generators.affect_photo import Photo, prepare
from mien.generators.affect_pose import deform
from mien.generators.affect_surface import Surface, make_surface
from mien.generators.affect_variation import develop, draw_variation
from mien.morphable.head import load_head
from mien.morphable.landmarks import multi_pie_68

_VERSION = 1  # raised whenever the same requests would give other pictures: part of the digest
_OVERSAMPLE = 2  # working pixels per output pixel and axis
_KEPT = 8  # prepared faces; requests come identity by identity


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """A face to deform: prepared photo, colours of the mouth, size of the results."""

    photo: Photo
    albedo: Float
    out: tuple[int, int]


class AffectEngine:
    """Faces by fitting, deforming and re-rendering a neutral one; the rest of the photo stays.

    Every face, neutral too, passes the same warp with a random deformation, so that its seams do
    not tell its label. Faces of one identity share shape, colours and scene.

    Source: Kollias, Cheng, Ververas, Kotsia, Zafeiriou, Deep neural network augmentation (IJCV
        2020), §3, the categorical half. We differ: another head model (it needs landmarks), an
        inverse warp of the photo where they render a texture, and no fitted affect cells.
    """

    def __init__(self, params: AffectParams, surface: Surface) -> None:
        self._params = params
        self._surface = surface
        self._digest = digest_of(
            {
                "engine": "affect",
                "version": _VERSION,
                "params": params.model_dump(mode="json"),
                "head": surface.head.digest,
            }
        )
        self._albedo = surface.head.colours({}, np.random.default_rng(0))
        self._starts: OrderedDict[str, _Start] = OrderedDict()

    @classmethod
    def from_params(cls, params: Mapping[str, Any], assets: Path | None) -> AffectEngine:
        """Build the engine.

        Raises:
            Invalid: ``ENGINE_PARAMS`` naming every key at fault.
            NotFound: ``ASSET_MISSING`` for the ict backend without its file.
        """
        checked = parse_affect_params(params)
        return cls(checked, make_surface(load_head(checked.backend, assets)))

    @property
    def name(self) -> str:
        """Name in the engine table."""
        return "affect"

    @property
    def digest(self) -> str:
        """Name of this exact instance: version, parameters, head."""
        return self._digest

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Make the faces, one per request, in order.

        Raises:
            Invalid: ``LANDMARKS_MISSING``, ``LANDMARKS_SHAPE`` or ``LANDMARKS_OUTSIDE`` for a
                photo; ``AFFECT_UNSUPPORTED`` for a point of the affect plane;
                ``INTENSITY_OUT_OF_RANGE``.
        """
        for request in requests:
            yield self._make(request)

    def _make(self, request: FaceRequest) -> GeneratedFace:
        expression = _wanted(request)
        start = self._start(request)
        seed = seed_of(self._digest, request.seed, request.identity, request.variation, expression)
        rng = np.random.default_rng(seed)
        height, width = start.photo.image.shape[:2]
        head = self._surface.head
        variation = draw_variation(
            head,
            self._params,
            expression,
            request.intensity,
            rng,
            work=(width, height),
            out=start.out,
        )
        pose = deform(self._surface, start.photo, variation.offsets, variation.turn)
        picture = paint(self._surface, start.photo, pose, start.albedo)
        points = pose.points[head.landmarks68, :2] @ variation.affine[:, :2].T
        moved = points + variation.affine[:, 2]
        return GeneratedFace(
            request=request,
            image=develop(picture, variation, start.out, rng),
            landmarks=tuple((float(x), float(y)) for x, y in moved),
            scores={"fit_residual": start.photo.fit.residual},
        )

    def _start(self, request: FaceRequest) -> _Start:
        source = request.source
        if source is None:
            key = f"invented {request.seed} {request.identity}"
        else:
            name = source.digest or digest_bytes(np.ascontiguousarray(source.image).data.cast("B"))
            key = f"photo {name} {digest_of(source.landmarks)}"
        if key in self._starts:
            self._starts.move_to_end(key)
            return self._starts[key]
        start = self._invented(request) if source is None else self._photographed(source)
        self._starts[key] = start
        while len(self._starts) > _KEPT:
            self._starts.popitem(last=False)
        return start

    def _invented(self, request: FaceRequest) -> _Start:
        side = self._params.size_px
        seed = seed_of(self._digest, request.seed, request.identity)
        made = invent(self._surface.head, self._params, seed, _OVERSAMPLE * side)
        photo = prepare(self._surface, made.image, made.landmarks, known=made.fit)
        return _Start(photo, made.albedo, (side, side))

    def _photographed(self, source: SourceFace) -> _Start:
        points = multi_pie_68(source.landmarks)
        height, width = source.image.shape[:2]
        shrink = min(1.0, self._params.photo_px / max(height, width))
        out = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        work = (_OVERSAMPLE * out[0], _OVERSAMPLE * out[1])
        image = _resized(source.image, work)
        ratio = np.array(work) / (width, height)
        photo = prepare(self._surface, image, (points + 0.5) * ratio - 0.5)
        return _Start(photo, self._albedo, out)


def _wanted(request: FaceRequest) -> Expression:
    if request.expression is None:
        raise Invalid(
            "AFFECT_UNSUPPORTED",
            f"{request.id}: the engine affect makes expressions, not points of the affect plane",
            hint="no open data maps affect to shapes; ask for an expression and an intensity",
        )
    if not 0.0 <= request.intensity <= 1.0:
        raise Invalid(
            "INTENSITY_OUT_OF_RANGE", f"{request.id}: {request.intensity} is outside [0, 1]"
        )
    return request.expression


def _resized(image: UInt8, size: tuple[int, int]) -> UInt8:
    """Bring a photo to the working size, RGB."""
    colour = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    shrinks = size[0] < colour.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: UInt8 = cv2.resize(np.ascontiguousarray(colour), size, interpolation=how)
    return resized
