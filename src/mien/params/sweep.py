"""Sections about classifiers and what is made of their answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mien.params.section import Name, Section, Seed


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


class BlendParams(Section):
    """A pool that is drawn from others: several generators together, or more of some classes.

    Attributes:
        pools: identities are taken from them in turn.
        factors: expression → how many times as many of its images as of the others.
    """

    pools: list[Name] = Field(min_length=1)
    factors: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(default_factory=dict)


class SweepParams(Section):
    """The arms, the protocols and the classifier.

    Attributes:
        pools: set names the ratios are drawn from.
        blends: further pools, made of those: their names are used like theirs.
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
    blends: dict[Name, BlendParams] = Field(default_factory=dict)
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
