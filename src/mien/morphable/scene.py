"""How a head is looked at: pose, framing, light, background and camera faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mien.core.errors import invalid_fields

Colour = tuple[float, float, float]
BackgroundKind = Literal["colour", "gradient", "texture"]


@dataclass(frozen=True, slots=True)
class Light:
    """A distant light.

    Attributes:
        azimuth_deg: where it stands, 0 = at the camera, positive = to the image right.
        elevation_deg: positive = above the camera.
        strength: of its diffuse part, ≥ 0.
        colour: RGB multipliers around 1.
    """

    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    strength: float = 1.0
    colour: Colour = (1.0, 1.0, 1.0)

    def direction(self) -> tuple[float, float, float]:
        """Return the unit vector towards the light (x right, y up, z to the camera)."""
        azimuth, elevation = np.deg2rad((self.azimuth_deg, self.elevation_deg))
        return (
            float(np.sin(azimuth) * np.cos(elevation)),
            float(np.sin(elevation)),
            float(np.cos(azimuth) * np.cos(elevation)),
        )


@dataclass(frozen=True, slots=True)
class Background:
    """What is behind the head.

    Attributes:
        kind: ``colour``; ``gradient`` from ``colour`` at the top to ``second`` at the bottom;
            ``texture``: smooth patches between both, drawn by ``seed``.
        colour: RGB in [0, 1].
        second: RGB in [0, 1].
        seed: of the texture.
    """

    kind: BackgroundKind = "colour"
    colour: Colour = (0.62, 0.64, 0.66)
    second: Colour = (0.42, 0.44, 0.47)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a picture that is not the head.

    Attributes:
        yaw_deg: positive turns the nose to the image right.
        pitch_deg: positive turns the nose up.
        roll_deg: positive turns the head clockwise in the image.
        eye_distance: of the eye centres in the frontal view, as a fraction of the image side.
        eye_line: height of the eyes in the frontal view, as a fraction from the top.
        shift: of the head to the right and down, as fractions of the image side.
        camera_distance: in eye distances from the eyes; 0 = orthographic.
        key: the main light.
        fill: the second, weaker light.
        ambient: light from everywhere, ≥ 0.
        wrap: how far light reaches round the edge (0 = Lambert, 1 = half-Lambert), in [0, 1].
        occlusion: darkening of hollows, in [0, 1].
        highlight: strength of the mirror-like part, ≥ 0.
        background: what is behind.
        blur_px: sigma of the lens blur in output pixels.
        noise: sigma of the sensor noise in grey levels of 255.
        seed: of the sensor noise.
        supersample: samples per output pixel and axis, 1..4.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    eye_distance: float = 0.3
    eye_line: float = 0.42
    shift: tuple[float, float] = (0.0, 0.0)
    camera_distance: float = 14.0
    key: Light = field(default_factory=lambda: Light(-25.0, 35.0, 0.75))
    fill: Light = field(default_factory=lambda: Light(40.0, 5.0, 0.25))
    ambient: float = 0.3
    wrap: float = 0.35
    occlusion: float = 0.6
    highlight: float = 0.5
    background: Background = field(default_factory=Background)
    blur_px: float = 0.0
    noise: float = 0.0
    seed: int = 0
    supersample: int = 2

    def __post_init__(self) -> None:
        wrong: dict[str, str] = {}
        for name in ("yaw_deg", "pitch_deg", "roll_deg"):
            if not -180.0 <= getattr(self, name) <= 180.0:
                wrong[name] = f"{getattr(self, name)} is outside [-180, 180]"
        if not 0.02 <= self.eye_distance <= 2.0:
            wrong["eye_distance"] = f"{self.eye_distance} is outside [0.02, 2]"
        if self.camera_distance and self.camera_distance < 3.0:
            wrong["camera_distance"] = f"{self.camera_distance} is inside the head (0 or ≥ 3)"
        for name in ("wrap", "occlusion"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                wrong[name] = f"{getattr(self, name)} is outside [0, 1]"
        for name in ("ambient", "highlight", "blur_px", "noise"):
            if not getattr(self, name) >= 0.0:
                wrong[name] = f"{getattr(self, name)} is negative"
        if not 1 <= self.supersample <= 4:
            wrong["supersample"] = f"{self.supersample} is outside 1..4"
        if wrong:
            raise invalid_fields("SCENE", "the scene is wrong", wrong)


def sample_scene(rng: np.random.Generator, spread: float = 1.0) -> Scene:
    """Draw a scene.

    Args:
        rng: where the draw comes from.
        spread: 0 = frontal, even light, plain background; 1 = moderate pose, light, camera faults.
    """
    normal = rng.standard_normal(5)
    tint = 1.0 + 0.05 * spread * rng.standard_normal(3)
    patches = rng.uniform(0.15, 0.85, (2, 1)) + rng.uniform(-0.12, 0.12, (2, 3))
    plain = np.array([(0.62, 0.64, 0.66), (0.42, 0.44, 0.47)])
    colours = plain + min(spread, 1.0) * (patches - plain)
    kinds: tuple[BackgroundKind, ...] = ("colour", "gradient", "texture")
    return Scene(
        yaw_deg=float(np.clip(9.0 * spread * normal[0], -40, 40)),
        pitch_deg=float(np.clip(5.0 * spread * normal[1], -25, 25)),
        roll_deg=float(np.clip(4.0 * spread * normal[2], -25, 25)),
        eye_distance=0.3 * float(np.exp(0.04 * spread * normal[3])),
        shift=(0.012 * spread * float(normal[4]), 0.012 * spread * float(rng.standard_normal())),
        key=Light(
            azimuth_deg=float(rng.uniform(-50, 50) * spread - 10 * (1 - min(spread, 1.0))),
            elevation_deg=float(30 + rng.uniform(-25, 20) * spread),
            strength=float(0.75 * np.exp(0.15 * spread * rng.standard_normal())),
            colour=(float(tint[0]), float(tint[1]), float(tint[2])),
        ),
        fill=Light(float(rng.uniform(-70, 70) * spread), 5.0, float(rng.uniform(0.1, 0.35))),
        ambient=float(rng.uniform(0.22, 0.38)),
        background=Background(
            kind=kinds[int(rng.integers(3))] if spread > 0 else "colour",
            colour=_triple(colours[0]),
            second=_triple(colours[1]),
            seed=int(rng.integers(2**31)),
        ),
        blur_px=float(rng.uniform(0.0, 0.5) * spread),
        noise=float(rng.uniform(0.0, 4.0) * spread),
        seed=int(rng.integers(2**31)),
    )


def _triple(values: np.ndarray) -> Colour:
    return (float(values[0]), float(values[1]), float(values[2]))
