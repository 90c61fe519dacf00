"""Turn what upstream offers into the files our rooms read. Pure: paths in, files out."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.core.arrays import Float, Int
from mien.core.errors import Corrupt

ICT_MODES = 100
LONDON_SIDE_PX = 675
LONDON_POINTS = 189
_SHAPES_BOTH_SIDES = (
    "PupilDilate browDown browInnerUp browOuterUp cheekPuff cheekRaiser cheekSquint eyeBlink "
    "eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide mouthDimple mouthFrown "
    "mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer"
)
_SHAPES_ONE = (
    "jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight "
    "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper"
)
ICT_EXPRESSIONS = tuple(
    sorted(
        [f"{name}_{side}" for name in _SHAPES_BOTH_SIDES.split() for side in "LR"]
        + _SHAPES_ONE.split()
    )
)
_FACE_ID = re.compile(r"\d{3}")


def ict_paths(modes: int = ICT_MODES) -> list[str]:
    """List the upstream files of the head."""
    shapes = [f"identity{i:03}" for i in range(modes)] + list(ICT_EXPRESSIONS)
    names = ["generic_neutral_mesh.obj", "vertex_indices.json", *(f"{s}.obj" for s in shapes)]
    return [f"FaceXModel/{name}" for name in names]


def convert_ict(upstream: Path, out: Path, *, modes: int = ICT_MODES) -> None:
    """Write ``ict_facekit.npz``: shapes as int16 offsets from neutral × a scale each.

    Args:
        upstream: folder with ``FaceXModel/``.
        out: folder to write to.
        modes: number of identity shapes.

    Raises:
        Corrupt: ``ASSET_CONTENT`` when a mesh cannot be read or has other vertices.
    """
    folder = upstream / "FaceXModel"
    neutral, uv, faces = _read_obj(folder / "generic_neutral_mesh.obj")
    quads, tris = (
        np.array([f for f in faces if len(f) == n], dtype=np.int32).reshape(-1, n, 2)
        for n in (4, 3)
    )
    identity, identity_scale = _offsets(folder, [f"identity{i:03}" for i in range(modes)], neutral)
    expression, expression_scale = _offsets(folder, list(ICT_EXPRESSIONS), neutral)
    np.savez_compressed(
        out / "ict_facekit.npz",
        allow_pickle=False,
        neutral=neutral,
        identity=identity,
        identity_scale=identity_scale,
        expression=expression,
        expression_scale=expression_scale,
        expression_names=np.array(ICT_EXPRESSIONS),
        quads=quads[:, :, 0],
        quad_uv=quads[:, :, 1],
        tris=tris[:, :, 0],
        uv=uv,
        landmarks68=_landmarks(folder / "vertex_indices.json", len(neutral)),
    )


def london_people(info: Path) -> list[str]:
    """Read the face ids; they become file names, so nothing else than three digits is taken.

    Raises:
        Corrupt: ``ASSET_CONTENT``.
    """
    with info.open(encoding="utf-8", newline="") as file:
        people = [row.get("face_id", "") for row in csv.DictReader(file)]
    if not people or any(not _FACE_ID.fullmatch(p) for p in people):
        raise _content(info, "its face ids are not three digits each")
    return people


def london_paths(people: list[str]) -> list[str]:
    """List the upstream files of these people."""
    return [
        path
        for p in people
        for path in (
            f"inst/neutral_front/{p}_03.jpg",
            f"inst/neutral_front/{p}_03.tem",
            f"inst/smiling_front/{p}_08.jpg",
        )
    ]


def convert_london(upstream: Path, out: Path) -> None:
    """Write the photos at 675 px, ``landmarks.json`` in pixels of these, and ``info.csv``.

    Raises:
        Corrupt: ``ASSET_CONTENT`` when a photo or template cannot be read.
    """
    info = upstream / "data-raw/london_info.csv"
    landmarks: dict[str, list[list[float]]] = {}
    for folder in ("neutral", "smiling"):
        (out / folder).mkdir()
    for person in london_people(info):
        photo = f"neutral/{person}_03.jpg"
        source = upstream / f"inst/neutral_front/{person}_03.jpg"
        scale = _shrink(source, out / photo)
        points = _read_tem(source.with_suffix(".tem"))
        landmarks[photo] = [[round(x * scale, 3), round(y * scale, 3)] for x, y in points]
        _shrink(upstream / f"inst/smiling_front/{person}_08.jpg", out / f"smiling/{person}_08.jpg")
    (out / "landmarks.json").write_text(json.dumps(landmarks), encoding="utf-8")
    (out / "info.csv").write_bytes(info.read_bytes())


def _shrink(source: Path, target: Path) -> float:
    """Write a photo at 675 px; returns the factor."""
    image = cv2.imread(str(source), cv2.IMREAD_COLOR)
    if image is None or image.shape[0] != image.shape[1]:
        raise _content(source, "it is not a square photo")
    side = (LONDON_SIDE_PX, LONDON_SIDE_PX)
    small = cv2.resize(image, side, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target), small, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return LONDON_SIDE_PX / float(image.shape[0])


def _read_tem(path: Path) -> list[tuple[float, float]]:
    """Read a WebMorph template: the number of points, then one ``x<tab>y`` a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        count = int(lines[0])
        points = [(float(x), float(y)) for x, y in (line.split() for line in lines[1 : count + 1])]
    except (ValueError, IndexError) as error:
        raise _content(path, f"it is not a template: {error}") from None
    if len(points) != LONDON_POINTS:
        raise _content(path, f"it has {len(points)} points instead of {LONDON_POINTS}")
    return points


def _read_obj(path: Path) -> tuple[Float, Float, list[list[tuple[int, int]]]]:
    """Read a Wavefront mesh: vertices (V, 3), texture points (T, 2), faces of (vertex, uv)."""
    vertices, uv, faces = [], [], []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif kind == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif kind == "f":
                faces.append([_corner(c) for c in rest])
    except (ValueError, IndexError) as error:
        raise _content(path, f"it is not a mesh: {error}") from None
    if not vertices:
        raise _content(path, "it has no vertices")
    return np.array(vertices, np.float32), np.array(uv, np.float32).reshape(-1, 2), faces


def _corner(text: str) -> tuple[int, int]:
    """Read ``vertex/uv``, counted from one."""
    vertex, _, uv = text.partition("/")
    return int(vertex) - 1, int(uv.partition("/")[0]) - 1


def _offsets(folder: Path, names: list[str], neutral: Float) -> tuple[Any, Float]:
    """Return int16 offsets (N, V, 3) and their scales (N, 1, 1) float32."""
    steps = np.empty((len(names), *neutral.shape), np.int16)
    scales = np.empty((len(names), 1, 1), np.float32)
    for i, name in enumerate(names):
        vertices, _, _ = _read_obj(folder / f"{name}.obj")
        if vertices.shape != neutral.shape:
            wrong = f"it has {len(vertices)} vertices, neutral has {len(neutral)}"
            raise _content(folder / f"{name}.obj", wrong)
        offset = vertices - neutral
        scales[i] = np.abs(offset).max() / 32767 or 1.0
        steps[i] = np.rint(offset / scales[i])
    return steps, scales


def _landmarks(path: Path, vertices: int) -> Int:
    try:
        found = np.array(json.loads(path.read_text(encoding="utf-8"))["idx_to_landmark_verts"])
    except (ValueError, KeyError, TypeError) as error:
        raise _content(path, f"it names no landmarks: {error}") from None
    if found.shape != (68,) or found.min() < 0 or found.max() >= vertices:
        raise _content(path, "its landmarks are not 68 vertices of the mesh")
    landmarks: Int = found.astype(np.int32)
    return landmarks


def _content(path: Path, what: str) -> Corrupt:
    return Corrupt(
        "ASSET_CONTENT",
        f"{path.name} is not what was expected: {what}",
        hint="pull the asset again; if that does not help, upstream or the mirror has changed",
    )
