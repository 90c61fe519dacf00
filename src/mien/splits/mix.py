"""Mix real and synthetic faces by units: nested, balanced, drawn by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.manifest import Manifest
from mien.core.sample import Sample
from mien.core.split import Arm, Split


@dataclass(frozen=True, slots=True)
class Row:
    """One training or judging row.

    Attributes:
        dataset: set name the sample lies in.
        sample: sample id.
        label: class used; differs from the sample's own only in the shuffled control.
    """

    dataset: str
    sample: str
    label: Expression


@dataclass(frozen=True, slots=True)
class Mix:
    """The training rows of an arm.

    Attributes:
        rows: real first, then synthetic in unit order.
        real: number of real rows.
        units: synthetic identities added.
        unit: identities in one unit.
        by: ``subject`` or ``image`` (a database without subjects).
    """

    rows: tuple[Row, ...]
    real: int
    units: int
    unit: int
    by: str

    @property
    def image_ratio(self) -> float:
        """Synthetic images per real image; inf for synthetic only."""
        added = len(self.rows) - self.real
        return added / self.real if self.real else float("inf")


@dataclass(frozen=True, slots=True)
class Source:
    """What an arm draws its units from: one pool, or several in turn.

    Attributes:
        pools: set name → manifest; identities are taken from them in turn.
        factors: expression → how many times as many of its images; 1 where none is given.
    """

    pools: Mapping[str, Manifest]
    factors: Mapping[Expression, int] = field(default_factory=dict)

    def order(self, seed: int) -> list[tuple[str, list[Sample]]]:
        """Order the identities by seed, pool by pool in turn: set name and faces of each.

        It ends with the pool that has the fewest, so that every prefix is as mixed as the whole.
        """
        orders = [
            [(name, cell) for cell in identity_order(manifest, seed=seed)]
            for name, manifest in self.pools.items()
        ]
        return [cell for round_ in zip(*orders, strict=False) for cell in round_]


def part_rows(dataset: str, manifest: Manifest, units: Sequence[str], by: str) -> list[Row]:
    """List the labelled, usable samples of some subjects (or sample ids) of a set."""
    wanted = set(units)
    return [
        Row(dataset, s.id, s.expression)
        for s in manifest
        if s.expression is not None
        and not s.failure
        and (s.id if by == "sample" else s.subject) in wanted
    ]


def unit_size(real: Sequence[Row], split: Split) -> int:
    """Count the synthetic identities of one unit.

    By subject: as many as the training part has subjects. By sample: as many as it has images of
    its commonest class, so that one unit doubles the data as closely as a balanced pool can.
    """
    if split.by == "subject":
        return len(split.parts["train"])
    labels = [r.label for r in real]
    return max(labels.count(e) for e in set(labels))


def identity_order(pool: Manifest, *, seed: int) -> list[list[Sample]]:
    """Order a pool's identities by seed; prefixes of the order are the units.

    Identities made from photos (one person under several variations) are ordered round by round,
    so that every unit holds each person once.

    Args:
        pool: manifest of a synthetic set.
        seed: of the draw.
    """
    usable = [s for s in pool if s.expression is not None and not s.failure]
    rng = np.random.default_rng(seed_of("pool draw", seed))
    cells = _cells(usable, rng)
    rounds: dict[str | None, int] = defaultdict(int)
    names = sorted(cells)
    ordered: list[tuple[int, int, str]] = []
    for position, index in enumerate(rng.permutation(len(names))):
        name = names[index]
        subject = cells[name][0].subject
        ordered.append((rounds[subject] if subject else 0, position, name))
        rounds[subject] += 1
    return [cells[name] for _, _, name in sorted(ordered)]


def _cells(usable: Sequence[Sample], rng: np.random.Generator) -> dict[str, list[Sample]]:
    """Group a pool by identity; faces of nobody in particular are dealt one of each class."""
    cells: dict[str, list[Sample]] = defaultdict(list)
    nobody: dict[Expression, list[Sample]] = defaultdict(list)
    for sample in usable:
        if name := sample.identity or sample.subject:
            cells[name].append(sample)
        elif sample.expression is not None:
            nobody[sample.expression].append(sample)
    shuffled = [[own[i] for i in rng.permutation(len(own))] for _, own in sorted(nobody.items())]
    for number, dealt in enumerate(zip(*shuffled, strict=False)):
        cells[f"\0{number:09d}"] = list(dealt)
    return dict(cells)


def mix_arm(
    arm: Arm,
    *,
    real: Sequence[Row],
    split: Split,
    source: Source | None,
    seed: int,
    classes: Sequence[Expression],
) -> Mix:
    """Build the training rows of an arm; r2 contains r1.

    Args:
        arm: what is mixed.
        real: rows of the training part.
        split: that made them.
        source: what the arm draws from; None only at ratio 0.
        seed: of the pool draw (and of the permutation in the shuffled control).
        classes: the label space; other labels are left out.

    Raises:
        Invalid: ``RATIO_ABOVE_POOL`` when the pool has too few identities.
    """
    size = unit_size(real, split)
    wanted = arm.ratio * size
    added = _drawn(arm, source, size, seed, classes) if wanted else []
    if arm.kind == "shuffled":
        added = permute_labels(added, seed)
    kept = [] if arm.kind == "synthetic" else list(real)
    by = "subject" if split.by == "subject" else "image"
    return Mix((*kept, *added), len(kept), wanted, size, by)


def _drawn(
    arm: Arm, source: Source | None, size: int, seed: int, classes: Sequence[Expression]
) -> list[Row]:
    if source is None:
        raise Invalid(
            "NO_POOL",
            f"arm {arm.name} names no pool to draw from",
            hint="only ratio 0 needs none",
        )
    order = source.order(seed)
    times = {e: source.factors.get(e, 1) for e in classes}
    wanted = arm.ratio * size * max(times.values())
    if len(order) < wanted:
        raise Invalid(
            "RATIO_ABOVE_POOL",
            f"{arm.name} needs {wanted} identities ({arm.ratio} units of {size}"
            f"{f', {max(times.values())}-fold' if max(times.values()) > 1 else ''}), but the pool "
            f"{arm.pool!r} offers {len(order)}",
            hint=f"raise the units of {', '.join(source.pools)} under synthesise, or lower the "
            "ratio",
            details={"wanted": str(wanted), "offered": str(len(order))},
        )
    return [
        Row(name, s.id, s.expression)
        for place, (name, cell) in enumerate(order[:wanted])
        for s in cell
        if s.expression in times and place < arm.ratio * size * times[s.expression]
    ]


def permute_labels(rows: Sequence[Row], seed: int) -> list[Row]:
    """Permute the labels among the rows: same counts, no information."""
    order = np.random.default_rng(seed_of("shuffled labels", seed)).permutation(len(rows))
    return [Row(r.dataset, r.sample, rows[j].label) for r, j in zip(rows, order, strict=True)]
