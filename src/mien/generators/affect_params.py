"""Parameters of the affect engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.core.errors import faults_of, invalid_fields


class AffectParams(BaseModel):
    """Everything that decides what the affect engine draws, besides the requests.

    Attributes:
        backend: head model, ``builtin`` or ``ict``.
        size_px: side of the invented faces.
        photo_px: longest side of faces made from photos; smaller photos keep their size.
        variation: spread of the expression units between two faces of one cell; 0 = none.
        exaggeration: factor on the displacements; None = 1, and 1.2 for the milder ict shapes.
        deformation: spread of the random deformation that every face gets, neutral too; > 0, so
            that no face is an untouched photo.
        turn_deg: standard deviation of the random turn of the head, each axis.
        scene_spread: spread of pose, light and background of invented identities.
        identity_spread: spread of the shapes of invented identities; 1 = as in the population.
        gain: standard deviation of log brightness.
        tint: standard deviation of the log gain of each colour channel.
        shift: standard deviation of the picture's shift, as a fraction of its side.
        roll_deg: standard deviation of the picture's rotation.
        noise: largest sigma of the sensor noise, in grey levels of 255.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["builtin", "ict"] = "builtin"
    size_px: int = Field(128, ge=32, le=1024)
    photo_px: int = Field(256, ge=64, le=1024)
    variation: float = Field(1.0, ge=0.0, le=2.0)
    exaggeration: float | None = Field(None, ge=0.5, le=2.0)
    deformation: float = Field(1.0, gt=0.0, le=3.0)
    turn_deg: float = Field(1.5, ge=0.0, le=8.0)
    scene_spread: float = Field(0.6, ge=0.0, le=2.0)
    identity_spread: float = Field(0.8, gt=0.0, le=1.5)
    gain: float = Field(0.08, ge=0.0, le=0.5)
    tint: float = Field(0.012, ge=0.0, le=0.2)
    shift: float = Field(0.004, ge=0.0, le=0.05)
    roll_deg: float = Field(1.0, ge=0.0, le=10.0)
    noise: float = Field(2.5, ge=0.0, le=20.0)

    @property
    def strength(self) -> float:
        """The factor on the displacements of an expression."""
        if self.exaggeration is not None:
            return self.exaggeration
        return 1.2 if self.backend == "ict" else 1.0


def parse_affect_params(params: Mapping[str, Any]) -> AffectParams:
    """Validate plain values.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming every key at fault.
    """
    try:
        return AffectParams.model_validate(dict(params))
    except ValidationError as error:
        raise invalid_fields(
            "ENGINE_PARAMS", "the parameters of the engine affect are wrong", faults_of(error)
        ) from None
