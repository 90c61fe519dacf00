"""Is a generator fit for use? Gates with reasons in words.

Label fidelity alone says nothing: a generator that makes one clear face a class passes it. Only a
generator that passes every gate is fit; one that was not measured everywhere stays open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mien.core.arrays import Int
from mien.evaluation.clusters import difference
from mien.evaluation.generator_coverage import Coverage
from mien.evaluation.generator_distances import Frechet, Kid
from mien.evaluation.generator_fidelity import ClassFidelity, Fidelity
from mien.evaluation.generator_identity import Distinct, IdentityKept
from mien.evaluation.generator_usefulness import AccuracyScore
from mien.evaluation.memorisation import Memorised, TrainingNeighbours

GateState = Literal["passed", "failed", "open"]
VerdictKind = Literal["fit", "unfit", "open"]


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a generator has to reach.

    Attributes:
        fidelity: least share of the judge's own accuracy on real faces, in every class.
        coverage: least coverage.
        recall: least recall: what lies in the middle of the real faces covers many of them, and
            recalls few.
        sigmas: how far its classification accuracy score lies above chance.
        near_copies: largest share of near copies of training faces; exact ones are never allowed.
        alike: largest share of identities that are too near another one; None = not asked, for a
            generator that starts from real people.
    """

    fidelity: float = 0.8
    coverage: float = 0.5
    recall: float = 0.2
    sigmas: float = 3.0
    near_copies: float = 0.001
    alike: float | None = 0.01


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly a pool fills its (identity, class) cells.

    Attributes:
        identities: in the pool.
        least: faces of the emptiest cell.
        most: faces of the fullest cell.
        per_class: faces of each class.
    """

    identities: int
    least: int
    most: int
    per_class: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """Every identity has as many faces of every class."""
        return self.least == self.most > 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "identities": self.identities,
            "least": self.least,
            "most": self.most,
            "per_class": list(self.per_class),
        }


@dataclass(frozen=True, slots=True)
class GeneratorFigures:
    """Everything that was measured of a generator; None or () = not measured.

    Attributes:
        fidelity: label fidelity.
        coverage: in the judge's feature space.
        frechet: distances, one a feature space.
        kid: kernel distances, one a feature space.
        usefulness: classification accuracy score.
        memorised: copies of training faces.
        neighbours: of training faces, one a feature space.
        kept: how well identities stay themselves.
        distinct: how different identities are.
        balance: of the pool.
    """

    fidelity: Fidelity | None = None
    coverage: Coverage | None = None
    frechet: tuple[Frechet, ...] = ()
    kid: tuple[Kid, ...] = ()
    usefulness: AccuracyScore | None = None
    memorised: Memorised | None = None
    neighbours: tuple[TrainingNeighbours, ...] = ()
    kept: IdentityKept | None = None
    distinct: Distinct | None = None
    balance: Balance | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        single = ("fidelity", "coverage", "usefulness", "memorised", "kept", "distinct", "balance")
        plain: dict[str, Any] = {}
        for name in single:
            value = getattr(self, name)
            plain[name] = None if value is None else value.to_json()
        for name in ("frechet", "kid", "neighbours"):
            plain[name] = [each.to_json() for each in getattr(self, name)]
        return plain


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition.

    Attributes:
        name: in a few words.
        state: ``passed``, ``failed`` or ``open`` (not measured).
        words: what was found and what is asked, one or two sentences.
        sure: the whole interval lies on the side of the estimate, where there is one.
    """

    name: str
    state: GateState
    words: str
    sure: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"name": self.name, "state": self.state, "words": self.words, "sure": self.sure}


@dataclass(frozen=True, slots=True)
class GeneratorVerdict:
    """The answer.

    Attributes:
        kind: ``fit`` for use, ``unfit``, or ``open`` when something was not measured.
        sentence: the answer with its reasons.
        gates: all of them, in the order of the page.
        limits: that they were held against.
    """

    kind: VerdictKind
    sentence: str
    gates: tuple[Gate, ...]
    limits: GateLimits = field(default_factory=GateLimits)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "verdict": self.kind,
            "sentence": self.sentence,
            "gates": [gate.to_json() for gate in self.gates],
        }


def balance(labels: Int, identities: Sequence[str], classes: int) -> Balance:
    """Count the faces of every (identity, class) cell of a pool.

    Args:
        labels: (N,) class index of each face.
        identities: of each face.
        classes: C.
    """
    names, groups = np.unique(np.asarray(identities), return_inverse=True)
    cells = np.bincount(groups * classes + labels, minlength=len(names) * classes)
    table = cells.reshape(len(names), classes)
    return Balance(
        identities=len(names),
        least=int(table.min(initial=np.iinfo(np.int64).max)) if table.size else 0,
        most=int(table.max(initial=0)),
        per_class=tuple(int(n) for n in table.sum(axis=0)),
    )


def judge_generator(
    figures: GeneratorFigures, limits: GateLimits | None = None
) -> GeneratorVerdict:
    """Hold a generator's figures against the gates and say what follows.

    Estimates decide; a gate whose interval reaches over its limit says so.

    Args:
        figures: what was measured.
        limits: None = the usual ones.
    """
    asked = limits or GateLimits()
    gates = (
        _fidelity(figures.fidelity, asked),
        *_variety(figures.coverage, asked),
        _useful(figures.usefulness, asked),
        *_copies(figures.memorised, asked),
        *_distinct(figures.distinct, asked.alike),
        _balance(figures.balance),
    )
    failed = [g for g in gates if g.state == "failed"]
    open_ = [g for g in gates if g.state == "open"]
    kind: VerdictKind = "unfit" if failed else "open" if open_ else "fit"
    return GeneratorVerdict(kind, " ".join(_sentences(kind, gates, failed, open_)), gates, asked)


def _sentences(
    kind: VerdictKind, gates: Sequence[Gate], failed: Sequence[Gate], open_: Sequence[Gate]
) -> Iterator[str]:
    if kind == "fit":
        yield f"Fit for use: all {len(gates)} gates are passed."
    elif kind == "unfit":
        yield f"Not fit for use: {_listed(failed)} failed ({len(failed)} of {len(gates)} gates)."
        yield from (g.words for g in failed)
    else:
        yield "Not decided: what was measured is good enough, but not everything was measured."
    if open_:
        yield f"Not measured: {_listed(open_)}."
    unsure = [g for g in gates if g.state == "passed" and not g.sure]
    if unsure:
        yield f"Passed, but not surely: {_listed(unsure)}; more faces would tell."


def _listed(gates: Sequence[Gate]) -> str:
    return ", ".join(g.name for g in gates)


def _fidelity(found: Fidelity | None, limits: GateLimits) -> Gate:
    name = "label fidelity"
    if found is None:
        return Gate(name, "open", "No judge said what the faces show.")
    guess = 1.0 / len(found.per_class)
    blind = [str(c.expression) for c in found.per_class if c.judge.low <= guess]
    if blind:
        words = f"The judge itself tells {', '.join(blind)} no better than chance on real faces."
        return Gate(name, "open", f"{words} Another judge is needed.")
    asked = f"{limits.fidelity:g} × the judge's own accuracy on real faces"
    low = [c for c in found.per_class if c.ratio < limits.fidelity]
    if low:
        listed = "; ".join(_against(c) for c in low)
        return Gate(name, "failed", f"Below {asked}: {listed}.", _surely(low, limits, below=True))
    weakest = min(found.per_class, key=lambda c: c.ratio)
    words = f"Every class reaches {asked}; the weakest is {_against(weakest)}."
    return Gate(name, "passed", words, _surely(found.per_class, limits, below=False))


def _against(found: ClassFidelity) -> str:
    mine, own = 100 * found.fidelity.estimate, 100 * found.judge.estimate
    return f"{found.expression} {mine:.1f} % against {own:.1f} %"


def _surely(classes: Sequence[ClassFidelity], limits: GateLimits, *, below: bool) -> bool:
    """One class surely below, or all surely not below."""
    ends = []
    for each in classes:
        own, share = each.judge, limits.fidelity
        scaled = replace(
            own, estimate=share * own.estimate, low=share * own.low, high=share * own.high
        )
        ends.append(difference(each.fidelity, scaled))
    return any(high < 0 for _, high in ends) if below else all(low >= 0 for low, _ in ends)


def _variety(found: Coverage | None, limits: GateLimits) -> Iterator[Gate]:
    covered, recalled = "coverage", "recall"
    if found is None:
        words = "How much of the real faces' variety is made was not measured."
        yield Gate(covered, "open", words)
        yield Gate(recalled, "open", words)
        return
    mine, best = found.synthetic, found.real
    words = (
        f"{100 * mine.coverage:.0f} % of the real faces have a generated one near (precision"
        f" {mine.precision:.2f}); other real faces reach {100 * best.coverage:.0f} %;"
        f" {100 * limits.coverage:.0f} % are asked."
    )
    yield Gate(covered, "passed" if mine.coverage >= limits.coverage else "failed", words)
    words = (
        f"{100 * mine.recall:.0f} % of the real faces lie where generated ones do; other real"
        f" faces reach {100 * best.recall:.0f} %; {100 * limits.recall:.0f} % are asked."
    )
    yield Gate(recalled, "passed" if mine.recall >= limits.recall else "failed", words)


def _useful(found: AccuracyScore | None, limits: GateLimits) -> Gate:
    name = "classification accuracy score"
    if found is None:
        return Gate(name, "open", "No classifier was trained on the generated faces.")
    words = (
        f"Trained on generated faces alone, {100 * found.synthetic.estimate:.1f} % of real faces"
        f" are called right, {100 * found.ratio.estimate:.0f} % of training on real ones; that is"
        f" {found.sigmas:.1f} σ above chance ({100 * found.chance:.1f} %), {limits.sigmas:g} are"
        " asked."
    )
    return Gate(name, "passed" if found.sigmas >= limits.sigmas else "failed", words)


def _copies(found: Memorised | None, limits: GateLimits) -> Iterator[Gate]:
    exact, near = "no exact copies", "near copies"
    if found is None:
        yield Gate(exact, "open", "Nobody looked for copies of training faces.")
        yield Gate(near, "open", "Nobody looked for copies of training faces.")
        return
    words = f"{found.exact} of {found.faces} faces have the very pixels of a training face."
    yield Gate(exact, "failed" if found.exact else "passed", words)
    words = (
        f"{found.near} of {found.faces} faces ({100 * found.near_share:.2f} %) are near copies of"
        f" one of {found.training} training faces; under {100 * limits.near_copies:g} % may be."
    )
    yield Gate(near, "passed" if found.near_share < limits.near_copies else "failed", words)


def _distinct(found: Distinct | None, alike: float | None) -> Iterator[Gate]:
    name = "distinct identities"
    if alike is None:
        return
    if found is None:
        yield Gate(name, "open", "How different the identities are was not measured.")
        return
    words = (
        f"{100 * found.alike:.1f} % of {found.n} identities are nearer to another than all but"
        f" 0.1 % of real people are; {100 * alike:g} % may be."
    )
    yield Gate(name, "passed" if found.alike <= alike else "failed", words)


def _balance(found: Balance | None) -> Gate:
    name = "balance"
    if found is None:
        return Gate(name, "open", "The pool's cells were not counted.")
    if found.exact:
        words = f"Each of {found.identities} identities has {found.least} of every expression."
        return Gate(name, "passed", words)
    words = f"Between {found.least} and {found.most} faces of an identity and expression."
    return Gate(name, "failed", words)
