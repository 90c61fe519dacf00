"""Validate the decision by simulation: coverage, false help, power.

Every sweep draws people, photos, networks and pools anew, scores arms on a selection set, an own
test and two blind databases, and is decided by the library's own code. Run::

    python benchmarks/decision_simulation.py [--sweeps 4000] [--json FILE]

The world is a probit model: a photo is recognised when a sum of normal effects is positive.

    ability of the arm + person + person × arm + photo + photo × arm      (same for all seeds)
    + seed + seed × arm + pool draw of the seed                           (same for all people)
    + noise of this photo under this network

The seeds' effects are mostly common to all sets, for it is the same network that is judged. As
all effects are normal, accuracy over new people, seeds and pools is Φ(ability / total spread)
exactly: abilities are set so that this is the accuracy wanted, and coverage is measured against it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mien.core.arrays import Bool, Double, Float, Int
from mien.evaluation.accuracy import proportion_interval
from mien.evaluation.contrasts import (
    Contrasts,
    Limits,
    Rule,
    contrasts,
    holm,
    limits,
    select,
    selection_stretch,
    verdict_masks,
)

RATIOS = (0, 1, 2, 5, 10)
FIXED = 1  # index among the candidates of the arm whose interval is followed without selection
MIN_EFFECT = 0.02
ALPHA = 0.05
GAINS: Mapping[str, tuple[float, ...]] = {
    "flat": (0.0, 0.0, 0.0, 0.0, 0.0),
    "linear": (0.0, 0.006, 0.012, 0.030, 0.060),
    "peaked": (0.0, 0.030, 0.050, 0.020, 0.0),
}
PEAKS = (0.02, 0.04, 0.06, 0.08, 0.12)
CHUNK = 600_000  # scores drawn at a time; more does not fit the cache


@dataclass(frozen=True)
class World:
    """What varies, as standard deviations on the probit scale (0.1 is about 3 points).

    Attributes:
        person: ability to be recognised.
        person_arm: how an arm suits a person.
        photo: difficulty of a photo.
        photo_arm: how an arm suits a photo.
        seed: common to all arms of a seed: initialisation, batch order.
        seed_arm: training noise of one arm under one seed.
        seed_baseline: the same for r0, None = ``seed_arm``.
        pool: pool draw, common to the nested ratios of a seed.
        noise: of one photo under one network.
        common: share of the seeds' variance that all sets have in common.
        photos: of a person.
        accuracy: of r0 on own test.
    """

    person: float = 0.55
    person_arm: float = 0.20
    photo: float = 0.90
    photo_arm: float = 0.45
    seed: float = 0.04
    seed_arm: float = 0.04
    seed_baseline: float | None = None
    pool: float = 0.02
    noise: float = 1.0
    common: float = 0.8
    photos: int = 6
    accuracy: float = 0.60

    def spread(self) -> Double:
        """Total standard deviation of each arm, (A,)."""
        fixed = self.person**2 + self.person_arm**2 + self.photo**2 + self.photo_arm**2
        seeds = np.full(len(RATIOS), self.seed**2 + self.seed_arm**2 + self.pool**2)
        seeds[0] = self.seed**2 + self._baseline() ** 2
        total: Double = np.sqrt(fixed + seeds + self.noise**2)
        return total

    def _baseline(self) -> float:
        return self.seed_arm if self.seed_baseline is None else self.seed_baseline

    def seed_effects(self, rng: np.random.Generator, sweeps: int, seeds: int) -> Double:
        """Draw what every network does to every arm, (R, A, S)."""
        own = self.seed_arm * rng.standard_normal((sweeps, len(RATIOS), seeds))
        if self.seed_baseline is not None:
            own[:, 0] *= self.seed_baseline / self.seed_arm
        effects: Double = own + self.seed * rng.standard_normal((sweeps, 1, seeds))
        effects[:, 1:] += self.pool * rng.standard_normal((sweeps, 1, seeds))
        return effects


@dataclass(frozen=True)
class Database:
    """A set that is judged: r0's accuracy relative to own test, and how much of a gain arrives."""

    shift: float = 0.0
    transfer: float = 1.0


SELECTION, OWN = Database(), Database()
BLIND = (Database(shift=-0.10, transfer=0.75), Database(shift=-0.20, transfer=0.5))


def draw_sets(
    rng: np.random.Generator,
    world: World,
    gains: Sequence[float],
    sweeps: int,
    subjects: int,
    seeds: int,
    databases: Sequence[Database] = (SELECTION, OWN, *BLIND),
) -> list[Double]:
    """Draw the scores of sweeps on every set, each (R, A, S, N)."""
    shared = world.seed_effects(rng, sweeps, seeds)
    drawn = []
    for database in databases:
        apart = world.seed_effects(rng, sweeps, seeds)
        effects = np.sqrt(world.common) * shared + np.sqrt(1 - world.common) * apart
        accuracy = world.accuracy + database.shift + database.transfer * np.asarray(gains)
        ability = ndtri(accuracy) * world.spread()
        drawn.append(_scores(rng, world, ability[None, :, None] + effects, subjects))
    return drawn


def _scores(rng: np.random.Generator, world: World, networks: Double, subjects: int) -> Double:
    """Judge ``photos`` photos of new people under networks (R, A, S): accuracies (R, A, S, N)."""
    sweeps, arms, _ = networks.shape

    def normal(spread: float, *shape: int) -> Float:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)

    person = normal(world.person, sweeps, 1, subjects)
    person = person + normal(world.person_arm, sweeps, arms, subjects)
    level = networks.astype(np.float32)[..., None]
    right: NDArray[np.int8] = np.zeros((*networks.shape, subjects), np.int8)
    for _ in range(world.photos):
        photo = person + normal(world.photo, sweeps, 1, subjects)
        photo += normal(world.photo_arm, sweeps, arms, subjects)
        seen = normal(world.noise, *right.shape)
        seen += photo[:, :, None, :]
        seen += level
        right += seen > 0.0
    return right / float(world.photos)


@dataclass
class Tally:
    """Counts over the sweeps of one cell; every count is out of ``sweeps``.

    ``fixed``: the interval of one fixed arm covers. ``alone``: the same without help from sister
    arms. ``chosen``: that of the selected candidate on own test. ``blind``: on blind databases
    (mean). ``helps`` … ``undecided``: verdicts on own test. ``false``: helps, said of an arm that
    does not. ``blind_false``: any blind database wrongly helped. ``wrong_none``: none helps, though
    the best ratio gains ``MIN_EFFECT`` or more. ``unadjusted``: false help were the lower limit
    not stretched for selection. ``gain``: sum of the true gains of the candidates.
    """

    sweeps: int = 0
    fixed: int = 0
    alone: int = 0
    chosen: int = 0
    blind: float = 0
    helps: int = 0
    none: int = 0
    undecided: int = 0
    false: int = 0
    unadjusted: int = 0
    blind_false: int = 0
    blind_helps: float = 0
    wrong_none: int = 0
    gain: float = 0.0
    half: float = 0.0
    best: float = 0.0


def judge_sweeps(sets: Sequence[Double], rule: Rule) -> tuple[Int, list[Contrasts], list[Limits]]:
    """Decide sweeps as ``mien.evaluation.decision`` does.

    Args:
        sets: selection, own test, blind databases, each (R, A, S, N); arm 0 is r0.
        rule: of selection.

    Returns:
        The candidates (R,), the contrasts of all arms and the candidate's limits on every set
        after the first.
    """
    arms = range(1, sets[0].shape[1])
    seen = contrasts(sets[0], 0, arms)
    picked = select(seen, rule)
    found = [contrasts(scores, 0, arms) for scores in sets[1:]]
    within = [limits(f.at(picked), ALPHA, selection_stretch(seen, f, picked, ALPHA)) for f in found]
    return picked, found, within


def _count(tally: Tally, sets: Sequence[Double], gains: Sequence[float], rule: Rule) -> None:
    """Add a chunk of sweeps to the tally."""
    true = np.asarray(gains[1:])
    picked, found, within = judge_sweeps(sets, rule)
    aim, own = true[picked], within[0]
    helps, none = verdict_masks(own, MIN_EFFECT)
    every = limits(found[0], ALPHA)
    lone = contrasts(sets[1], 0, [FIXED + 1], sisters=False)
    plain = limits(found[0].at(picked), ALPHA)

    tally.sweeps += len(picked)
    tally.fixed += _covered(every.low[:, FIXED], every.high[:, FIXED], true[FIXED])
    alone = limits(lone, ALPHA)
    tally.alone += _covered(alone.low[:, 0], alone.high[:, 0], true[FIXED])
    tally.chosen += _covered(own.low, own.high, aim)
    tally.helps += int(helps.sum())
    tally.none += int(none.sum())
    tally.undecided += int((~helps & ~none).sum())
    tally.false += int((helps & (aim <= 0.0)).sum())
    tally.unadjusted += int(((plain.low > 0.0) & (aim <= 0.0)).sum())
    tally.wrong_none += int((none & (true.max() >= MIN_EFFECT)).sum())
    tally.gain += float(aim.sum())
    tally.best += float(true.max()) * len(picked)
    tally.half += float((own.high - own.low).sum() / 2)
    _count_blind(tally, picked, found[1:], within[1:], aim)


def _count_blind(
    tally: Tally, picked: Int, found: Sequence[Contrasts], within: Sequence[Limits], aim: Double
) -> None:
    p = np.stack([w.p for w in within], axis=1)
    adjusted = np.apply_along_axis(holm, 1, p)
    up = np.stack([f.at(picked).estimate > 0.0 for f in found], axis=1)
    helps: Bool = (adjusted < ALPHA) & up
    for database, limit in zip(BLIND, within, strict=True):
        tally.blind += _covered(limit.low, limit.high, database.transfer * aim) / len(BLIND)
    tally.blind_helps += float(helps.mean(axis=1).sum())
    tally.blind_false += int((helps.any(axis=1) & (aim <= 0.0)).sum())


def _covered(low: Double, high: Double, true: Double | float) -> int:
    return int(((low <= true) & (true <= high)).sum())


def simulate(
    world: World,
    gains: Sequence[float],
    subjects: int,
    seeds: int,
    sweeps: int,
    *,
    rules: Sequence[Rule] = ("best",),
    entropy: int = 2024,
) -> list[Tally]:
    """Run one cell; one tally a rule, all on the same sweeps."""
    name = [entropy, subjects, seeds, *(int(1e4 * g) for g in gains)]
    rng = np.random.Generator(np.random.SFC64(name))
    tallies = [Tally() for _ in rules]
    step = max(1, CHUNK // (len(RATIOS) * subjects * seeds))
    for start in range(0, sweeps, step):
        size = min(step, sweeps - start)
        sets = draw_sets(rng, world, gains, size, subjects, seeds)
        for tally, rule in zip(tallies, rules, strict=True):
            _count(tally, sets, gains, rule)
    return tallies


WORLDS: Mapping[str, World] = {
    "no seed variance": World(seed=0.0, seed_arm=0.0, pool=0.0),
    "seeds dominate": World(seed=0.12, seed_arm=0.12, pool=0.06, common=1.0),
    "people dominate": World(person_arm=0.60, seed_arm=0.02, pool=0.01),
    "neither people nor photos": World(person_arm=0.0, photo=0.3, photo_arm=0.0),
    "r0 varies twice as much": World(seed_arm=0.06, seed_baseline=0.12, common=1.0),
    "nearly perfect r0": World(accuracy=0.92),
}


def _percent(count: float, sweeps: int) -> str:
    return f"{100 * count / sweeps:5.1f}"


def _upper(count: int, sweeps: int) -> str:
    return f"{100 * proportion_interval(count, sweeps)[1]:4.1f}"


HEAD = (
    "  N  S  effect  | fixed  alone chosen blind | helps  none  open | false ≤lim  blind ≤lim "
    "no adj | none≠  gain/best  ±half"
)


def row(subjects: int, seeds: int, effect: str, t: Tally) -> str:
    """Format one cell; percentages, gains and half width in points."""
    n = t.sweeps
    cover = " ".join(_percent(c, n) for c in (t.fixed, t.alone, t.chosen, t.blind))
    verdicts = " ".join(_percent(c, n) for c in (t.helps, t.none, t.undecided))
    false = f"{_percent(t.false, n)} {_upper(t.false, n)}  {_percent(t.blind_false, n)} "
    false += f"{_upper(t.blind_false, n)}  {_percent(t.unadjusted, n)}"
    gains = f"{_percent(t.wrong_none, n)}  {100 * t.gain / n:4.1f}/{100 * t.best / n:3.1f}"
    half = f"{100 * t.half / n:5.1f}"
    return (
        f"{subjects:3d} {seeds:2d}  {effect:7s} | {cover} | {verdicts} | {false}  | {gains}  {half}"
    )


def _cells(effects: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    for effect in effects:
        for subjects in (25, 70, 200):
            for seeds in (3, 5):
                yield effect, subjects, seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=4000)
    parser.add_argument("--stress-sweeps", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began = time.perf_counter()
    record = []

    print(f"Main table, {options.sweeps} sweeps a cell; figures in percent\n{HEAD}")
    passed = True
    one_se = []
    for effect, subjects, seeds in _cells(tuple(GAINS)):
        best, one = simulate(
            World(), GAINS[effect], subjects, seeds, options.sweeps, rules=("best", "one_se")
        )
        print(row(subjects, seeds, effect, best), flush=True)
        one_se.append((effect, subjects, seeds, best, one))
        passed &= _within(best)
        record.append({"world": "main", "effect": effect, "subjects": subjects, "seeds": seeds})
        record[-1] |= asdict(best)
    print(f"coverage 93.5 to 97, limit of false help ≤ 6: {'yes' if passed else 'NO'}")

    print("\nSelection rule: helps, mean true gain of the candidate (points)")
    for effect, subjects, seeds, best, one in one_se:
        figures = "   ".join(
            f"{name} {_percent(t.helps, t.sweeps)} {100 * t.gain / t.sweeps:5.2f}"
            for name, t in (("best", best), ("one_se", one))
        )
        print(f"{subjects:3d} {seeds:2d}  {effect:7s} | {figures}")

    print("\nPower: helps, where the best ratio (peaked) gains so many points")
    print("  N  S  | " + "  ".join(f"{100 * top:5.0f}" for top in PEAKS))
    for _, subjects, seeds in _cells(("peaked",)):
        shares = []
        for top in PEAKS:
            gains = [top / max(GAINS["peaked"]) * g for g in GAINS["peaked"]]
            (found,) = simulate(World(), gains, subjects, seeds, options.sweeps // 4)
            shares.append(_percent(found.helps, found.sweeps))
        print(f"{subjects:3d} {seeds:2d}  | " + "  ".join(shares), flush=True)

    for name, world in WORLDS.items():
        print(f"\n{name}, {options.stress_sweeps} sweeps a cell\n{HEAD}")
        for effect, subjects, seeds in _cells(("flat",)):
            (found,) = simulate(world, GAINS[effect], subjects, seeds, options.stress_sweeps)
            print(row(subjects, seeds, effect, found), flush=True)
            record.append({"world": name, "effect": effect, "subjects": subjects, "seeds": seeds})
            record[-1] |= asdict(found)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def _within(t: Tally) -> bool:
    covered = [100 * c / t.sweeps for c in (t.fixed, t.chosen, t.blind)]
    limit = 100 * proportion_interval(t.false, t.sweeps)[1]
    return all(93.5 <= c <= 97.0 for c in covered) and limit <= 6.0


if __name__ == "__main__":
    main()
