"""Deal subjects to train, validation and test: disjoint by construction, stratified, by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mien.core.digest import seed_of
from mien.core.errors import Invalid, WrongState
from mien.core.manifest import Manifest
from mien.core.sample import Sample
from mien.core.split import PARTS, Part, Split


def units_of(manifest: Manifest, by: str) -> dict[str, list[Sample]]:
    """Group a manifest's samples by the unit of splitting.

    Args:
        manifest: of one database.
        by: ``subject``, or ``sample``: an image with its exact copies, named by the first id.

    Returns:
        Unit name → its samples, sorted by name.

    Raises:
        WrongState: ``NO_SUBJECTS`` when split by subject and a sample has none.
        Invalid: ``EMPTY_DATABASE`` when there is nothing to split.
    """
    if not len(manifest):
        raise Invalid(
            "EMPTY_DATABASE",
            "the training database has no sample of these expressions to split",
            hint="correct the expressions or the database of the split",
        )
    units: dict[str, list[Sample]] = defaultdict(list)
    first: dict[str, str] = {}
    for sample in manifest:
        if by == "sample":
            # Copies dealt to both sides would be trained on and judged on.
            units[first.setdefault(sample.digest or sample.id, sample.id)].append(sample)
        elif sample.subject is None:
            raise WrongState(
                "NO_SUBJECTS",
                f"{sample.id} of {sample.source} has no subject, so no split can keep people apart",
                hint="set split.by: sample to give up the claim about new people",
                details={"sample": sample.id},
            )
        else:
            units[sample.subject].append(sample)
    return dict(sorted(units.items()))


def split_counts(
    manifest: Manifest,
    counts: Mapping[Part, int],
    *,
    by: str = "subject",
    stratify: Sequence[str] = (),
    seed: int = 0,
) -> Split:
    """Deal fixed numbers of units, such as 109/10/25.

    Args:
        manifest: of one database.
        counts: part → number of units; they must add up to the units found, with ``unused`` for
            those left out on purpose.
        by: ``subject`` or ``sample`` (exact copies count as one and stay together).
        stratify: attributes whose shares are kept in every part (first sample's value).
        seed: of the deal.

    Raises:
        Invalid: ``COUNTS_DO_NOT_ADD_UP``; ``SPLIT_PART_EMPTY``.
    """
    units = units_of(manifest, by)
    total = sum(counts.values())
    if total != len(units):
        listed = " + ".join(f"{counts[p]} {p}" for p in PARTS if p in counts)
        raise Invalid(
            "COUNTS_DO_NOT_ADD_UP",
            f"split.counts give {listed} = {total}, but the database has {_found(units, by)}",
            hint="correct the counts, or say how many are `unused`",
            details={"found": str(len(units)), "asked": str(total)},
        )
    for part in ("train", "validation", "test"):
        if counts.get(part, 0) == 0:
            raise Invalid(
                "SPLIT_PART_EMPTY",
                f"split.counts.{part} is 0: nobody is left for {part}",
                hint="train, validation and test each need at least one",
            )
    dealt = _deal(_stratified_order(units, stratify, seed), counts)
    if by != "sample":
        return Split("subject", dealt, seed)
    ids = {name: tuple(s.id for s in samples) for name, samples in units.items()}
    return Split(
        "sample",
        {p: tuple(sorted(i for u in names for i in ids[u])) for p, names in dealt.items()},
        seed,
        copies=tuple(group for group in ids.values() if len(group) > 1),
    )


def _found(units: Mapping[str, Sequence[Sample]], by: str) -> str:
    copies = sum(len(samples) - 1 for samples in units.values())
    if by == "sample" and copies:
        return f"{len(units)} different images ({copies} more are exact copies and go with them)"
    return f"{len(units)} {by}s"


def split_fractions(
    manifest: Manifest,
    fractions: Mapping[Part, float],
    *,
    by: str = "subject",
    stratify: Sequence[str] = (),
    seed: int = 0,
) -> Split:
    """Deal fractions of the units; the largest remainders are rounded up, every part gets one.

    Raises:
        Invalid: ``FRACTIONS_DO_NOT_ADD_UP`` unless they sum to 1; ``TOO_FEW_SUBJECTS``.
    """
    if abs(sum(fractions.values()) - 1.0) > 1e-6:
        raise Invalid(
            "FRACTIONS_DO_NOT_ADD_UP",
            f"split.fractions sum to {sum(fractions.values()):g}, not 1",
            hint="correct the fractions, or say which is `unused`",
        )
    parts = [p for p in PARTS if fractions.get(p, 0) > 0]
    found = len(units_of(manifest, by))
    if found < len(parts):
        raise Invalid(
            "TOO_FEW_SUBJECTS",
            f"split.fractions name {len(parts)} parts, but the database has {found} {by}s",
            hint="every part needs at least one; add data or leave out `unused`",
        )
    exact = {p: fractions[p] * found for p in parts}
    counts: dict[Part, int] = {p: max(1, int(exact[p])) for p in parts}
    while (missing := found - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        movable = [p for p in parts if counts[p] + step >= 1]
        part = max(movable, key=lambda p: step * (exact[p] - counts[p]))
        counts[part] += step
    return split_counts(manifest, counts, by=by, stratify=stratify, seed=seed)


def cross_validate(split: Split, folds: int) -> tuple[Split, ...]:
    """Turn train + validation into k folds; test and unused stay as they are.

    Every unit of train + validation validates exactly once.

    Raises:
        Invalid: ``TOO_MANY_FOLDS`` when there are fewer units than folds.
    """
    if folds == 1:
        return (split,)
    # The deal of split_* is already stratified, so taking every k-th unit keeps the strata.
    units = split.units("train", "validation")
    pool = list(units)
    if len(pool) < folds:
        raise Invalid(
            "TOO_MANY_FOLDS",
            f"split.folds is {folds}, but train and validation have {len(pool)} {split.by}s",
            hint="lower split.folds, or give train and validation more",
        )
    order = [
        pool[i] for i in np.random.default_rng(seed_of("folds", split.seed)).permutation(len(pool))
    ]
    made = []
    for fold in range(folds):
        held = set(order[fold::folds])
        parts: dict[Part, tuple[str, ...]] = dict(split.parts)
        parts["train"] = tuple(sorted(i for u in pool if u not in held for i in units[u]))
        parts["validation"] = tuple(sorted(i for u in held for i in units[u]))
        made.append(replace(split, parts=parts, fold=fold, folds=folds))
    return tuple(made)


def _stratified_order(
    units: Mapping[str, Sequence[Sample]], stratify: Sequence[str], seed: int
) -> list[str]:
    """Order units stratum by stratum, shuffled within: evenly spaced picks keep the shares."""
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, samples in units.items():
        strata[tuple(samples[0].attributes.get(a, "") for a in stratify)].append(name)
    rng = np.random.default_rng(seed_of("split", seed))
    return [
        members[i] for _, members in sorted(strata.items()) for i in rng.permutation(len(members))
    ]


def _deal(order: Sequence[str], counts: Mapping[Part, int]) -> dict[Part, tuple[str, ...]]:
    """Cut the order into parts, the smallest first, each taking evenly spaced units."""
    rest = list(order)
    dealt: dict[Part, tuple[str, ...]] = dict.fromkeys(PARTS, ())
    for part in sorted((p for p in PARTS if counts.get(p, 0)), key=lambda p: counts[p]):
        n = counts[part]
        picks = {int((i + 0.5) * len(rest) / n) for i in range(n)} if n < len(rest) else None
        if picks is None:
            dealt[part], rest = tuple(sorted(rest)), []
            continue
        dealt[part] = tuple(sorted(rest[i] for i in picks))
        rest = [u for i, u in enumerate(rest) if i not in picks]
    return dealt
