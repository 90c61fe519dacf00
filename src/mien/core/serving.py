"""What the champion says about faces, and who becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mien.core.errors import Invalid
from mien.core.expression import Affect, Expression
from mien.core.face import Box

MODEL = "expression"  # the registered model that is meant when none is named
CHAMPION = "champion"
CHALLENGER = "challenger"
MAX_IMAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """A picture, and what is asked of it.

    Attributes:
        image: PNG, JPEG, WebP, TIFF or BMP; at most 16 MB.
        id: comes back unchanged.
        threshold: below this probability of the best label the answer abstains, in [0, 1]; None =
            the model's own.
        max_faces: at most so many faces, the largest; 0 = all.
    """

    image: bytes
    id: str = ""
    threshold: float | None = None
    max_faces: int = 0

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise Invalid(
                "THRESHOLD",
                f"threshold {self.threshold} is outside [0, 1]",
                hint="give a probability, or leave it out",
                details={"field:threshold": "outside [0, 1]"},
            )


@dataclass(frozen=True, slots=True)
class RecognisedFace:
    """One face of a picture.

    Attributes:
        box: in pixels of the upright picture.
        detection_score: of the detector, in [0, 1]; 1 where the whole picture is the face.
        expression: the best label; None when the answer abstains or the model has no labels.
        probabilities: calibrated, one a label, sum to 1; empty where the model has no labels.
        abstained: the best label is below the threshold.
        affect: where the model judges it.
    """

    box: Box
    detection_score: float
    expression: Expression | None
    probabilities: Mapping[Expression, float]
    abstained: bool = False
    affect: Affect | None = None


@dataclass(frozen=True, slots=True)
class ModelLineage:
    """From a prediction back to what it came from.

    Attributes:
        model: name of the registered model.
        model_version: its version.
        model_digest: of its files.
        dataset_digest: of the training rows.
        run_id: in the tracker.
        preprocess_digest: of the preprocessing.
    """

    model: str
    model_version: str
    model_digest: str
    dataset_digest: str = ""
    run_id: str = ""
    preprocess_digest: str = ""


@dataclass(frozen=True, slots=True)
class Recognition:
    """The faces of a picture, judged.

    Attributes:
        id: as asked.
        faces: largest first; empty = no face was found.
        lineage: which model said so.
    """

    id: str
    faces: tuple[RecognisedFace, ...]
    lineage: ModelLineage


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one picture of a stream could not be judged.

    Attributes:
        id: as asked.
        reason: UPPER_SNAKE.
        message: what is wrong.
        hint: what to do.
    """

    id: str
    reason: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A registered model.

    Attributes:
        lineage: name, version and what it came from.
        expressions: labels in the order of its outputs.
        size_px: side of its input.
        aliases: that point at it.
        figures: measured when it was decided.
        created: when it was registered.
        loaded: whether it is loaded for serving now.
    """

    lineage: ModelLineage
    expressions: tuple[Expression, ...]
    size_px: int
    aliases: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    created: datetime | None = None
    loaded: bool = False

    @property
    def name(self) -> str:
        """Name and version, ``expression/7``."""
        return f"{self.lineage.model}/{self.lineage.model_version}"


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check of the gate.

    Attributes:
        check: ``macro_f1``, ``recall``, ``ece``, ``golden``, ``chance``, ``hog``.
        passed: whether it holds.
        finding: in words, with figures.
    """

    check: str
    passed: bool
    finding: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion or rollback did.

    Attributes:
        champion: the champion now.
        previous: the champion before; None for a first one.
        checks: of the gate; empty for a rollback.
        repository_digest: of the folder that serves it.
        took_s: from the call to serving.
        promoted: whether the alias was moved.
    """

    champion: ModelInfo | None
    previous: ModelInfo | None
    checks: tuple[GateCheck, ...]
    repository_digest: str
    took_s: float
    promoted: bool


@dataclass(frozen=True, slots=True)
class ModelReference:
    """``expression/7`` or ``expression@champion``, taken apart.

    Attributes:
        model: name of the registered model.
        version: or "".
        alias: or "".
    """

    model: str
    version: str = ""
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Take a reference apart.

        Raises:
            Invalid: ``MODEL_NAME``.
        """
        for mark, part in (("/", "version"), ("@", "alias")):
            name, found, rest = text.partition(mark)
            if found and _plain(name) and _plain(rest):
                return cls(name, **{part: rest})
        raise Invalid(
            "MODEL_NAME",
            f"{text!r} names no model",
            hint=f"give `{MODEL}/<version>` or `{MODEL}@<alias>`",
            details={"field:model": "neither <name>/<version> nor <name>@<alias>"},
        )

    def __str__(self) -> str:
        return f"{self.model}/{self.version}" if self.version else f"{self.model}@{self.alias}"


def _plain(name: str) -> bool:
    """Tell what can be part of a folder's name from what cannot."""
    return 0 < len(name) <= 64 and name.isascii() and name.replace("_", "a").isalnum()
