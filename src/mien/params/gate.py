"""Parameters of the gate that a challenger must pass to become champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mien.params.section import Name, Section


class GateParams(Section):
    """What ``mien promote`` holds a challenger against.

    Attributes:
        set: name among ``preprocess.sets``, never used for training or selection; each use of it
            is recorded, for reuse wears it out. None = nothing can be promoted.
        margin: the lower bound of challenger − champion macro-F1 stays above −margin.
        recall_drop: of any one class, at most.
        max_ece: expected calibration error, at most.
        variant: of the network that is served: ``fp32``, or ``int8`` where it loses little.
        threshold: answers abstain where the best label is less probable than this.
    """

    set: Name | None = None
    margin: float = Field(0.01, ge=0, lt=1)
    recall_drop: float = Field(0.05, ge=0, le=1)
    max_ece: float = Field(0.1, gt=0, le=1)
    variant: Literal["fp32", "int8"] = "fp32"
    threshold: float = Field(0.0, ge=0, le=1)
