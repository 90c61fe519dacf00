"""The row a generated face has in a dataset version, and its bytes."""

from __future__ import annotations

from mien.core.generation import GeneratedFace
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.imaging.encode import encode_png

INVENTED = Licence("CC0-1.0", commercial=True, consent="no person is shown")


def face_item(face: GeneratedFace, *, source: str, digest: str, graded: bool) -> Item:
    """Write down a face: that it is synthetic, of whom, what it shows, and what it was made from.

    Args:
        face: as its engine made it.
        source: name the samples bear, ``<engine>-<seed>``.
        digest: of the engine.
        graded: the engine honours intensities, so that they are recorded.
    """
    request = face.request
    photo = request.source
    height, width = face.image.shape[:2]
    return Item(
        Sample(
            id=request.id,
            source=source,
            origin="synthetic",
            subject=photo.subject if photo else f"{source}:{request.identity}",
            expression=request.expression,
            intensity=request.intensity if graded else None,
            file=f"{request.id}.png",
            identity=request.identity,
            parents=(digest, *((photo.digest,) if photo else ())),
            landmarks=face.landmarks,
            width=width,
            height=height,
        ),
        encode_png(face.image),
    )
