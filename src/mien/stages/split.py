"""Deal the subjects of the training database to train, validation and test."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mien.core.digest import seed_of
from mien.core.errors import Corrupt, Invalid
from mien.core.manifest import Manifest
from mien.core.split import PARTS, Part, Split
from mien.params.data import SplitParams
from mien.splits.subjects import cross_validate, split_counts, split_fractions
from mien.stages.context import Context, write_json

log = logging.getLogger(__name__)


def run(context: Context) -> None:
    """Write ``data/split/split.json``: the database's digest, its copies, one split a fold."""
    params = context.params.split
    where = context.params.preprocess.sets[params.database]
    version = context.version(where)
    classes = set(context.params.classes)
    labelled = version.manifest.where(lambda s: s.expression in classes)
    _check_classes(context, labelled)
    splits = make_splits(labelled, params)
    copies = sum(len(group) - 1 for group in splits[0].copies)
    write_json(
        context.folder("split") / "split.json",
        {
            "database": version.info.digest,
            "copies": copies,
            "splits": [asdict(s) for s in splits],
        },
    )
    # Later stages depend on these folders in dvc.yaml, also where nothing is trained or made.
    for stage in ("train_generator", "synthesise"):
        context.folder(stage).mkdir(parents=True, exist_ok=True)
    sizes: dict[str, object] = {p: len(u) for p, u in splits[0].parts.items() if u}
    sizes |= {"copies": copies} if copies else {}
    log.info("split", extra={"by": params.by, "splits": len(splits), **sizes})


def make_splits(manifest: Manifest, params: SplitParams) -> tuple[Split, ...]:
    """Deal by the parameters: one split, or k folds."""
    by, stratify, seed = params.by, params.stratify, params.seed
    if params.counts:
        dealt = split_counts(manifest, params.counts, by=by, stratify=stratify, seed=seed)
    else:
        dealt = split_fractions(manifest, params.fractions, by=by, stratify=stratify, seed=seed)
    return cross_validate(_use(dealt, params.use), params.folds)


def read_splits(context: Context) -> tuple[Split, ...]:
    """Read the splits back.

    Raises:
        Corrupt: ``SPLIT_OVERLAP`` when a stored split is not disjoint.
    """
    stored: list[dict[str, Any]] = context.read_json("split", "split.json")["splits"]
    splits = tuple(
        Split(
            by=s["by"],
            parts={p: tuple(s["parts"][p]) for p in PARTS if p in s["parts"]},
            seed=s["seed"],
            fold=s["fold"],
            folds=s["folds"],
            copies=tuple(tuple(group) for group in s.get("copies", ())),
        )
        for s in stored
    )
    for split in splits:
        units = [u for part in split.parts.values() for u in part]
        if len(units) != len(set(units)):
            twice = sorted({u for u in units if units.count(u) > 1})
            raise Corrupt(
                "SPLIT_OVERLAP",
                f"data/split/split.json puts {', '.join(twice[:5])} into two parts",
                hint="run: mien split",
            )
    return splits


def _use(split: Split, use: int | None) -> Split:
    """Keep a nested, seeded choice of the training units; the others are unused."""
    if use is None:
        return split
    units = split.units("train")
    train = list(units)
    if use > len(train):
        raise Invalid(
            "USE_ABOVE_TRAIN",
            f"split.use is {use}, but train has {len(train)} {split.by}s",
            hint="lower split.use, or give train more",
        )
    order = np.random.default_rng(seed_of("use", split.seed)).permutation(len(train))
    kept = {name for i in order[:use] for name in units[train[i]]}
    before = split.parts["train"]
    parts: dict[Part, tuple[str, ...]] = dict(split.parts)
    parts["train"] = tuple(u for u in before if u in kept)
    parts["unused"] = tuple(sorted({*parts["unused"], *(u for u in before if u not in kept)}))
    return replace(split, parts=parts)


def _check_classes(context: Context, manifest: Manifest) -> None:
    missing = [e for e in context.params.classes if e not in manifest.counts()]
    if missing:
        raise Invalid(
            "CLASS_WITHOUT_SAMPLES",
            f"{context.params.split.database} has no sample of {', '.join(missing)}",
            hint="remove the class from params.expressions or add data",
        )
