"""Sections about synthetic faces: generators, pools, their judges."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from mien.params.section import Fraction, Section, Seed


class PoolParams(Section):
    """One pool of synthetic faces.

    Attributes:
        engine: name in the engine table.
        identities: ``invented``, or ``photos``: the neutral photos of the training subjects.
        units: how many units to make; at least the largest ratio that is drawn from it.
        images_per_cell: images per identity and expression.
        intensity: range the intensity is drawn from, in [0, 1].
        seed: of the pool.
        params: the engine's own parameters.
    """

    engine: str = "affect"
    identities: Literal["invented", "photos"] = "invented"
    units: int = Field(ge=1, le=10_000)
    images_per_cell: int = Field(1, ge=1, le=1000)
    intensity: tuple[Fraction, Fraction] = (0.6, 1.0)
    seed: Seed = 0
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("intensity")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the lower intensity {value[0]} is above the upper {value[1]}")
        return value
