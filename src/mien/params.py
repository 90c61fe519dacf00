"""``params.yaml``, typed: everything that decides a result, and nothing that says where.

A section is named like its stage. Unknown keys and values out of range are errors naming the key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mien.core.errors import Invalid, NotFound, invalid_fields
from mien.core.expression import Expression, parse_expressions
from mien.core.overrides import given_twice, set_key
from mien.core.preprocess import PreprocessSpec
from mien.core.split import Part

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # names become folders and DVC stages
Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A part of the parameters; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseParams(Section):
    """One database to read.

    Attributes:
        reader: name in the reader table (``folder``, ``fer2013``, ``demo_lab`` …).
        root: folder or file to read, relative to the project; None for rendered databases.
        asset: read this open asset instead of ``root``.
        origin: ``synthetic`` for a pool; ``real`` refuses synthetic faces; None = what they say.
        params: the reader's own parameters.
    """

    reader: str
    root: Path | None = None
    asset: str | None = None
    origin: Literal["real", "synthetic"] | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class SplitParams(Section):
    """How subjects are dealt to parts.

    Attributes:
        database: name of the ingested database that is trained on.
        by: ``subject``, or ``sample`` where there are no subjects.
        counts: part → number of subjects; must account for all, or say ``unused``.
        fractions: part → fraction; exclusive with ``counts``.
        folds: > 1 cross-validates over train + validation.
        stratify: manifest attributes whose shares are kept equal across parts.
        seed: of the deal.
        use: train on only so many of the training subjects (nested: 12 contain 6); None = all.
    """

    database: Name
    by: Literal["subject", "sample"] = "subject"
    counts: dict[Part, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    fractions: dict[Part, Fraction] = Field(default_factory=dict)
    folds: int = Field(1, ge=1, le=50)
    stratify: list[str] = Field(default_factory=list)
    seed: Seed = 0
    use: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> SplitParams:
        if bool(self.counts) == bool(self.fractions):
            raise ValueError("give either counts or fractions")
        return self


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


class PreprocessParams(Section):
    """The one preprocessing, and what passes through it.

    Attributes:
        sets: set name → ``ingest/<database>`` or ``synthesise/<pool>``.
    """

    detector: Literal["yunet", "haar", "none"] = "none"
    size_px: int = Field(64, ge=8, le=1024)
    channels: Literal["gray", "rgb"] = "gray"
    eye_line: float = Field(0.36, gt=0, lt=1)
    eye_distance: float = Field(0.40, gt=0, lt=1)
    min_score: Fraction = 0.5
    sets: dict[Name, Annotated[str, Field(pattern=r"^(ingest|synthesise)/[a-z][a-z0-9_]*$")]]

    @property
    def spec(self) -> PreprocessSpec:
        """The spec these parameters describe."""
        return PreprocessSpec(**self.model_dump(exclude={"sets"}))


class ClassifierParams(Section):
    """The recogniser that every trial trains."""

    network: str = "small"
    padding: Literal["same", "valid"] = "same"
    width: float = Field(1.0, gt=0, le=8)
    heads: list[Literal["expression", "affect"]] = Field(default=["expression"], min_length=1)

    @field_validator("heads")
    @classmethod
    def _decides(cls, value: list[str]) -> list[str]:
        if "expression" not in value:
            raise ValueError("the verdict rests on expressions; affect can only come with them")
        return value


class StepsParams(Section):
    """Equal compute: every arm sees the same number of images on one fixed schedule."""

    kimg: float = Field(12.0, gt=0)
    batch: int = Field(32, ge=1, le=8192)
    lr: float | None = Field(None, gt=0)
    evaluations: int = Field(10, ge=1, le=1000)


class PaperParams(Section):
    """Equal epochs with early stopping, as published (VISAPP 2023)."""

    epochs: int = Field(50, ge=1)
    patience: int = Field(5, ge=1)
    batch: int = Field(16, ge=1, le=8192)
    lr: float = Field(1e-4, gt=0)


class SweepParams(Section):
    """The arms, the protocols and the classifier.

    Attributes:
        pools: set names the ratios are drawn from.
        ratios: units added; 0 is always run.
        synthetic_only: units of the synthetic-only arm, or None.
        more_real: set of further real faces for the ceiling arm, or None.
        shuffled: ratio of the arm with permuted labels, or None.
        plain_baseline: run r0 without geometric augmentation too.
        seeds: seeds a trial is repeated with.
        protocols: ``steps`` decides; ``paper`` is shown beside it.
        paper_ratios: the ratios run under ``paper``; None = all.
        mixed_test_identities: synthetic identities per unit in the paper's mixed test; 0 = none.
        precision: ``auto`` uses bf16 where the processor has it.
    """

    pools: list[Name] = Field(min_length=1)
    ratios: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    synthetic_only: int | None = Field(None, ge=1)
    more_real: Name | None = None
    more_real_ratio: int = Field(1, ge=1)
    shuffled: int | None = Field(None, ge=1)
    plain_baseline: bool = True
    seeds: int = Field(3, ge=1, le=1000)
    first_seed: Seed = 0
    protocols: list[Literal["steps", "paper"]] = Field(default=["steps"], min_length=1)
    paper_ratios: list[Annotated[int, Field(ge=0)]] | None = None
    mixed_test_identities: int = Field(0, ge=0)
    classifier: ClassifierParams = ClassifierParams()
    steps: StepsParams = StepsParams()
    paper: PaperParams = PaperParams()
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @field_validator("ratios")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("a ratio is given twice")
        return sorted(value)

    @field_validator("protocols")
    @classmethod
    def _steps_decides(cls, value: list[str]) -> list[str]:
        if "steps" not in value:
            raise ValueError("the verdict uses the protocol steps; it must be among them")
        return value


class EvaluateParams(Section):
    """What is judged.

    Attributes:
        blind: sets that training never sees.
        development: sets that may select but are not blind.
        slices: manifest attributes shown apart.
    """

    blind: list[Name] = Field(default_factory=list)
    development: list[Name] = Field(default_factory=list)
    slices: list[str] = Field(default_factory=list)


class DecideParams(Section):
    """How the ratio is decided.

    Attributes:
        select_on: ``validation``, or a development set that is never blind.
        min_effect: smallest gain worth having, as a fraction (0.02 = 2 points).
    """

    select_on: str = "validation"
    min_effect: float = Field(0.02, gt=0, lt=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    power: float = Field(0.8, gt=0.5, lt=1)


class ReportParams(Section):
    """What the report shows."""

    title: str = "How much synthetic data?"
    sheet_identities: int = Field(6, ge=1, le=50)


class Params(Section):
    """All of ``params.yaml``."""

    experiment: str = Field(min_length=1, max_length=100)
    expressions: list[str]
    morphable: Literal["builtin", "ict"] = "builtin"
    ingest: dict[Name, DatabaseParams]
    split: SplitParams
    synthesise: dict[Name, PoolParams] = Field(default_factory=dict)
    preprocess: PreprocessParams
    sweep: SweepParams
    evaluate: EvaluateParams = EvaluateParams()
    decide: DecideParams = DecideParams()
    report: ReportParams = ReportParams()

    @property
    def classes(self) -> tuple[Expression, ...]:
        """The label space, in canonical order."""
        return parse_expressions(self.expressions)

    @model_validator(mode="after")
    def _names_meet(self) -> Params:
        wrong = [*self._unknown_sets(), *self._unknown_sources()]
        if self.split.database not in self.ingest:
            wrong.append(f"split.database: {self.split.database!r} is not ingested")
        blind = set(self.evaluate.blind)
        if self.decide.select_on in blind:
            wrong.append(f"decide.select_on: {self.decide.select_on!r} is blind")
        elif self.decide.select_on not in {"validation", *self.evaluate.development}:
            wrong.append(f"decide.select_on: {self.decide.select_on!r} is not a development set")
        if both := blind & set(self.evaluate.development):
            wrong.append(f"evaluate: {sorted(both)} cannot be blind and for development")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _unknown_sets(self) -> list[str]:
        used = {
            "split.database": [self.split.database],
            "sweep.pools": self.sweep.pools,
            "sweep.more_real": [self.sweep.more_real] if self.sweep.more_real else [],
            "evaluate.blind": self.evaluate.blind,
            "evaluate.development": self.evaluate.development,
        }
        return [
            f"{key}: {name!r} is not among preprocess.sets"
            for key, names in used.items()
            for name in names
            if name not in self.preprocess.sets
        ]

    def _unknown_sources(self) -> list[str]:
        wrong = []
        for name, where in self.preprocess.sets.items():
            stage, _, source = where.partition("/")
            if source not in getattr(self, stage):
                wrong.append(f"preprocess.sets.{name}: {stage}.{source} does not exist")
        return wrong


def parse_params(value: Any, where: str = "the parameters") -> Params:
    """Validate plain values.

    Args:
        value: what the file holds.
        where: what the message calls it.

    Raises:
        Invalid: ``PARAMS`` naming every key at fault; ``UNKNOWN_EXPRESSION``,
            ``EMPTY_LABEL_SPACE``.
    """
    try:
        params = Params.model_validate(value)
    except ValidationError as error:
        violations = {
            ".".join(str(part) for part in e["loc"]) or "params": e["msg"] for e in error.errors()
        }
        unknown = [str(e["loc"][-1]) for e in error.errors() if e["type"] == "extra_forbidden"]
        raise invalid_fields(
            "PARAMS", f"{where}: not as it should be", violations, hint=_resembles(unknown)
        ) from None
    try:
        parse_expressions(params.expressions)
    except Invalid as error:
        raise Invalid(
            error.reason, f"{where}: expressions: {error.message}", hint=error.hint
        ) from None
    return params


def _resembles(unknown: Sequence[str]) -> str:
    """Offer the known keys that unknown ones resemble."""
    mine = [s for s in Section.__subclasses__() if s.__module__ == __name__]
    known = sorted({key for section in mine for key in section.model_fields})
    near = [(key, match[0]) for key in unknown if (match := difflib.get_close_matches(key, known))]
    return (
        "; ".join(f"did you mean {right!r} instead of {wrong!r}?" for wrong, right in near)
        or "docs/howto/params.md says what each section decides; correct the keys named"
    )


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read and validate a parameter file.

    Args:
        path: the file.
        overrides: ``section.key=value``, the value as YAML; applied in order.

    Raises:
        NotFound: ``PARAMS_FILE`` when it does not exist.
        Invalid: ``PARAMS_SYNTAX``, ``PARAMS_OVERRIDE`` or ``PARAMS``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(
            "PARAMS_FILE", f"{path} does not exist", hint="run in the project or give --params"
        ) from None
    except UnicodeDecodeError as error:
        raise _no_yaml(path, f"byte {error.start} is not UTF-8") from None
    try:
        twice = sorted(given_twice(yaml.compose(text, yaml.SafeLoader)))
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _no_yaml(path, f"line {line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _no_yaml(path, " ".join(str(error).split())) from None
    if twice:
        raise _no_yaml(path, f"given twice: {', '.join(twice)}")
    for override in overrides:
        set_key(value, override)
    return parse_params(value, str(path))


def _no_yaml(path: Path, what: str) -> Invalid:
    return Invalid("PARAMS_SYNTAX", f"{path} is not YAML: {what}", hint="correct the file there")
