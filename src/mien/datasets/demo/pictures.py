"""How people of the demo databases are photographed: scene, camera, things before the face."""

from __future__ import annotations

import cv2
import numpy as np

from mien.core.arrays import UInt8
from mien.core.face import Point
from mien.datasets.demo.shifts import Shift
from mien.morphable.scene import Background, Colour, Light, Scene

_EYE_DISTANCE = 0.32  # fraction of the side
_EYE_LINE = 0.39
OCCLUDERS = ("sunglasses", "scarf", "hand", "bar")


def draw_scene(shift: Shift, size_px: int, rng: np.random.Generator) -> Scene:
    """Draw the scene of one picture."""
    turns = rng.standard_normal(3) * shift.pose_deg
    tint = 1.0 + shift.tint * rng.standard_normal(3)
    azimuth, spread, elevation, rise = shift.key
    zoom, offset = shift.framing
    return Scene(
        yaw_deg=float(np.clip(turns[0], -45, 45)),
        pitch_deg=float(np.clip(turns[1], -25, 25)),
        roll_deg=float(np.clip(turns[2], -25, 25)),
        eye_distance=_EYE_DISTANCE * float(np.exp(zoom * rng.standard_normal())),
        eye_line=_EYE_LINE,
        shift=(offset * float(rng.standard_normal()), offset * float(rng.standard_normal())),
        key=Light(
            float(azimuth + spread * rng.standard_normal()),
            float(np.clip(elevation + rise * rng.standard_normal(), -40, 80)),
            float(rng.uniform(*shift.key_strength)),
            _triple(np.clip(tint, 0.6, 1.4)),
        ),
        fill=Light(float(rng.uniform(-70, 70)), 5.0, float(rng.uniform(0.1, 0.3))),
        ambient=float(rng.uniform(*shift.ambient)),
        background=_background(shift, rng),
        blur_px=float(rng.uniform(0.0, shift.blur_px)) * size_px / 64,
        noise=float(rng.uniform(0.3, 1.0)) * shift.noise,
        seed=int(rng.integers(2**31)),
    )


def _background(shift: Shift, rng: np.random.Generator) -> Background:
    first, second = rng.uniform(*shift.backdrop, 2)
    colours = rng.normal(0.0, 0.04 if shift.textured else 0.02, (2, 3))
    textured = bool(rng.uniform() < shift.textured)
    return Background(
        kind="texture" if textured else "gradient",
        colour=_triple(np.clip(first + colours[0], 0, 1)),
        second=_triple(np.clip((second if textured else first - 0.08) + colours[1], 0, 1)),
        seed=int(rng.integers(2**31)),
    )


def _triple(values: np.ndarray) -> Colour:
    return (float(values[0]), float(values[1]), float(values[2]))


def develop(image: UInt8, shift: Shift, rng: np.random.Generator) -> UInt8:
    """Apply the picture's tone curve."""
    exponent = float(np.exp(shift.gamma * rng.standard_normal()))
    curve = np.rint(255.0 * (np.arange(256) / 255.0) ** exponent).astype(np.uint8)
    toned: UInt8 = cv2.LUT(image, curve)
    return toned


def occlude(
    image: UInt8, landmarks: tuple[Point, ...], shift: Shift, rng: np.random.Generator
) -> tuple[UInt8, str]:
    """Put something before some of the faces; returns the picture and what it is, or ``none``."""
    draw = float(rng.uniform())
    kind = OCCLUDERS[int(rng.integers(len(OCCLUDERS)))]
    if draw >= shift.occlusion:
        return image, "none"
    points = np.asarray(landmarks)
    size = image.shape[0]
    fine = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    _COVERS[kind](fine, points * 4 + 1.5, rng)
    covered: UInt8 = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return covered, kind


def _sunglasses(image: UInt8, points: np.ndarray, rng: np.random.Generator) -> None:
    left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    apart = float(np.linalg.norm(right - left))
    tilt = float(np.degrees(np.arctan2(*(right - left)[::-1])))
    dark = [int(v) for v in rng.integers(8, 50, 3)]
    half = (int(0.42 * apart), int(rng.uniform(0.26, 0.36) * apart))
    for centre in (left, right):
        cv2.ellipse(image, _at(centre), half, tilt, 0, 360, dark, -1, cv2.LINE_AA)
    cv2.line(image, _at(left), _at(right), dark, max(2, int(0.06 * apart)), cv2.LINE_AA)


def _scarf(image: UInt8, points: np.ndarray, rng: np.random.Generator) -> None:
    # From somewhere between nose and chin downwards, hanging between the jaw's corners.
    share = rng.uniform(0.35, 0.85)
    height = points[33, 1] + share * (points[8, 1] - points[33, 1])
    drop = 0.15 * (points[8, 1] - points[33, 1])
    edge = np.array(
        [
            [points[1, 0] - 3 * drop, height - 2 * drop],
            [points[33, 0], height + drop],
            [points[15, 0] + 3 * drop, height - 2 * drop],
            [image.shape[1], image.shape[0] + 4],
            [0, image.shape[0] + 4],
        ]
    )
    colour = [int(v) for v in rng.integers(20, 230, 3)]
    cv2.fillPoly(image, [np.rint(edge).astype(np.int32)], colour, cv2.LINE_AA)
    for k in range(1, 5):
        fold = edge[:3] + np.array([0.0, 1.5 * k * drop])
        darker = [int(0.8 * v) for v in colour]
        cv2.polylines(image, [np.rint(fold).astype(np.int32)], False, darker, 2, cv2.LINE_AA)


def _hand(image: UInt8, points: np.ndarray, rng: np.random.Generator) -> None:
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    cheek = points[14 if side > 0 else 2]
    chin = points[8]
    unit = float(np.linalg.norm(points[45] - points[36]))
    tone = float(rng.uniform(0.35, 0.9))
    skin = np.array([235, 190, 165]) * tone
    palm = cheek + np.array([0.1 * side, 0.45]) * unit
    colour = [int(v) for v in skin]
    line = [int(0.75 * v) for v in skin]
    half = (int(0.26 * unit), int(0.42 * unit))
    cv2.ellipse(image, _at(palm), half, 25 * side, 0, 360, colour, -1, cv2.LINE_AA)
    reach = rng.uniform(0.5, 0.95)
    for k in range(4):
        start = palm + np.array([-0.1 * side, -0.3 + 0.17 * k]) * unit
        tip = start + np.array([-reach * side * (0.75 - 0.06 * k), 0.08 * k - 0.16]) * unit
        width = max(2, int(0.15 * unit))
        cv2.line(image, _at(start), _at(tip), line, width + 2, cv2.LINE_AA)
        cv2.line(image, _at(start), _at(tip), colour, width, cv2.LINE_AA)
    wrist = np.array([palm[0] + 0.25 * side * unit, max(image.shape[0], chin[1]) + 4.0])
    cv2.line(image, _at(palm), _at(wrist), colour, max(2, int(0.4 * unit)), cv2.LINE_AA)


def _bar(image: UInt8, points: np.ndarray, rng: np.random.Generator) -> None:
    del points
    height = image.shape[0]
    top = int(rng.uniform(0.0, 0.92) * height)
    thick = int(rng.uniform(0.06, 0.14) * height)
    bright = bool(rng.uniform() < 0.5)
    paper, ink = (235, 20) if bright else (20, 235)
    image[top : top + thick] = paper
    letters = "".join(chr(int(c)) for c in rng.integers(65, 91, 14))
    scale = thick / 30.0
    place = (int(rng.uniform(0, 0.2) * height), top + int(0.8 * thick))
    cv2.putText(image, letters, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (ink,) * 3, 1, cv2.LINE_AA)


_COVERS = {"sunglasses": _sunglasses, "scarf": _scarf, "hand": _hand, "bar": _bar}


def _at(point: np.ndarray) -> tuple[int, int]:
    return (round(float(point[0])), round(float(point[1])))
