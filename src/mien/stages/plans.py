"""Turn the parameters into trials: arms × seeds × folds × protocols, with their exact rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from mien.core.closure import Closure
from mien.core.digest import digest_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.manifest import Manifest
from mien.core.sample import Sample
from mien.core.split import Arm, Protocol, Split
from mien.core.trial import TrialPlan
from mien.params.project import Params
from mien.params.sweep import SweepParams
from mien.splits.mix import Mix, Row, Source, identity_order, mix_arm, part_rows, unit_size
from mien.stages.arrays import SetArrays
from mien.stages.closures import check_closure
from mien.stages.context import code_digest


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A plan with the rows behind its digests.

    Attributes:
        plan: what decides the result.
        mix: training rows.
        roles: role → rows judged on.
    """

    plan: TrialPlan
    mix: Mix
    roles: Mapping[str, Sequence[Row]]


def arms_of(sweep: SweepParams, protocol: Protocol) -> list[Arm]:
    """List the arms of a protocol, baseline first."""
    arms = [Arm()]
    if protocol == "steps" and sweep.plain_baseline:
        arms.append(Arm(base="plain"))
    ratios = sweep.ratios
    if protocol == "paper" and sweep.paper_ratios is not None:
        ratios = [r for r in ratios if r in sweep.paper_ratios]
    for pool in (*sweep.pools, *sweep.blends):
        arms += [Arm("ratio", r, pool=pool) for r in ratios]
    first = sweep.pools[0]
    if sweep.synthetic_only is not None:
        arms.append(Arm("synthetic", sweep.synthetic_only, pool=first))
    if protocol == "steps" and sweep.more_real is not None:
        arms.append(Arm("more_real", sweep.more_real_ratio, pool=sweep.more_real))
    if protocol == "steps" and sweep.shuffled is not None:
        arms.append(Arm("shuffled", sweep.shuffled, pool=first))
    return arms


def plan_trials(
    params: Params,
    splits: Sequence[Split],
    sets: Mapping[str, SetArrays],
    closures: Mapping[str, Closure] = MappingProxyType({}),
) -> Iterator[PlannedTrial]:
    """Plan every trial of the sweep, cheap arms first within a seed.

    Args:
        params: of the project.
        splits: of the training database.
        sets: every set that is used, by name.
        closures: pool → what its makers saw.

    Raises:
        Invalid: ``WRONG_ORIGIN``, ``RATIO_ABOVE_POOL``, ``SUBJECT_IN_TWO_SETS``,
            ``IMAGE_IN_TWO_SETS``, ``MAKER_SAW_JUDGED``.
    """
    code = code_digest("core", "imaging", "training", "recognition", "stages/trial.py")
    seeds = range(params.sweep.first_seed, params.sweep.first_seed + params.sweep.seeds)
    for split in splits:
        planner = _Planner(params, split, sets)
        for pool, closure in closures.items():
            check_closure(f"a maker of the pool {pool}", closure, planner.judged_seen)
        for protocol in params.sweep.protocols:
            for seed in seeds:
                for arm in arms_of(params.sweep, protocol):
                    mix, roles = planner.rows(arm, seed)
                    yield PlannedTrial(
                        _plan(params, split, arm, protocol, seed, mix, roles, planner, code),
                        mix,
                        roles,
                    )


def _plan(
    params: Params,
    split: Split,
    arm: Arm,
    protocol: Protocol,
    seed: int,
    mix: Mix,
    roles: Mapping[str, Sequence[Row]],
    planner: _Planner,
    code: str,
) -> TrialPlan:
    sweep = params.sweep
    schedule = sweep.steps if protocol == "steps" else sweep.paper
    classifier = {
        **sweep.classifier.model_dump(),
        "classes": [str(e) for e in params.classes],
        "size_px": params.preprocess.size_px,
        "channels": params.preprocess.channels,
    }
    fit: dict[str, Any] = {
        **schedule.model_dump(),
        "protocol": protocol,
        "base": arm.base,
        "seed": seed,
        "precision": sweep.precision,
    }
    return TrialPlan(
        arm=arm,
        protocol=protocol,
        seed=seed,
        fold=split.fold,
        folds=split.folds,
        classifier=classifier,
        fit=fit,
        train=planner.digest(mix.rows),
        sets={role: planner.digest(rows) for role, rows in roles.items()},
        code=code,
    )


class _Planner:
    """Rows of one split; the pools' orders are drawn once a seed."""

    def __init__(self, params: Params, split: Split, sets: Mapping[str, SetArrays]) -> None:
        self.params = params
        self.split = split
        self.sets = sets
        self.database = params.split.database
        self.classes = params.classes
        real = sets[self.database].manifest
        self.parts = {
            part: self._labelled(part_rows(self.database, real, units, split.by))
            for part, units in split.parts.items()
        }
        self.held_out = frozenset(real.subjects) - frozenset(split.parts["train"])
        for part in ("train", "validation", "test"):
            if not self.parts[part]:
                raise Invalid(
                    "SPLIT_PART_EMPTY",
                    f"the part {part} of {self.database} has no usable image of these expressions",
                    hint="look for failures under data/preprocess, or deal that part more people",
                )
        self.judged = self._judged()
        self.judged_seen = {role: self._seen(rows) for role, rows in self.judged.items()}
        self._pool = cache(self._pool_manifest)
        self._check_origins()

    def rows(self, arm: Arm, seed: int) -> tuple[Mix, dict[str, Sequence[Row]]]:
        """Return the training rows of an arm and the rows it is judged on, checked apart."""
        mix = mix_arm(
            arm,
            real=self.parts["train"],
            split=self.split,
            source=self._source(arm.pool) if arm.pool else None,
            seed=seed,
            classes=self.classes,
        )
        roles: dict[str, Sequence[Row]] = dict(self.judged)
        if mixed := self._mixed_test(arm):
            roles["mixed_test"] = [*self.parts["test"], *mixed]
        self._check_apart(mix)
        return mix, roles

    def _source(self, name: str) -> Source:
        """What an arm of this pool, or of this blend of pools, draws from."""
        blend = self.params.sweep.blends.get(name)
        if blend is None:
            return Source({name: self._pool(name)})
        return Source(
            {pool: self._pool(pool) for pool in blend.pools},
            {Expression(e): factor for e, factor in blend.factors.items()},
        )

    def digest(self, rows: Sequence[Row]) -> str:
        """Name rows by their images and labels, not by where they lie."""
        return digest_of(
            [
                (self.sets[r.dataset].digest, self.sets[r.dataset].row[r.sample], r.label)
                for r in rows
            ]
        )

    def _labelled(self, rows: Sequence[Row]) -> list[Row]:
        return [r for r in rows if r.label in self.classes]

    def _judged(self) -> dict[str, Sequence[Row]]:
        roles: dict[str, Sequence[Row]] = {
            "validation": self.parts["validation"],
            "test": self.parts["test"],
        }
        evaluate = self.params.evaluate
        for kind, names in (("blind", evaluate.blind), ("development", evaluate.development)):
            for name in names:
                rows = self._labelled(_all_rows(name, self.sets[name].manifest))
                if not rows:
                    raise Invalid(
                        "EMPTY_SET",
                        f"{name} has no usable image of these expressions",
                        hint=f"remove it from evaluate.{kind}, or ingest faces of them",
                    )
                roles[f"{kind}:{name}"] = rows
        return roles

    def _pool_manifest(self, name: str) -> Manifest:
        """A pool without the people held out in this split and the mixed test's identities."""
        tested = {cell[0].identity for cell in self._mixed_cells(name)}
        return self._allowed(name).where(lambda s: not s.identity or s.identity not in tested)

    def _allowed(self, name: str) -> Manifest:
        return self.sets[name].manifest.where(lambda s: s.subject not in self.held_out)

    def _mixed_cells(self, name: str) -> list[list[Sample]]:
        """Reserve the synthetic identities of the paper's mixed test: the same for every seed.

        Faces made from photos of training people cannot be: they would be tested on.
        """
        if name in self.params.sweep.blends:
            return []
        people = set(self.sets[self.database].manifest.subjects)
        each = self.params.sweep.mixed_test_identities
        allowed = self._allowed(name)
        if name not in self.params.sweep.pools or people & set(allowed.subjects):
            return []
        order = identity_order(allowed, seed=self.split.seed)
        # A share of the pool, not of the largest ratio: a new ratio must not move the others.
        units = len(order) // (unit_size(self.parts["train"], self.split) + each)
        return order[: units * each]

    def _mixed_test(self, arm: Arm) -> list[Row]:
        """Synthetic faces for the paper's mixed test, as many per real one as the arm adds."""
        if arm.kind not in ("ratio", "synthetic") or not arm.ratio:
            return []
        cells = self._mixed_cells(arm.pool)[: arm.ratio * self.params.sweep.mixed_test_identities]
        return self._labelled(
            [
                Row(arm.pool, s.id, s.expression)
                for c in cells
                for s in c
                if s.expression is not None
            ]
        )

    def _check_origins(self) -> None:
        """Refuse synthetic faces where people are judged, and real ones in a pool."""
        sweep, evaluate = self.params.sweep, self.params.evaluate
        real = [self.database, *evaluate.blind, *evaluate.development]
        real += [sweep.more_real] if sweep.more_real else []
        wanted = [(name, "real") for name in real]
        wanted += [(name, "synthetic") for name in sweep.pools]
        for name, origin in wanted:
            for sample in self.sets[name].manifest:
                if sample.origin != origin:
                    raise Invalid(
                        "WRONG_ORIGIN",
                        f"{name} must hold {origin} faces, but {sample.id} is {sample.origin}",
                        hint="correct the set's name in sweep or evaluate, or ingest.<name>.origin",
                    )

    def _check_apart(self, mix: Mix) -> None:
        """Refuse training rows whose subject or image is judged on."""
        subjects, images = self._seen(mix.rows)
        for role, (judged_subjects, judged_images) in self.judged_seen.items():
            if self.split.by == "subject" and (both := subjects & judged_subjects):
                raise _leak("SUBJECT_IN_TWO_SETS", "subjects", both, role)
            if same := images.keys() & judged_images.keys():
                pairs = frozenset(f"{images[d]} = {judged_images[d]}" for d in same)
                raise _leak("IMAGE_IN_TWO_SETS", "images", pairs, role)

    def _seen(self, rows: Sequence[Row]) -> tuple[frozenset[str], dict[str, str]]:
        """Return the subjects, and the original images' digests with their sample ids."""
        samples = [
            self.sets[r.dataset].manifest.samples[self.sets[r.dataset].row[r.sample]] for r in rows
        ]
        return (
            frozenset(s.subject for s in samples if s.subject is not None),
            {s.parents[-1] if s.parents else s.digest: s.id for s in samples},
        )


def _leak(reason: str, what: str, both: frozenset[str], role: str) -> Invalid:
    names = ", ".join(sorted(both)[:5]) + (" …" if len(both) > 5 else "")
    return Invalid(
        reason,
        f"{len(both)} {what} are trained on and judged on in {role}: {names}",
        hint="remove them from one of the two; a test on faces seen in training means nothing",
    )


def _all_rows(name: str, manifest: Manifest) -> list[Row]:
    return [
        Row(name, s.id, s.expression)
        for s in manifest
        if s.expression is not None and not s.failure
    ]


def label_indices(rows: Sequence[Row], classes: Sequence[Expression]) -> list[int]:
    """Turn labels into class indices."""
    index = {e: i for i, e in enumerate(classes)}
    return [index[r.label] for r in rows]
