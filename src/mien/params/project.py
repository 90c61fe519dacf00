"""The whole of ``params.yaml``, read and checked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from mien.core.errors import Invalid, NotFound, faults_of, invalid_fields
from mien.core.expression import Expression, parse_expressions
from mien.core.overrides import given_twice, set_key
from mien.params.data import DatabaseParams, PreprocessParams, SplitParams
from mien.params.gate import GateParams
from mien.params.generators import (
    FacesParams,
    JudgeGeneratorParams,
    PoolParams,
    ScorerParams,
    TrainGeneratorParams,
)
from mien.params.section import Name, Section
from mien.params.sweep import DecideParams, EvaluateParams, ReportParams, SweepParams


class Params(Section):
    """All of ``params.yaml``."""

    experiment: str = Field(min_length=1, max_length=100)
    expressions: list[str]
    morphable: Literal["builtin", "ict"] = "builtin"
    ingest: dict[Name, DatabaseParams]
    split: SplitParams
    train_generator: dict[Name, TrainGeneratorParams] = Field(default_factory=dict)
    synthesise: dict[Name, PoolParams] = Field(default_factory=dict)
    judge_generator: JudgeGeneratorParams = JudgeGeneratorParams()
    preprocess: PreprocessParams
    sweep: SweepParams
    evaluate: EvaluateParams = EvaluateParams()
    decide: DecideParams = DecideParams()
    report: ReportParams = ReportParams()
    gate: GateParams = GateParams()

    @property
    def classes(self) -> tuple[Expression, ...]:
        """The label space, in canonical order."""
        return parse_expressions(self.expressions)

    @model_validator(mode="after")
    def _names_meet(self) -> Params:
        wrong = [*self._unknown_sets(), *self._unknown_sources(), *self._unknown_generators()]
        wrong += self._wrong_blends()
        if self.split.database not in self.ingest:
            wrong.append(f"split.database: {self.split.database!r} is not ingested")
        blind = set(self.evaluate.blind)
        if self.decide.select_on in blind:
            wrong.append(f"decide.select_on: {self.decide.select_on!r} is blind")
        elif self.decide.select_on not in {"validation", *self.evaluate.development}:
            wrong.append(f"decide.select_on: {self.decide.select_on!r} is not a development set")
        wrong += self._wrong_gate()
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

    def _wrong_gate(self) -> list[str]:
        """The gate's faces must have decided nothing before."""
        name = self.gate.set
        used: dict[str | None, str] = {
            self.split.database: "the split's",
            **dict.fromkeys((*self.sweep.pools, self.sweep.more_real), "trained on"),
            **dict.fromkeys((*self.evaluate.development, self.decide.select_on), "selected on"),
        }
        if name is None:
            return []
        if name not in self.preprocess.sets:
            return [f"gate.set: {name!r} is not among preprocess.sets"]
        return [f"gate.set: {name!r} is {used[name]}"] if name in used else []

    def _wrong_blends(self) -> list[str]:
        wrong = []
        for name, blend in self.sweep.blends.items():
            where = f"sweep.blends.{name}"
            if name in self.preprocess.sets:
                wrong.append(f"{where}: a set has that name already")
            wrong += [
                f"{where}: {p!r} is not among sweep.pools"
                for p in blend.pools
                if p not in self.sweep.pools
            ]
            wrong += [
                f"{where}.factors: {e!r} is not among expressions"
                for e in blend.factors
                if e not in self.expressions
            ]
        return wrong

    def _unknown_generators(self) -> list[str]:
        wrong = [
            f"synthesise.{name}: train_generator.{generator} does not exist"
            for name, pool in self.synthesise.items()
            for generator in pool.generators
            if generator not in self.train_generator
        ]
        wrong += [
            f"judge_generator.pools: synthesise.{name} does not exist"
            for name in self.judge_generator.pools
            if name not in self.synthesise
        ]
        return wrong + [
            f"{key}: ingest.{faces.database} does not exist"
            for key, faces in self._faces().items()
            if isinstance(faces.database, str) and faces.database not in self.ingest
        ]

    def _faces(self) -> dict[str, FacesParams]:
        """List everything that is learned from besides the split's people."""
        found: dict[str, FacesParams | None] = {"judge_generator.real": self.judge_generator.real}
        scorers: dict[str, ScorerParams | None] = {
            "judge_generator.judge": self.judge_generator.judge
        }
        for name, trained in self.train_generator.items():
            found[f"train_generator.{name}.faces"] = trained.faces
            found[f"train_generator.{name}.also"] = trained.also
            scorers[f"train_generator.{name}.teacher"] = trained.teacher
        for name, pool in self.synthesise.items():
            if pool.filter is not None:
                scorers[f"synthesise.{name}.filter.scorer"] = pool.filter.scorer
        found |= {f"{key}.faces": scorer.faces for key, scorer in scorers.items() if scorer}
        return {key: faces for key, faces in found.items() if faces is not None}


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
        unknown = [str(e["loc"][-1]) for e in error.errors() if e["type"] == "extra_forbidden"]
        raise invalid_fields(
            "PARAMS", f"{where}: not as it should be", faults_of(error), hint=_resembles(unknown)
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
    mine = [s for s in Section.__subclasses__() if s.__module__.startswith("mien.params.")]
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
