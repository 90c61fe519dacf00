"""Say which expression the face on a photo shows, with a trained model and no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.errors import Invalid, MienError, NotFound
from mien.core.face import Face
from mien.core.faces import FaceArrays
from mien.imaging.decode import decode
from mien.imaging.detect import Detector, make_detector
from mien.imaging.preprocess import preprocess
from mien.recognition.files import SavedModel, load_model
from mien.recognition.predict import predict

PHOTOS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def run(
    model: Path, photos: Sequence[Path], *, assets: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Recognise the best face of each photo.

    Args:
        model: folder that ``mien train`` or a trial left.
        photos: files, or folders whose photos are taken in order of name.
        assets: folder of open assets, for the model's detector.

    Yields:
        Plain values: ``photo``, and either ``failure`` (what was wrong with that photo) or
        ``expression``, ``probabilities`` (calibrated), ``affect`` (with that head), ``box``.

    Raises:
        NotFound: ``MODEL_MISSING``, ``PHOTO_MISSING``, ``ASSET_MISSING``.
        Invalid: ``MODEL_FORMAT``, ``NO_PREPROCESSING``. Corrupt: ``MODEL_FILE``.
    """
    loaded = load_model(model)
    if loaded.preprocess is None:
        raise Invalid(
            "NO_PREPROCESSING",
            f"{model} does not say how its pictures were prepared",
            hint="train it with mien, or save it with its PreprocessSpec",
        )
    detector = make_detector(loaded.preprocess, assets)
    for photo in list(_files(photos)):
        yield {"photo": str(photo), **_one(photo, loaded, detector)}


def _files(photos: Iterable[Path]) -> Iterator[Path]:
    for photo in photos:
        if photo.is_dir():
            inside = sorted(p for p in photo.iterdir() if p.suffix.lower() in PHOTOS)
            if not inside:
                raise NotFound("PHOTO_MISSING", f"{photo} holds no photo", hint=f"one of {PHOTOS}")
            yield from inside
        elif photo.is_file():
            yield photo
        else:
            raise NotFound(
                "PHOTO_MISSING", f"{photo} does not exist", hint="give photos, or folders of them"
            )


def _one(photo: Path, model: SavedModel, detector: Detector) -> dict[str, Any]:
    """One bad photo is told, and the next one is looked at."""
    if model.preprocess is None:
        return {"failure": "the model has no preprocessing"}
    try:
        image = decode(photo.read_bytes(), name=photo.name)
    except MienError as error:
        return {"failure": str(error)}
    made = preprocess(image, model.preprocess, detector)
    if made.image is None:
        return {"failure": f"{photo.name}: {made.failure}"}
    said = predict(model.weights, model.spec, FaceArrays.of(made.image[np.newaxis], [-1]))
    found: dict[str, Any] = {"box": _box(made.face)}
    if said.logits.shape[1]:
        probabilities = said.probabilities(model.temperature)[0]
        named = {
            str(c): round(float(p), 4) for c, p in zip(said.classes, probabilities, strict=True)
        }
        found |= {"expression": max(named, key=lambda n: named[n]), "probabilities": named}
    if said.affect.shape[1]:
        valence, arousal = (round(float(v), 4) for v in said.affect[0])
        found["affect"] = {"valence": valence, "arousal": arousal}
    return found


def _box(face: Face | None) -> list[float] | None:
    if face is None:
        return None
    return [round(v, 1) for v in (face.box.left, face.box.top, face.box.width, face.box.height)]
