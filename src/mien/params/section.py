"""What all sections of the parameters share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # names become folders and DVC stages
Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A part of the parameters; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
