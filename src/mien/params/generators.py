"""Sections about synthetic faces: generators, pools, filters and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mien.core.preprocess import Channels
from mien.params.data import DatabaseParams
from mien.params.section import Fraction, Name, Section, Seed
from mien.params.sweep import ClassifierParams


class FacesParams(Section):
    """Faces that a generator, teacher, filter or judge learns from.

    Attributes:
        database: a name under ``ingest``, of which only training people are taken where it is the
            split's; or a rendered database, described in place.
        share: of its people, from–to in a seeded order, so that a teacher and a judge can learn
            from different people of one database.
        where: manifest attribute → the value it must have (``occlusion: none``).
    """

    database: Name | DatabaseParams
    share: tuple[Fraction, Fraction] = (0.0, 1.0)
    where: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _usable(self) -> FacesParams:
        if self.share[0] >= self.share[1]:
            raise ValueError(f"the share {self.share} holds nobody")
        given = self.database
        if isinstance(given, DatabaseParams) and (given.root or given.asset):
            raise ValueError("only rendered databases can be described in place; ingest this one")
        return self


class ScorerParams(Section):
    """A classifier that teaches, filters or judges; trained once and kept.

    Attributes:
        faces: what it learns from.
        classifier: its network.
        kimg: thousands of images it sees.
        seed: of its training.
    """

    faces: FacesParams
    classifier: ClassifierParams = ClassifierParams()
    kimg: float = Field(60.0, gt=0)
    seed: Seed = 0


class TrainGeneratorParams(Section):
    """One generator to train.

    Attributes:
        preset: name in the table of presets (``acgan``, ``stylegan``, ``stargan`` …).
        faces: what it learns from.
        also: a second database, whose labels may be other ones; only for ``stargan``.
        expressions: its label space; None = the project's.
        size_px: side of its faces; None = as in ``preprocess``.
        channels: of its faces; None = as in ``preprocess``.
        teacher: a frozen classifier for its loss, or None. Never the judge.
        params: overrides of the preset.
        weights: folder of ready weights, relative to the project, instead of training.
    """

    preset: str
    faces: FacesParams
    also: FacesParams | None = None
    expressions: list[str] | None = None
    size_px: int | None = Field(None, ge=8, le=1024)
    channels: Channels | None = None
    teacher: ScorerParams | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    weights: Path | None = None


class FilterParams(Section):
    """Keep only faces that a classifier takes for what they should show.

    Attributes:
        scorer: the classifier; never the judge.
        keep: share of the real faces of each expression that would pass: what sets the least
            probability of the intended expression, class by class.
        tries: candidates for a face before its identity is given up.
    """

    scorer: ScorerParams
    keep: float = Field(0.9, gt=0.0, lt=1.0)
    tries: int = Field(4, ge=1, le=100)


class PoolParams(Section):
    """One pool of synthetic faces.

    Attributes:
        engine: name in the engine table.
        identities: ``invented``, or ``photos``: the neutral photos of the training subjects.
        units: how many units to make; at least the largest ratio that is drawn from it.
        images_per_cell: images per identity and expression.
        intensity: range the intensity is drawn from, in [0, 1].
        seed: of the pool.
        params: the engine's own parameters; ``generator`` names one of ``train_generator``.
        filter: what the faces must pass, or None.
    """

    engine: str = "affect"
    identities: Literal["invented", "photos"] = "invented"
    units: int = Field(ge=1, le=10_000)
    images_per_cell: int = Field(1, ge=1, le=1000)
    intensity: tuple[Fraction, Fraction] = (0.6, 1.0)
    seed: Seed = 0
    params: dict[str, Any] = Field(default_factory=dict)
    filter: FilterParams | None = None

    @field_validator("intensity")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the lower intensity {value[0]} is above the upper {value[1]}")
        return value

    @property
    def generators(self) -> tuple[str, ...]:
        """The trained generators this pool is made with."""
        return tuple(dict.fromkeys(_generators(self.params)))


class JudgeGeneratorParams(Section):
    """How pools are judged.

    Attributes:
        pools: pools of ``synthesise`` to judge.
        judge: the independent classifier; it learns from people no generator saw. None = no
            judging.
        real: real faces the pools are compared with and that score training on them.
        faces: of each pool, at most.
        cas_kimg: thousands of images for the classification accuracy score; 0 = leave it out.
    """

    pools: list[Name] = Field(default_factory=list)
    judge: ScorerParams | None = None
    real: FacesParams | None = None
    faces: int = Field(3000, ge=50)
    cas_kimg: float = Field(12.0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> JudgeGeneratorParams:
        if self.pools and (self.judge is None or self.real is None):
            raise ValueError("pools can only be judged with a judge and real faces")
        return self


def _generators(params: Any) -> list[str]:
    """Find the values of ``generator`` at any depth: an engine may be made of others."""
    if not isinstance(params, dict):
        return []
    own = [str(params["generator"])] if "generator" in params else []
    return own + [name for value in params.values() for name in _generators(value)]
